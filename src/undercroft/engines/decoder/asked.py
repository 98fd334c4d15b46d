"""What requests ask: OpenAI's chat completions and completions. What is not offered here is refused by name. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.engines.decoder.sampling import Sampling

_MOST_CHOICES = 128
# What would change an answer, and cannot be had here.
_NOT_OFFERED = {
    "tools": "function calls are not offered by engine onnxruntime; llama.cpp and vllm have them",
    "tool_choice": "function calls are not offered by engine onnxruntime; llama.cpp and vllm have them",
    "parallel_tool_calls": "function calls are not offered by engine onnxruntime; llama.cpp and vllm have them",
    "suffix": "it is not offered by engine onnxruntime",
    "truncate": "engine onnxruntime cuts no prompt; send a shorter one",
}
# How JSON is laid out, as the library's grammars (llguidance) take it: as Python writes it, for a model that may put as
# many spaces as it likes may never end.
_LAYOUT_KEY = "x-guidance"
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read.

    Args:
        messages: Of a conversation; None where prompts are given.
        prompts: To go on with: texts, or token ids.
        choices: Answers of each.
        most_tokens: Of an answer; None is as many as fit.
        sampling: How tokens are chosen; of the first answer, the seed of each further one is one more.
        stops: Texts that end an answer.
        schema: JSON schema that an answer keeps to, as text; None is any text.
        is_streamed: Whether it is sent as it comes.
        has_usage: Whether the stream ends with the counts.
    """

    messages: Sequence[Mapping[str, Any]] | None
    prompts: Sequence[str | list[int]]
    choices: int
    most_tokens: int | None
    sampling: Sampling
    stops: tuple[str, ...]
    schema: str | None
    is_streamed: bool
    has_usage: bool


def read_request(body: Any, *, is_chat: bool) -> Asked:
    """Reads a request's body.

    Args:
        body: JSON.
        is_chat: Whether it is a conversation.

    Raises:
        InvalidError: ``bad-request``: a field is missing, is something else, or is not offered.
    """
    if not isinstance(body, dict):
        raise _bad("the body: expected an object")
    for name, why in _NOT_OFFERED.items():
        if body.get(name) and body[name] != "none":
            raise _bad(f"{name}: {why}")
    most = body.get("max_completion_tokens") if body.get("max_tokens") is None else body["max_tokens"]
    options = body.get("stream_options") or {}
    return Asked(
        messages=_messages(body.get("messages")) if is_chat else None,
        prompts=() if is_chat else _prompts(body.get("prompt")),
        choices=_whole(body, "n", 1, 1, _MOST_CHOICES),
        most_tokens=None if most is None else _whole({"max_tokens": most}, "max_tokens", 1, 1, 10**9),
        sampling=_sampling(body, is_chat=is_chat),
        stops=_stops(body.get("stop")),
        schema=_schema(body.get("response_format")),
        is_streamed=bool(body.get("stream")),
        has_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _messages(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not given:
        raise _bad("messages: expected a list of messages")
    found = []
    for number, one in enumerate(given):
        if not isinstance(one, dict) or one.get("role") not in _KNOWN_ROLES:
            raise _bad(f"messages[{number}].role: expected {', '.join(sorted(_KNOWN_ROLES))}")
        if one.get("tool_calls"):
            raise _bad(f"messages[{number}].tool_calls: {_NOT_OFFERED['tools']}")
        found.append({**one, "content": _content(one.get("content"), number)})
    return found


def _content(given: Any, number: int) -> str:
    if isinstance(given, str):
        return given
    if given is None:
        return ""
    if isinstance(given, list) and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in given):
        return "\n".join(one["text"] for one in given)
    raise _bad(f"messages[{number}].content: expected a text, or parts that are texts")


def _prompts(given: Any) -> list[str | list[int]]:
    """A text, texts, token ids, or lists of token ids."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(one, str) for one in given):
            return list(given)
        several = [given] if all(_is_whole(one) for one in given) else given
        if all(isinstance(one, list) and one and all(_is_whole(token) for token in one) for one in several):
            return list(several)
    raise _bad("prompt: expected a text, a list of texts, token ids, or a list of lists of token ids")


def _sampling(body: Mapping[str, Any], *, is_chat: bool) -> Sampling:
    wanted = body.get("logprobs")
    if is_chat:
        top = _whole(body, "top_logprobs", 0, 0, 20) if wanted else None
    else:
        top = None if wanted is None or wanted is False else _whole(body, "logprobs", 0, 0, 20)
    seed = body.get("seed")
    return Sampling(
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        top_k=max(0, _whole(body, "top_k", 0, -1, 10**6)),
        min_p=_number(body, "min_p", 0.0, 0, 1),
        repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.01, 10),
        presence_penalty=_number(body, "presence_penalty", 0.0, -2, 2),
        frequency_penalty=_number(body, "frequency_penalty", 0.0, -2, 2),
        logit_bias=_biases(body.get("logit_bias")),
        seed=None if seed is None else _whole(body, "seed", 0, 0, 2**64 - 1),
        top_logprobs=top,
    )


def _biases(given: Any) -> dict[int, float]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(
        str(token).isdecimal() and isinstance(value, (int, float)) for token, value in given.items()
    ):
        raise _bad("logit_bias: expected token numbers with a number each")
    return {int(token): float(value) for token, value in given.items()}


def _stops(given: Any) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else given or []
    if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
        raise _bad("stop: expected a text or a list of texts")
    return tuple(several)


def _schema(given: Any) -> str | None:
    """What an answer keeps to, of ``response_format``."""
    kind = given.get("type") if isinstance(given, dict) else given
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return json.dumps({"type": "object", _LAYOUT_KEY: _LAYOUT})
    asked = given.get("json_schema") if kind == "json_schema" else None
    schema = asked.get("schema") if isinstance(asked, dict) else None
    if not isinstance(schema, dict):
        raise _bad("response_format: expected type text, json_object, or json_schema with an object json_schema.schema")
    return json.dumps({**schema, _LAYOUT_KEY: _LAYOUT})


def _number(body: Mapping[str, Any], name: str, usual: float, least: float, most: float) -> float:
    value = body.get(name)
    if value is None:
        return usual
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise _bad(f"{name}: expected a number from {least:g} to {most:g}")
    return float(value)


def _whole(body: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return usual
    if not _is_whole(value) or not least <= value <= most:
        raise _bad(f"{name}: expected a whole number from {least} to {most}")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(problem: str) -> InvalidError:
    return InvalidError("bad-request", problem)
