"""What an answer looks like while a candidate is tried: empty, a refusal, cut, or not the JSON that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from undercroft.watch.probes.refusals import is_refusal

# A refusal stands at the beginning, and whether JSON is whole is not asked of something that long.
_KEPT_BYTES = 512 * 1024


class Watched:
    """Gathers what goes to a client, up to a limit.

    Args:
        data: The checked request.
    """

    __slots__ = ("_kept", "_size_bytes", "_wants_json")

    def __init__(self, data: dict[str, Any]) -> None:
        form = data.get("response_format")
        self._wants_json = type(form) is dict and form.get("type") in ("json_object", "json_schema")
        self._kept: list[bytes] = []
        self._size_bytes = 0

    def take(self, piece: bytes) -> None:
        """Keeps a piece until the answer is whole."""
        if self._size_bytes < _KEPT_BYTES:
            self._kept.append(piece)
            self._size_bytes += len(piece)

    @property
    def body(self) -> bytes:
        """What was kept."""
        return b"".join(self._kept)

    def signs(self) -> dict[str, Any]:
        """What is to be said of the answer; None for what cannot be told."""
        text, reason, has_calls = _spoken(self.body)
        is_whole = self._size_bytes < _KEPT_BYTES
        is_cut = None if reason is None else reason == "length"
        is_invalid = _is_invalid(text) if self._wants_json and is_whole and not has_calls and not is_cut else None
        return {
            "is_empty": not text.strip() and not has_calls,
            "is_refusal": is_refusal(text) if text.strip() else None,
            "is_invalid": is_invalid,
            "is_cut": is_cut,
        }


def spoken_text(body: bytes) -> str:
    """The text of an answer, or of the frames of a stream."""
    return _spoken(body)[0]


def _spoken(body: bytes) -> tuple[str, str | None, bool]:
    """Text, reason of the end, and whether tools were called: of an answer, or of the frames of a stream."""
    events: list[Any] = []
    for line in body.split(b"\n") if body.startswith((b"data:", b":", b"event:")) else [b"data:" + body]:
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            try:
                events.append(orjson.loads(line[5:]))
            except orjson.JSONDecodeError:
                continue
    texts: list[str] = []
    reason: str | None = None
    has_calls = False
    for choice in _choices(events):
        said = choice.get("delta") or choice.get("message")
        said = said if type(said) is dict else {}
        texts.append(_text(said.get("content") or choice.get("text")))
        has_calls = has_calls or bool(said.get("tool_calls"))
        reason = choice.get("finish_reason") or reason
    return "".join(texts), reason, has_calls


def _choices(events: list[Any]) -> Iterator[dict[str, Any]]:
    """Those that have the form; an external engine may send anything."""
    for event in events:
        choices = event.get("choices") if type(event) is dict else None
        yield from (choice for choice in choices or () if type(choice) is dict) if type(choices) is list else ()


def _text(content: Any) -> str:
    """Of a text, or of the parts that some engines answer with."""
    if type(content) is list:
        return "".join(_text(part.get("text")) for part in content if type(part) is dict)
    return content if type(content) is str else ""


def _is_invalid(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return True
    return False
