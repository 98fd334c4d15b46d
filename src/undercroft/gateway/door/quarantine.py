"""Requests that end replicas: who is suspected, who is cleared, who is refused.

A request in flight when a replica broke gets a strike. It is tried again alone, apart from others with a strike, so
that the next break tells the guilty from the bystanders: then only the one that was tried gets a strike. Two strikes
from two breaks, and it is refused from then on; an answer clears it. A request that was answered lately gets no strike
at all.

While there are no strikes this costs a request one hash of its body by Python's own fast function; SHA-256 is taken
when something broke, and only digests are ever kept.
"""

from __future__ import annotations

import hashlib

_REMEMBERED = 4096
_STRIKES = 2


class Quarantine:
    """What this door knows about harmful requests. No clock, no network."""

    def __init__(self) -> None:
        self._told: frozenset[str] = frozenset()
        self._found: dict[str, None] = {}
        self._strikes: dict[str, set[str]] = {}
        self._answered: dict[int, None] = {}

    def tell(self, digests: frozenset[str]) -> None:
        """What control knows: all doors' findings of this and earlier runs."""
        self._told = digests
        # Once control knows it, control's word counts: an administrator may let it go.
        self._found = {d: None for d in self._found if d not in digests}
        self._strikes = {d: breaks for d, breaks in self._strikes.items() if d not in digests}

    def refused_digest(self, route: str, body: bytes) -> str | None:
        """The digest of a request that is refused, or None."""
        if not self._told and not self._found:
            return None
        digest = request_digest(route, body)
        return digest if digest in self._told or digest in self._found else None

    def is_suspect(self, route: str, body: bytes) -> bool:
        """It has a strike: it must be tried alone."""
        return bool(self._strikes) and request_digest(route, body) in self._strikes

    def strike(self, route: str, body: bytes, break_id: str) -> bool:
        """A replica broke with this request in flight.

        Args:
            break_id: Names that very break; a second strike for the same one does not count.

        Returns:
            It is refused from now on, and was not before.
        """
        if hash((route, body)) in self._answered:
            return False
        digest = request_digest(route, body)
        breaks = self._strikes.setdefault(digest, set())
        breaks.add(break_id)
        if len(breaks) >= _STRIKES:
            del self._strikes[digest]
            self._found[digest] = None
            _trim(self._found)
            return True
        _trim(self._strikes)
        return False

    def answered(self, route: str, body: bytes) -> None:
        """It was answered: it harms nobody."""
        answered, mark = self._answered, hash((route, body))
        answered.pop(mark, None)
        answered[mark] = None
        _trim(answered)
        if self._strikes:
            self._strikes.pop(request_digest(route, body), None)


def request_digest(route: str, body: bytes) -> str:
    """SHA-256 over route and body, hex."""
    return hashlib.sha256(route.encode() + b"\n" + body).hexdigest()


def _trim(remembered: dict[str, None] | dict[str, set[str]] | dict[int, None]) -> None:
    if len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]  # type: ignore[arg-type]  # a key of that very dict
