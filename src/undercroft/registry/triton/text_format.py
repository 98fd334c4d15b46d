"""``config.pbtxt`` as plain data and back: the text format of Protocol Buffers, for the fields that Triton knows.

Strict: a field that is not known, a value of another kind, a field given twice or two of which one excludes the other
are refused, as Triton refuses them. Messages are objects, maps are objects, what repeats is a list.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from undercroft.registry.inspection.reading import refuse
from undercroft.registry.triton.fields import CHOICES, ENUMS, MESSAGES, ROOT

_WHAT, _CODE = "settings file of a Triton model", "bad-triton-config"
_DEPTH_LIMIT = 32
_TOKEN = re.compile(
    r"(?P<space>(?:[ \t\r\n\v\f]|#[^\n]*)+)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<number>-?(?:\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+|\d+[eE][+-]?\d+|0[xX][0-9a-fA-F]+|\d+)(?![\w.]))"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign>[\[\]{}<>:,;])"
)
_TRUTHS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_LIMITS = {"natural": (0, 2**64 - 1), "integer": (-(2**63), 2**63 - 1)}
_OPENING = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse(text: str, name: str) -> dict[str, Any]:
    """Reads settings.

    Args:
        text: Of the file.
        name: Of the file, for errors.

    Raises:
        InvalidError: ``bad-triton-config``, with the line.
    """
    return _Reader(text, name).message(ROOT, None, 0)


def render(settings: Mapping[str, Any]) -> str:
    """Writes settings, a field a line; read again they are the same.

    Args:
        settings: As `parse` gives them.

    Raises:
        ValueError: A field is not known: settings are made by us, so that this is a mistake of ours.
    """
    return "\n".join(_lines(settings, ROOT, "")) + "\n"


def _lines(settings: Mapping[str, Any], message: str, indent: str) -> list[str]:
    lines = []
    for name, value in settings.items():
        kind = MESSAGES[message].get(name)
        if kind is None:
            raise ValueError(f"Triton's {message} has no field {name!r}")
        if kind.startswith("{"):
            key_kind, _, value_kind = kind[1:-1].partition(": ")
            for key, one in value.items():
                inner = _field("key", key, key_kind, indent + "  ") + _field("value", one, value_kind, indent + "  ")
                lines += [f"{indent}{name} {{", *inner, f"{indent}}}"]
        elif kind.startswith("["):
            inner_kind = kind[1:-1]
            if inner_kind in MESSAGES:
                for one in value:
                    lines += _field(name, one, inner_kind, indent)
            else:
                lines.append(f"{indent}{name}: [{', '.join(_scalar(one, inner_kind) for one in value)}]")
        else:
            lines += _field(name, value, kind, indent)
    return lines


def _field(name: str, value: Any, kind: str, indent: str) -> list[str]:
    if kind in MESSAGES:
        return [f"{indent}{name} {{", *_lines(value, kind, indent + "  "), f"{indent}}}"]
    return [f"{indent}{name}: {_scalar(value, kind)}"]


def _scalar(value: Any, kind: str) -> str:
    if kind == "text":
        return '"' + "".join(_escaped(byte) for byte in str(value).encode()) + '"'
    if kind == "truth":
        return "true" if value else "false"
    return str(value)


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in '"\\':
        return "\\" + letter
    return letter if 32 <= byte < 127 else f"\\{byte:03o}"


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._tokens = self._split(text)
        self._at = 0

    def message(self, kind: str, end: str | None, depth: int) -> dict[str, Any]:
        """The fields of a message up to its end."""
        if depth > _DEPTH_LIMIT:
            self._fail("it is nested too deep")
        known = MESSAGES[kind]
        found: dict[str, Any] = {}
        while not self._ends(end):
            token = self._next("the name of a field")
            if token.kind != "word" or token.text not in known:
                self._unknown(token, kind)
            self._read_into(found, token.text, known[token.text], depth)
            self._skip(",", ";")
        for choice in CHOICES.get(kind, ()):
            if len(there := [one for one in choice if one in found]) > 1:
                self._fail(f"of {' and '.join(there)} only one may be there")
        return found

    def _read_into(self, found: dict[str, Any], name: str, kind: str, depth: int) -> None:
        if kind.startswith("["):
            into = found.setdefault(name, [])
            has_colon = self._skip(":")
            if self._skip("["):
                while not self._skip("]"):
                    into.append(self._value(kind[1:-1], name, depth, has_colon=True))
                    if not self._skip(",") and self._shown() != "]":
                        self._fail(f"{name}: expected ',' or ']', got {self._shown()!r}")
                return
            into.append(self._value(kind[1:-1], name, depth, has_colon=has_colon))
            return
        if kind.startswith("{"):
            self._entries(found.setdefault(name, {}), name, kind, depth)
            return
        if name in found:
            self._fail(f"{name} is there twice")
        found[name] = self._value(kind, name, depth, has_colon=self._skip(":"))

    def _entries(self, into: dict[Any, Any], name: str, kind: str, depth: int) -> None:
        """One entry of a map, or a list of them."""
        key_kind, _, value_kind = kind[1:-1].partition(": ")
        self._skip(":")
        is_list = self._skip("[")
        while True:
            end = self._opened(name)
            entry: dict[str, Any] = {}
            while not self._ends(end):
                token = self._next("key or value")
                if token.text not in ("key", "value") or token.text in entry:
                    self._fail(f"{name}: expected one key and one value, got {token.text[:40]!r}")
                own = key_kind if token.text == "key" else value_kind
                entry[token.text] = self._value(own, name, depth, has_colon=self._skip(":"))
                self._skip(",", ";")
            if len(entry) != 2 or entry["key"] in into:
                self._fail(f"{name}: expected a key that is there once, with its value")
            into[entry["key"]] = entry["value"]
            if not is_list or self._skip("]"):
                return
            if not self._skip(","):
                self._fail(f"{name}: expected ',' or ']', got {self._shown()!r}")

    def _value(self, kind: str, name: str, depth: int, *, has_colon: bool) -> Any:
        if kind in MESSAGES:
            return self.message(kind, self._opened(name), depth + 1)
        if not has_colon:
            self._fail(f"{name}: expected ':', got {self._shown()!r}")
        token = self._next(f"a value of {name}")
        if kind == "text" and token.kind == "text":
            return self._text(token)
        if kind == "truth" and (token.text in _TRUTHS or token.text in ("0", "1")):
            return _TRUTHS.get(token.text, token.text == "1")
        if kind == "real" and token.kind == "number":
            return float(token.text)
        if (
            kind in _LIMITS
            and token.kind == "number"
            and re.fullmatch(r"-?\d{1,20}|0[xX][0-9a-fA-F]{1,16}", token.text)
        ):
            number = int(token.text, 16 if token.text[:2].lower() == "0x" else 10)
            if _LIMITS[kind][0] <= number <= _LIMITS[kind][1]:
                return number
        if kind in ENUMS and token.text in ENUMS[kind]:
            return token.text
        expected = f"one of {', '.join(ENUMS[kind])}" if kind in ENUMS else f"a value of kind {kind}"
        self._fail(f"{name}: expected {expected}, got {token.text[:40]!r}", token)

    def _text(self, token: _Token) -> str:
        """A text and those that follow it, which are one."""
        raw = b""
        while True:
            try:
                raw += codecs.escape_decode(token.text[1:-1].encode())[0]
            except ValueError:
                self._fail(f"a text has an escape that is not known: {token.text[:40]!r}", token)
            if self._at >= len(self._tokens) or self._tokens[self._at].kind != "text":
                break
            token = self._next("a text")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._fail("a text is not UTF-8", token)

    def _opened(self, name: str) -> str:
        token = self._next(f"'{{' after {name}")
        if token.text not in _OPENING:
            self._fail(f"{name}: expected '{{', got {token.text[:40]!r}", token)
        return _OPENING[token.text]

    def _ends(self, end: str | None) -> bool:
        if self._at >= len(self._tokens):
            if end is not None:
                self._fail(f"it ends where {end!r} was expected")
            return True
        return end is not None and self._skip(end)

    def _skip(self, *signs: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].text in signs:
            self._at += 1
            return True
        return False

    def _next(self, expected: str) -> _Token:
        if self._at >= len(self._tokens):
            self._fail(f"it ends where {expected} was expected")
        self._at += 1
        return self._tokens[self._at - 1]

    def _shown(self) -> str:
        return self._tokens[self._at].text[:40] if self._at < len(self._tokens) else "the end"

    def _unknown(self, token: _Token, kind: str) -> NoReturn:
        near = difflib.get_close_matches(token.text, MESSAGES[kind], n=1)
        nearest = f"; nearest is {near[0]!r}" if near else ""
        self._fail(f"{kind} has no field {token.text[:40]!r}{nearest}", token)

    def _split(self, text: str) -> Sequence[_Token]:
        tokens, at, line = [], 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                refuse(_CODE, _WHAT, self._name, f"line {line}: {text[at : at + 20]!r} cannot be read")
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), match[0], line))
            line, at = line + match[0].count("\n"), match.end()
        return tokens

    def _fail(self, problem: str, token: _Token | None = None) -> NoReturn:
        last = self._tokens[min(self._at, len(self._tokens) - 1)] if self._tokens else None
        line = (token or last or _Token("", "", 1)).line
        refuse(_CODE, _WHAT, self._name, f"line {line}: {problem}")
