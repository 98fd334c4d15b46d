"""What places on another machine have in common: an address, no folder on this one, and leases in place of a lock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from undercroft.recovery.objects.addresses import BucketAddress, RepositoryAddress
from undercroft.recovery.objects.leases import LeasedObjects, Leases, LeaseTimes


class LeasedPlace:
    """The part of `Objects` that a bucket and a repository do alike.

    Args:
        address: Which.
        objects: The place itself, in which the leases lie.
        times: Of leases; None for the usual ones.
    """

    def __init__(
        self, address: BucketAddress | RepositoryAddress, objects: LeasedObjects, times: LeaseTimes | None
    ) -> None:
        self._where = str(address)
        self._leases = Leases(objects, times or LeaseTimes())

    @property
    def where(self) -> str:
        return self._where

    @property
    def folder(self) -> Path | None:
        return None

    def settle(self) -> None:
        self._leases.check()

    def locked(self, *, is_exclusive: bool) -> AbstractContextManager[None]:
        return self._leases.held(is_exclusive=is_exclusive)
