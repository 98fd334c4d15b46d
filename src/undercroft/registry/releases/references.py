"""How people name a release: ``NAME@7`` for ever, ``NAME:production`` for where a tag points, ``NAME`` for the name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.core.ids import NAME_PATTERN

TAG_PATTERN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_REFERENCE = re.compile(
    rf"(?P<name>{NAME_PATTERN.pattern})(?:@(?P<number>[1-9][0-9]{{0,8}})|:(?P<tag>{TAG_PATTERN.pattern}))?"
)


@dataclass(frozen=True, slots=True)
class ReleaseReference:
    """A release as a person names it; both None is the name alone.

    Args:
        name: What it serves.
        number: Which one.
        tag: Where it points.
    """

    name: str
    number: int | None = None
    tag: str | None = None

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.name}@{self.number}"
        return f"{self.name}:{self.tag}" if self.tag else self.name


def parse_release(text: str) -> ReleaseReference:
    """Reads ``NAME``, ``NAME@7`` or ``NAME:tag``.

    Raises:
        InvalidError: It is none of them.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise InvalidError(
            "bad-release-name",
            f"expected NAME, NAME@7 or NAME:tag, got {text[:120]!r}",
            hint="undercroft release list",
        )
    number = found["number"]
    return ReleaseReference(found["name"], int(number) if number else None, found["tag"])


def base_name(text: str) -> str:
    """The name in what a request asks for: what stands before ``@`` or ``:``."""
    return re.split("[@:]", text, maxsplit=1)[0]


def check_tag(tag: str) -> str:
    """Returns ``tag`` if it can be one.

    Raises:
        InvalidError: It cannot.
    """
    if not TAG_PATTERN.fullmatch(tag):
        raise InvalidError(
            "bad-tag", f"expected a tag of a-z, 0-9, '.', '_' and '-' that begins with a letter, got {tag[:80]!r}"
        )
    return tag
