"""What an engine answers in place of an answer, in the door's words."""

from __future__ import annotations

import re
from typing import Any

import orjson

from undercroft.gateway.door.upstream import ConnectError, SilentError, UpstreamError
from undercroft.gateway.errors import DoorError

_MESSAGE_LIMIT = 500
# vLLM says the limit first, and of a prompt that is longer only that it is.
_OVER_LIMIT = re.compile(r"maximum context length is (\d+) tokens\. However, .*? (?:at least )?(\d+) (?:input )?tokens")
_TOO_LARGE = re.compile(r"\((\d+) tokens\)[^()]*(?:too large|exceeds)[^()]*\([^()]*?(\d+)(?: tokens)?\)")


def from_answer(status: int, headers: dict[bytes, bytes], body: bytes, content_field: str) -> DoorError:
    """The error for an engine's answer that is not 200.

    A context that is too short is the client's to mend and says both numbers; a redirect is never followed; whatever
    else the engine blames on the request stays HTTP 400; the rest is the engine's failure.

    Args:
        status: HTTP status of the answer.
        headers: Of the answer, lower-case names.
        body: Of the answer.
        content_field: The client's field that holds what may be too long for the model.
    """
    if 300 <= status < 400:
        return DoorError(
            502,
            "engine-redirected",
            f"the engine answered with a redirect (HTTP {status}), which is never followed. "
            "The administrator should configure the address that it redirects to",
            source="engine",
        )
    error = _error_of(body)
    message = _message_of(error, body)
    overflow = _overflow(error, message)
    if overflow is not None:
        return context_overflow(*overflow, content_field)
    if status in (400, 413, 422):
        return DoorError(400, "engine-refused", f"the engine refused the request: {message}")
    if status == 429:
        return DoorError(
            429,
            "engine-busy",
            f"the engine has no room: {message}",
            source="engine",
            retry_after_seconds=_seconds(headers.get(b"retry-after")),
        )
    if status in (401, 403):
        return DoorError(
            502,
            "engine-locked",
            f"the engine does not accept the door's key (HTTP {status}). The administrator should check its key file",
            source="engine",
        )
    if status == 503:
        return DoorError(
            503,
            "engine-busy",
            f"the engine is not ready: {message}",
            source="engine",
            retry_after_seconds=_seconds(headers.get(b"retry-after")),
        )
    return DoorError(502, "engine-error", f"the engine failed (HTTP {status}): {message}", source="engine")


def from_event(frame: bytes, content_field: str) -> DoorError:
    """The error for an error event in an engine's stream; ``content_field`` as in `from_answer`."""
    start = frame.find(b"{")
    error = _error_of(frame[start:].strip())
    message = _message_of(error, frame[start:])
    overflow = _overflow(error, message)
    if overflow is not None:
        return context_overflow(*overflow, content_field)
    return DoorError(502, "engine-error", f"the engine failed in the middle of its answer: {message}", source="engine")


def from_upstream(error: UpstreamError, deployment: str) -> DoorError:
    """The error for an engine that did not answer at all."""
    if isinstance(error, SilentError):
        return DoorError(504, "engine-silent", f"model '{deployment}': {error}", source="engine")
    if isinstance(error, ConnectError):
        return DoorError(
            502, "engine-unreachable", f"model '{deployment}': {error}", source="engine", retry_after_seconds=5
        )
    return DoorError(502, "engine-error", f"model '{deployment}': {error}", source="engine")


def context_overflow(request_tokens: int, context_tokens: int, content_field: str) -> DoorError:
    """HTTP 400: the request does not fit; nothing is ever silently cut."""
    return DoorError(
        400,
        "context_length_exceeded",
        f"this model takes {context_tokens} tokens, the request has {request_tokens}. Send a shorter request",
        param=content_field,
    )


def crashed(deployment: str) -> DoorError:
    """HTTP 502: two replicas ended with this request."""
    return DoorError(
        502,
        "engine-crashed",
        f"the engine of model '{deployment}' ended twice while it computed this request",
        source="engine",
    )


def broken_stream(deployment: str) -> DoorError:
    """The event that ends a stream whose engine ended."""
    return DoorError(
        502,
        "engine-crashed",
        f"the engine of model '{deployment}' ended in the middle of its answer; what came so far is not complete",
        source="engine",
    )


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = data.get("error", data) if isinstance(data, dict) else None
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}


def _message_of(error: dict[str, Any], body: bytes) -> str:
    message = error.get("message") or error.get("detail")
    text = message if isinstance(message, str) else body[:_MESSAGE_LIMIT].decode("utf-8", "replace")
    text = " ".join(text.split())
    return (text if len(text) <= _MESSAGE_LIMIT else text[:_MESSAGE_LIMIT] + "…") or "it gave no reason"


def _overflow(error: dict[str, Any], message: str) -> tuple[int, int] | None:
    """Tokens of the request and of the context, where the error is about that."""
    if error.get("type") == "exceed_context_size_error":
        try:
            return int(error["n_prompt_tokens"]), int(error["n_ctx"])
        except (KeyError, TypeError, ValueError):
            return None
    found = _TOO_LARGE.search(message)
    if found:
        return int(found[1]), int(found[2])
    found = _OVER_LIMIT.search(message)
    return (int(found[2]), int(found[1])) if found else None


def _seconds(value: bytes | None) -> float:
    return float(value) if value is not None and value.isdigit() else 1.0
