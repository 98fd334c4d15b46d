"""A lock for places that have none: whoever works there says so in an object of its own, and then looks who else does.

Two who come at the same moment both see each other and at least one goes away, so that what removes is alone. An object
says when it was written by the clock of the store, so the clocks of the machines do not matter; it is written anew
while its owner lives. One that was not for a long time is of a dead process and is passed over.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import ConflictError, RefusedError, UndercroftError
from undercroft.recovery.sealing import DamagedError

_LIMIT_BYTES = 1024
_SHARED, _EXCLUSIVE = "shared", "exclusive"


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a lease is good for.

    Args:
        renew_seconds: Between two writings of a lease that is held.
        lost_seconds: A holder that could not write it for so long stops.
        stale_seconds: Others pass over one that is so old; well over ``lost_seconds``.
    """

    renew_seconds: float = 60.0
    lost_seconds: float = 600.0
    stale_seconds: float = 1200.0


class LeasedObjects(Protocol):
    """What leases need of a place."""

    @property
    def where(self) -> str:
        """As a person names it."""

    def now(self) -> datetime:
        """By the clock of the place."""

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        """As of `Objects`."""

    def replace(self, name: str, content: bytes) -> None:
        """As of `Objects`."""

    def names(self, folder: str) -> Iterator[str]:
        """As of `Objects`."""

    def remove(self, name: str) -> bool:
        """As of `Objects`."""


class Leases:
    """The locks of one process on one place.

    Args:
        objects: The place.
        times: How long they are good for.
    """

    def __init__(self, objects: LeasedObjects, times: LeaseTimes) -> None:
        self._objects = objects
        self._times = times
        self._written: dict[str, float] = {}

    @contextmanager
    def held(self, *, is_exclusive: bool) -> Iterator[None]:
        """As `Objects.locked`. Who may only read goes without: it may find something gone, and nothing worse."""
        kind = _EXCLUSIVE if is_exclusive else _SHARED
        name = f"leases/{kind}-{secrets.token_hex(16)}"
        try:
            self._write(name)
        except RefusedError:
            if is_exclusive:
                raise
            yield
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, ended), daemon=True)
        renewing.start()
        try:
            self._look(name, is_exclusive=is_exclusive)
            yield
        finally:
            ended.set()
            renewing.join()
            del self._written[name]
            self._give_back(name)

    def check(self) -> None:
        """Makes sure that nobody could take this process for dead.

        Raises:
            ConflictError: ``lock-lost``.
        """
        oldest = min(self._written.values(), default=None)
        if not all(self._is_there(name) for name in self._written) or (
            oldest is not None and time.monotonic() - oldest > self._times.lost_seconds
        ):
            raise ConflictError(
                "lock-lost",
                f"this process stood still, or could not reach {self._objects.where}, for so long that others there "
                "may take it for dead; what was there is as it was",
                hint="begin again; what was written so far is found",
            )

    def _is_there(self, name: str) -> bool:
        try:
            return self._objects.get(name, _LIMIT_BYTES) is not None
        except DamagedError:
            return False

    def _write(self, name: str) -> None:
        begun = time.monotonic()
        self._objects.replace(name, _content(name, at=to_iso(self._objects.now())))
        self._written[name] = begun

    def _renew(self, name: str, ended: threading.Event) -> None:
        while not ended.wait(self._times.renew_seconds):
            with suppress(UndercroftError):  # `check` says so when that goes on for too long
                self._write(name)

    def _look(self, mine: str, *, is_exclusive: bool) -> None:
        for name in self._objects.names("leases"):
            is_other_exclusive = name.startswith(f"leases/{_EXCLUSIVE}-")
            if name == mine or not (is_exclusive or is_other_exclusive) or not self._is_alive(name):
                continue
            who = (
                "somebody removes backups from it just now"
                if is_other_exclusive
                else "another backup, restore or verification uses it just now"
            )
            raise ConflictError(
                "store-busy",
                f"the store {self._objects.where} is in use: {who}, or was cut off in it less than "
                f"{self._times.stale_seconds / 60:g} minutes ago",
                hint="wait until that has ended",
            )

    def _is_alive(self, name: str) -> bool:
        try:
            content = self._objects.get(name, _LIMIT_BYTES)
            written = None if content is None else from_iso(str(json.loads(content)["at"]))
        except (DamagedError, ValueError, KeyError, TypeError):
            written = None
        if written is not None and self._objects.now() - written < timedelta(seconds=self._times.stale_seconds):
            return True
        with suppress(UndercroftError):
            self._objects.remove(name)
        return False

    def _give_back(self, name: str) -> None:
        with suppress(UndercroftError):
            try:
                self._objects.remove(name)
            except RefusedError:
                # Where nobody may remove anything, it can still be said that nobody holds it.
                self._objects.replace(name, _content(name))


def _content(name: str, **values: str) -> bytes:
    """No two leases are the same, or a registry that removes one would remove the other."""
    return json.dumps({"name": name, **values}).encode()
