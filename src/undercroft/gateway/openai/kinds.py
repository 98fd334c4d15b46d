"""Kinds of values in request bodies: what is allowed, how a wrong one is named, how the OpenAPI document says it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

import orjson

from undercroft.gateway.errors import DoorError, invalid

_DEPTH_LIMIT = 64
# Of `difflib`: a typing error is nearer than this, another word is not.
_NEAR_RATIO = 0.75


class Kind(Protocol):
    """What a value may be."""

    def check(self, value: Any, path: str) -> None:
        """Raises `DoorError` naming ``path``, what is expected and what came."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema."""
        ...


def shown(value: Any) -> str:
    """A value for an error message: short, and only its type where it could be somebody's text."""
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 40 else f"a text of {len(value)} characters"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return json.dumps(value)


def wrong(path: str, expected: str, value: Any) -> DoorError:
    """HTTP 400 for a value that is not of its kind."""
    return invalid(f"{path}: expected {expected}, got {shown(value)}", path)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range, both ends included."""

    low: float
    high: float
    is_whole: bool = False

    def check(self, value: Any, path: str) -> None:
        is_number = type(value) is int or (type(value) is float and not self.is_whole)
        if not is_number or not self.low <= value <= self.high:
            kind = "a whole number" if self.is_whole else "a number"
            raise wrong(path, f"{kind} from {_plain(self.low)} to {_plain(self.high)}", value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.is_whole else "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    low: int = 0
    high: int = 16 * 1024 * 1024
    pattern: re.Pattern[str] | None = None

    def check(self, value: Any, path: str) -> None:
        if type(value) is not str:
            raise wrong(path, "a text", value)
        if not self.low <= len(value) <= self.high:
            raise invalid(f"{path}: expected {self.low} to {self.high} characters, got {len(value)}", path)
        if self.pattern is not None and not self.pattern.fullmatch(value):
            raise wrong(path, f"a text that matches {self.pattern.pattern}", value)

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "minLength": self.low, "maxLength": self.high}
        return found | {"pattern": f"^{self.pattern.pattern}$"} if self.pattern else found


@dataclass(frozen=True, slots=True)
class JsonText:
    """A string that is JSON, such as the arguments of a call; an empty one stands for no arguments."""

    def check(self, value: Any, path: str) -> None:
        if type(value) is not str:
            raise wrong(path, "a text", value)
        try:
            orjson.loads(value or "{}")
        except orjson.JSONDecodeError as error:
            raise invalid(f"{path}: expected JSON, got a text that is not: {error}", path) from error

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "contentMediaType": "application/json"}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def check(self, value: Any, path: str) -> None:
        if type(value) is not bool:
            raise wrong(path, "true or false", value)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def check(self, value: Any, path: str) -> None:
        if not any(value is known or (type(value) is type(known) and value == known) for known in self.values):
            raise wrong(path, " or ".join(shown(known) for known in self.values), value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one kind."""

    kind: Kind
    low: int = 0
    high: int = 4096

    def check(self, value: Any, path: str) -> None:
        if type(value) is not list:
            raise wrong(path, "a list", value)
        if not self.low <= len(value) <= self.high:
            raise invalid(f"{path}: expected a list of {self.low} to {self.high}, got {len(value)}", path)
        check = self.kind.check
        for index, item in enumerate(value):
            check(item, f"{path}[{index}]")

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.kind.schema(), "minItems": self.low, "maxItems": self.high}


@dataclass(frozen=True, slots=True)
class TokenList:
    """A list of token numbers; checked at once, for it may be long."""

    high: int = 1_000_000

    def check(self, value: Any, path: str) -> None:
        is_tokens = type(value) is list and 0 < len(value) <= self.high
        if not is_tokens or set(map(type, value)) != {int} or min(value) < 0 or max(value) > 2**31 - 1:
            raise wrong(path, "a list of token numbers", value)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


