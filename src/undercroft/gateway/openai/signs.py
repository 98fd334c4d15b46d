"""What an answer looks like while a candidate is tried: empty, a refusal, cut, or not the JSON that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from undercroft.checks.refusals import is_refusal

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
        """What is to be said of the answer; None for what cannot be told.

        Of several choices one that is empty, a refusal, cut or no JSON makes the answer so.
        """
        said = list(_spoken(self.body).values()) or [_Said()]
        is_whole = self._size_bytes < _KEPT_BYTES
        judged = [one for one in said if self._wants_json and is_whole and not one.has_calls and not one.is_cut]
        return {
            "is_empty": any(not one.text.strip() and not one.has_calls for one in said),
            "is_refusal": _any(is_refusal(one.text) for one in said if one.text.strip()),
            "is_invalid": _any(_is_invalid(one.text) for one in judged),
            "is_cut": _any(one.is_cut for one in said if one.reason is not None),
        }


@dataclass(slots=True)
class _Said:
    """One choice: its text, why it ended, and whether tools were called."""

    text: str = ""
    reason: str | None = None
    has_calls: bool = False

    @property
    def is_cut(self) -> bool:
        return self.reason == "length"


def spoken_texts(body: bytes) -> dict[int, str]:
    """The texts of an answer, or of the frames of a stream, by the index of their choice."""
    return {index: said.text for index, said in _spoken(body).items()}


def _spoken(body: bytes) -> dict[int, _Said]:
    """What each choice says: of an answer, or of the frames of a stream."""
    events: list[Any] = []
    for line in body.split(b"\n") if body.startswith((b"data:", b":", b"event:")) else [b"data:" + body]:
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            try:
                events.append(orjson.loads(line[5:]))
            except orjson.JSONDecodeError:
                continue
    texts: dict[int, list[str]] = {}
    found: dict[int, _Said] = {}
    for choice in _choices(events):
        given = choice.get("index")
        index: int = given if type(given) is int else 0
        one = found.setdefault(index, _Said())
        said = choice.get("delta") or choice.get("message")
        said = said if type(said) is dict else {}
        texts.setdefault(index, []).append(_text(said.get("content") or choice.get("text")))
        one.has_calls = one.has_calls or bool(said.get("tool_calls"))
        one.reason = choice.get("finish_reason") or one.reason
    for index, one in found.items():
        one.text = "".join(texts[index])
    return found


def _any(told: Iterable[bool]) -> bool | None:
    """Whether one is; None where nothing was told."""
    known = list(told)
    return any(known) if known else None


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
