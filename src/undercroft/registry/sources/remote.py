"""The beginning of a file on a hub, read in pieces by HTTP range, so that a header costs its own size and no more."""

from __future__ import annotations

from undercroft.core.errors import UnavailableError
from undercroft.registry.references import HubReference
from undercroft.registry.sources.hub import Hub

_FIRST_PIECE_BYTES = 1024 * 1024
_PIECE_BYTES = 4 * 1024 * 1024
_LIMIT_BYTES = 96 * 1024 * 1024


class HubBytes:
    """A file on a hub as `undercroft.registry.inspection.reading.RemoteBytes`.

    Args:
        hub: Where it lies.
        reference: Its repository.
        commit: Of the listing.
        path: Of the file.
    """

    def __init__(self, hub: Hub, reference: HubReference, commit: str, path: str) -> None:
        self._hub, self._reference, self._commit, self._path = hub, reference, commit, path
        self._start = 0
        self._piece = b""
        self.fetched_bytes = 0
        self.size_bytes = self._fetch(0, _FIRST_PIECE_BYTES)

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes from an offset on, of the piece at hand or the next one.

        Raises:
            UnavailableError: The hub does not answer, or the header is larger than any real one.
        """
        if not self._start <= offset < self._start + len(self._piece):
            if offset >= self.size_bytes:
                return b""
            self._fetch(offset, _PIECE_BYTES)
        at = offset - self._start
        return self._piece[at : at + count]

    def _fetch(self, offset: int, count: int) -> int:
        if self.fetched_bytes + count > _LIMIT_BYTES:
            raise UnavailableError(
                "header-too-large",
                f"the header of {self._path[-120:]!r} is larger than {_LIMIT_BYTES:,} bytes",
                hint="pull the model, then plan with its name",
            )
        piece = self._hub.read_range(self._reference, self._commit, self._path, offset, count)
        self._start, self._piece = offset, piece.data
        self.fetched_bytes += len(piece.data)
        return piece.total_bytes
