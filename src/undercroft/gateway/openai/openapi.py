"""The OpenAPI document's part for ``/v1``, made of the table of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undercroft.gateway.openai.fields import CHAT, CLASSIFY, COMPLETIONS, EMBEDDINGS, FEEDBACK, RERANK, RESPONSES
from undercroft.gateway.openai.kinds import Record

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "source": {"enum": ["client", "door", "engine"], "description": "Who failed."},
            },
        }
    },
}
_FAILURES = {
    "400": "A field is wrong; param names it.",
    "401": "No valid key.",
    "403": "The key may not use this.",
    "404": "There is no such model.",
    "409": "This very request ended two engine processes.",
    "413": "The body is too large.",
    "429": "The model's queue is full; Retry-After says when to try again.",
    "502": "The engine failed.",
    "503": "No replica in time; Retry-After says when to try again.",
    "504": "The engine said nothing for too long.",
}
_FEEDBACK_FAILURES = {
    "400": _FAILURES["400"],
    "401": _FAILURES["401"],
    "404": "This key has no such request, or it is too old.",
    "413": _FAILURES["413"],
    "503": "The control process, which keeps it, is away; Retry-After says when to try again.",
}
_POSTS: tuple[tuple[str, str, Record, bool], ...] = (
    ("/v1/chat/completions", "Answer a conversation", CHAT, True),
    ("/v1/completions", "Go on with a text", COMPLETIONS, True),
    ("/v1/responses", "Answer a conversation, Responses API, stateless", RESPONSES, True),
    ("/v1/embeddings", "Embed texts", EMBEDDINGS, False),
    ("/v1/rerank", "Put documents in the order of a query", RERANK, False),
    ("/v1/classify", "Say of texts what they are", CLASSIFY, False),
)


def openapi_paths() -> dict[str, Any]:
    """Path → operations of every ``/v1`` route."""
    paths: dict[str, Any] = {
        path: {"post": _post(summary, table, can_stream)} for path, summary, table, can_stream in _POSTS
    }
    paths["/v1/feedback"] = {
        "post": _post("Say whether an answer was good or bad", FEEDBACK, can_stream=False, failures=_FEEDBACK_FAILURES)
    }
    paths["/v1/models"] = {"get": _get("List the models that this key may use")}
    paths["/v1/models/{model}"] = {
        "get": _get("Show a model")
        | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
    }
    return paths


def _post(summary: str, table: Record, can_stream: bool, failures: Mapping[str, str] = _FAILURES) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if can_stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "summary": summary,
        "tags": ["v1"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": table.schema()}}},
        "responses": {"200": {"description": "The answer.", "content": content}, **_failures(failures)},
    }


def _get(summary: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    known = {status: about for status, about in _FAILURES.items() if status in ("401", "403", "404")}
    return {
        "summary": summary,
        "tags": ["v1"],
        "responses": {"200": {"description": "The answer.", "content": content}, **_failures(known)},
    }


def _failures(known: Mapping[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": about, "content": content} for status, about in known.items()}