@dataclass(frozen=True, slots=True)
class Prompts:
    """A text, a list of texts, a list of token numbers, or a list of such lists.

    Args:
        high: Most texts or lists of tokens.
        can_be_empty: A text may have no characters.
    """

    high: int
    can_be_empty: bool

    def check(self, value: Any, path: str) -> None:
        if type(value) is str:
            self._check_text(value, path)
        elif type(value) is list and value and type(value[0]) is int:
            TokenList().check(value, path)
        elif type(value) is list:
            if not 1 <= len(value) <= self.high:
                raise invalid(f"{path}: expected a list of 1 to {self.high}, got {len(value)}", path)
            for index, item in enumerate(value):
                where = f"{path}[{index}]"
                if type(item) is str and type(value[0]) is str:
                    self._check_text(item, where)
                else:
                    TokenList().check(item, where)
        else:
            raise wrong(path, "a text or a list", value)

    def schema(self) -> dict[str, Any]:
        many = [{"type": "array", "items": kind} for kind in ({"type": "string"}, TokenList().schema())]
        return {"anyOf": [{"type": "string"}, TokenList().schema(), *many]}

    def _check_text(self, value: str, path: str) -> None:
        if not value and not self.can_be_empty:
            raise invalid(f"{path}: expected a text with at least one character, got none", path)


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with free names and members of one kind."""

    kind: Kind
    names: re.Pattern[str]
    high: int

    def check(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong(path, "an object", value)
        if len(value) > self.high:
            raise invalid(f"{path}: expected {self.high} members at most, got {len(value)}", path)
        for name, member in value.items():
            if not self.names.fullmatch(name):
                raise wrong(path, f"names that match {self.names.pattern}", name)
            self.kind.check(member, f"{path}.{name}")

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.kind.schema(), "maxProperties": self.high}


@dataclass(frozen=True, slots=True)
class FreeObject:
    """Any JSON object, as deep as `_DEPTH_LIMIT` allows."""

    members: int = 4096

    def check(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong(path, "an object", value)
        if len(value) > self.members:
            raise invalid(f"{path}: expected {self.members} members at most, got {len(value)}", path)
        check_depth(value, path)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several kinds, told apart by the JSON type of the value."""

    by_type: Mapping[type, Kind]

    def check(self, value: Any, path: str) -> None:
        kind = self.by_type.get(type(value))
        if kind is None:
            raise wrong(path, " or ".join(_TYPE_NAMES[one] for one in self.by_type), value)
        kind.check(value, path)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [kind.schema() for kind in self.by_type.values()]}


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object.

    Args:
        kind: What it may be; null means that it was not given, except where it is required.
        about: One sentence for the OpenAPI document.
        is_required: It must be there.
        is_forwarded: The engine gets it; what means nothing to an engine is accepted and kept from it.
    """

    kind: Kind
    about: str = ""
    is_required: bool = False
    is_forwarded: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known members and no others.

    Args:
        fields: Name → member.
        refused: Name → why a member that somebody may expect is not taken, and what to use.
    """

    fields: Mapping[str, Field]
    refused: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        needed = tuple(name for name, member in self.fields.items() if member.is_required)
        object.__setattr__(self, "required", needed)

    def check(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong(path or "body", "an object", value)
        fields = self.fields
        for name, member in value.items():
            known = fields.get(name)
            if known is None:
                if member is None and name in self.refused:
                    continue  # null asks for nothing
                raise self._unknown(name, path)
            if member is not None or known.is_required:
                known.kind.check(member, f"{path}.{name}" if path else name)
        for name in self.required:
            if name not in value:
                where = f"{path}.{name}" if path else name
                raise invalid(f"{where}: missing; it is required", where, "missing-field")

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, member in self.fields.items():
            properties[name] = member.kind.schema() | ({"description": member.about} if member.about else {})
        found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        return found | {"required": list(self.required)} if self.required else found

    def _unknown(self, name: str, path: str) -> DoorError:
        where = f"{path}.{name}" if path else name
        where = where if len(where) <= 120 else where[:120] + "…"
        reason = self.refused.get(name)
        if reason is not None:
            return invalid(f"{where}: refused: {reason}", where, "refused-field")
        near = get_close_matches(name[:64], self.fields, n=1, cutoff=_NEAR_RATIO)
        hint = f"; the nearest field is '{near[0]}'" if near else ""
        return invalid(f"{where}: unknown field{hint}", where, "unknown-field")


@dataclass(frozen=True, slots=True)
class Tagged:
    """An object whose members depend on one of them, such as ``role`` or ``type``.

    Args:
        tag: The member that decides.
        records: Its value → what the object looks like.
        refused: Its value → why it is not taken.
        default: The value where the member is missing; None requires it.
    """

    tag: str
    records: Mapping[str, Record]
    refused: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def check(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong(path, "an object", value)
        tag = value.get(self.tag, self.default)
        record = self.records.get(tag) if type(tag) is str else None
        where = f"{path}.{self.tag}"
        if record is None:
            if type(tag) is str and tag in self.refused:
                raise invalid(f"{where}: '{tag}' refused: {self.refused[tag]}", where, "refused-field")
            raise wrong(where, _listed(self.records), tag)
        record.check(value, path)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [record.schema() for record in self.records.values()]}


_TYPE_NAMES = {str: "a text", list: "a list", dict: "an object", bool: "true or false", int: "a whole number"}


def check_depth(value: Any, path: str) -> None:
    """Raises `DoorError` where lists and objects lie more than `_DEPTH_LIMIT` deep in each other."""
    level: Sequence[Any] = [value]
    for _ in range(_DEPTH_LIMIT):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
        if not level:
            return
    raise invalid(f"{path}: expected {_DEPTH_LIMIT} levels of lists and objects at most, got more", path)


def _listed(values: Mapping[str, Any]) -> str:
    return " or ".join(f"'{value}'" for value in values)


def _plain(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() else f"{number:g}"
