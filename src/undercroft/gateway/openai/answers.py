"""Reads an engine's answer without parsing it where that can be avoided: tokens, and the model's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
_COMPLETION = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_CACHED_N = re.compile(rb'"cache_n"\s*:\s*(\d+)')
_PROMPT_N = re.compile(rb'"prompt_n"\s*:\s*(\d+)')
_PREDICTED_N = re.compile(rb'"predicted_n"\s*:\s*(\d+)')
_TIMINGS = re.compile(rb',\s*"timings"\s*:\s*\{[^{}]*\}|"timings"\s*:\s*\{[^{}]*\}\s*,\s*')
_MODEL = re.compile(rb'"model"\s*:\s*"((?:[^"\\]|\\.)*)"')


def token_counts(data: bytes) -> tuple[int, int] | None:
    """Tokens of prompt and answer out of an answer or the end of a stream.

    Inside a JSON string quotes are escaped, so the keys that are looked for cannot be in a text.

    Args:
        data: JSON, or server-sent events of which the last ones carry ``usage`` or llama.cpp's ``timings``.
    """
    at = data.rfind(b'"usage":')
    while at >= 0:
        prompt = _PROMPT.search(data, at)
        if prompt is not None:
            completion = _COMPLETION.search(data, at)
            return int(prompt[1]), int(completion[1]) if completion else 0
        at = data.rfind(b'"usage":', 0, at)
    at = data.rfind(b'"timings":')
    if at < 0:
        return None
    found = [pattern.search(data, at) for pattern in (_CACHED_N, _PROMPT_N, _PREDICTED_N)]
    cached, prompt_n, predicted = (int(one[1]) if one else 0 for one in found)
    return cached + prompt_n, predicted


def without_timings(data: bytes) -> bytes:
    """An answer, or whole frames of a stream, without llama.cpp's ``timings``: what clients get is OpenAI's alone.

    Inside a JSON string quotes are escaped, so that what is cut out cannot be in a text.
    """
    return _TIMINGS.sub(b"", data) if b'"timings"' in data else data


def with_completion_id(data: bytes) -> bytes:
    """An answer, or whole frames, of ``/v1/completions`` with the ``cmpl-`` that its ids begin with at OpenAI."""
    return data.replace(b'"id":"chatcmpl-', b'"id":"cmpl-')


def model_mark(name: str) -> bytes:
    """How an answer says that its model is ``name``, which is plain ASCII."""
    return b'"model":"%b"' % name.encode()


def renamed(body: bytes, name: str) -> bytes:
    """A whole answer with its model called ``name``."""
    return body if model_mark(name) in body else rewritten(body, name, None)


def find_model_mark(frame: bytes) -> bytes | None:
    """How a frame says what its model is; None where it does not say."""
    found = _MODEL.search(frame)
    return None if found is None else found[0]


def rewritten(body: bytes, name: str, change: Callable[[dict[str, Any]], None] | None) -> bytes:
    """A whole answer with its model called ``name`` and ``change`` applied; as it is where it is no JSON object."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(answer, dict):
        return body
    answer["model"] = name
    if change is not None:
        change(answer)
    return orjson.dumps(answer)
