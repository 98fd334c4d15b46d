"""What every place that keeps backups can do, and nothing more: what it keeps is sealed before it comes here.

Names are made by `undercroft.recovery.store` alone: ``objects/ab/cdef…``, ``backups/ID``, ``checks/ID``, one marker; a
place may add names of its own for its locks. No two names ever have the same content, which a registry would keep once:
each seal has a salt, and what is not sealed says its own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

MARKER = "undercroft-backups.json"
FOLDERS = ("objects", "backups", "checks")


class Objects(Protocol):
    """Objects by name. A name that was given is seen by everybody at once.

    Every method raises these beside its own:

    Raises:
        RefusedError: ``store-refused``: the credentials are wrong, or do not allow it.
        UnavailableError: ``store-unreachable``, ``store-unusable``, ``disk-full``: what was there is as it was.
    """

    @property
    def where(self) -> str:
        """As a person names it: a path, ``s3://bucket/prefix``, ``oci://host/repository``."""

    @property
    def folder(self) -> Path | None:
        """On this machine; None where another one keeps it, which must be given sealed things only."""

    def prepare(self) -> None:
        """Makes room for a new store where that is a thing to do.

        Raises:
            ConflictError: ``folder-not-empty``: it belongs to something else.
        """

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        """An object; of one that is longer than the limit, one byte more than the limit. None where there is none.

        Raises:
            DamagedError: Something is there that cannot be read, is longer, or is known by the place to be changed.
        """

    def size_bytes(self, name: str) -> int | None:
        """How long an object is, without reading it; None where there is none."""

    def add(self, name: str, content: bytes) -> bool:
        """Puts an object where none is; whole, or not at all. False where one is, which stays as it was."""

    def replace(self, name: str, content: bytes) -> None:
        """Puts an object in the place of whatever has its name; whole, or what was there stays."""

    def names(self, folder: str) -> Iterator[str]:
        """The names of all objects whose name begins with a folder and ``/``, sorted."""

    def remove(self, name: str) -> bool:
        """Removes an object; nothing happens where there is none.

        Returns:
            Whether its room is free again at once; where not, the place's own cleaning frees it.

        Raises:
            RefusedError: ``removal-refused``: it does not let anybody remove things.
        """

    def settle(self) -> None:
        """Makes everything that was put survive power loss, and makes sure that the lock was held all the time.

        Raises:
            ConflictError: ``lock-lost``: this process stood still for so long that others took it for dead.
        """

    def sweep(self) -> None:
        """Removes what killed writers left; held alone."""

    def locked(self, *, is_exclusive: bool) -> AbstractContextManager[None]:
        """Held together by all who read or add, or alone by one who removes.

        Raises:
            ConflictError: ``store-busy``.
        """
