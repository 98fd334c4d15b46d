"""What a model is declared to be used for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from undercroft.core.errors import InvalidError

Purpose = Literal["commercial", "internal", "research", "personal"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
_USERS_LIMIT = 10**10
_USERS = re.compile(r"users=(?P<count>\d[\d_]{0,12})")


@dataclass(frozen=True, slots=True)
class Use:
    """A declared use.

    Args:
        purpose: ``commercial``: part of what is sold or offered; ``internal``: an organisation's own work;
            ``research``: without gain, to learn; ``personal``: a person's own, without gain.
        users: Monthly active users of all products with it; None is not said.
    """

    purpose: Purpose
    users: int | None = None

    def __str__(self) -> str:
        return self.purpose if self.users is None else f"{self.purpose},users={self.users}"

    def covers(self, other: Use) -> bool:
        """Whether who accepted a licence for this use has accepted it for the other one too."""
        if self.purpose != other.purpose:
            return False
        return self.users == other.users or (self.users is not None and (other.users or 0) <= self.users)


def parse_use(text: str) -> Use:
    """Reads ``commercial``, ``internal``, ``research``, ``personal`` or ``users=N``, or one with ``,users=N``.

    Users alone mean a product that is offered to them: ``commercial``.

    Raises:
        InvalidError: ``bad-use``.
    """
    purpose: Purpose | None = None
    users: int | None = None
    for part in filter(None, (part.strip().lower() for part in re.split(r"[,;]", text))):
        known = next((name for name in PURPOSES if name == part), None)
        match = _USERS.fullmatch(part)
        if known is not None and purpose is None:
            purpose = known
        elif match and users is None and int(match["count"]) <= _USERS_LIMIT:
            users = int(match["count"])
        else:
            raise _bad_use(text)
    if purpose is None and users is None:
        raise _bad_use(text)
    return Use(purpose or "commercial", users)


def _bad_use(text: str) -> InvalidError:
    return InvalidError(
        "bad-use",
        f"{text[:80]!r} is no declared use, expected {', '.join(PURPOSES[:-1])} or {PURPOSES[-1]}, with ,users=N for "
        "the monthly users of a product",
        hint="--use commercial,users=20000",
    )
