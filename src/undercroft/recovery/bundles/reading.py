"""Opens a bundle that somebody else made: the signature first, then every byte is compared with what it says."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.layout import BLOCK_BYTES, END, Placed, difference, header, pieces, place, size_in
from undercroft.recovery.bundles.manifests import MANIFEST_LIMIT_BYTES, SMALL_LIMIT_BYTES, Entry, Manifest, parse
from undercroft.recovery.bundles.problems import bad_bundle
from undercroft.recovery.bundles.signing import Signer
from undercroft.storage import checkpoints

MANIFEST_PATH, SIGNATURE_PATH = "manifest.json", "signature.json"
PIECE_BYTES = 1024 * 1024

Take = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A bundle whose manifest was signed by whom it says, and whose file has the form that follows from it.

    Args:
        file: Open for reading.
        manifest: Of it.
        signer: Who signed the manifest.
        places: Where each entry lies, by path.
        size_bytes: Of the file.
    """

    file: FileIO
    manifest: Manifest
    signer: Signer
    places: dict[str, Placed]
    size_bytes: int

    def copy(self, entry: Entry, take: Take) -> None:
        """Hands over an entry's content piece by piece.

        Args:
            entry: Of the manifest.
            take: Gets each piece. What it got counts only when this returns.

        Raises:
            InvalidError: ``bad-bundle``: it is not what its digest says.
        """
        self.file.seek(self.places[entry.path].content_at)
        state = hashlib.sha256()
        for wanted in pieces(entry.size_bytes, PIECE_BYTES):
            piece = _read_exactly(self.file, wanted, entry.path)
            state.update(piece)
            take(piece)
        if f"sha256:{state.hexdigest()}" != entry.digest:
            raise bad_bundle(f"the content of {entry.path!r} was changed: its digest does not hold")

    def content(self, entry: Entry) -> bytes:
        """A small entry.

        Raises:
            InvalidError: ``bad-bundle``: it is not what its digest says, or too large to be read at once.
        """
        if entry.size_bytes > SMALL_LIMIT_BYTES:
            raise bad_bundle(f"{entry.path!r} is larger than {SMALL_LIMIT_BYTES:,} bytes")
        taken: list[bytes] = []
        self.copy(entry, taken.append)
        return b"".join(taken)


@contextmanager
def open_bundle(path: Path) -> Iterator[OpenBundle]:
    """A bundle, its manifest checked, its contents not read yet.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-bundle``: it is none, or was changed.
        RefusedError: A model's file has a name that is up to something.
    """
    try:
        # A pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError("no-such-file", f"there is no file {path}") from error
    except OSError as error:
        raise UnavailableError("file-unreadable", f"cannot read {path}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InvalidError("no-plain-file", f"expected a file, and {path} is a folder or a device")
    with open(descriptor, "rb", buffering=0) as file:
        yield _opened(file, status.st_size)


def _opened(file: FileIO, size_bytes: int) -> OpenBundle:
    first = _read_exactly(file, BLOCK_BYTES, "its first entry")
    manifest_bytes = size_in(first)
    if manifest_bytes is None or first != header(MANIFEST_PATH, manifest_bytes):
        raise bad_bundle("it does not begin with a manifest: it is no bundle of Undercroft")
    if manifest_bytes > MANIFEST_LIMIT_BYTES:
        raise bad_bundle(f"its manifest has {manifest_bytes:,} bytes, expected at most {MANIFEST_LIMIT_BYTES:,}")
    head, begin = place([(MANIFEST_PATH, manifest_bytes), (SIGNATURE_PATH, signing.SIGNATURE_BYTES)])
    if size_bytes < begin + len(END):
        raise bad_bundle(f"it was cut off: it has {size_bytes:,} bytes, its beginning alone {begin:,}")
    raw, signature = (_framed(file, one) for one in head)
    signer = signing.check(raw, signature)
    manifest = parse(raw)
    placed, end = place([(entry.path, entry.size_bytes) for entry in manifest.entries], begin=begin)
    if size_bytes != end + len(END):
        how = "was cut off" if size_bytes < end + len(END) else "has something behind its end"
        raise bad_bundle(f"it {how}: expected {end + len(END):,} bytes, got {size_bytes:,}")
    for one in placed:
        _check_frame(file, one)
    file.seek(end)
    if _read_exactly(file, len(END), "its end") != END:
        raise bad_bundle("something stands where it has to end")
    return OpenBundle(file, manifest, signer, {one.path: one for one in placed}, size_bytes)


def _framed(file: FileIO, one: Placed) -> bytes:
    """A small content, and what is around it compared."""
    _check_frame(file, one)
    file.seek(one.content_at)
    return _read_exactly(file, one.size_bytes, one.path)


def _check_frame(file: FileIO, one: Placed) -> None:
    file.seek(one.header_at)
    block = _read_exactly(file, BLOCK_BYTES, one.path)
    if block != header(one.path, one.size_bytes):
        raise bad_bundle(difference(block, one.path))
    file.seek(one.content_at + one.size_bytes)
    if any(_read_exactly(file, one.padding_bytes, one.path)):
        raise bad_bundle(f"something stands behind {one.path!r} that does not belong to it")


def _read_exactly(file: FileIO, count: int, what: str) -> bytes:
    found = bytearray()
    while len(found) < count:
        try:
            piece = file.read(count - len(found))
        except OSError as error:
            raise UnavailableError("file-unreadable", f"cannot read the bundle: {error.strerror}") from error
        if not piece:
            raise bad_bundle(f"it ends within {what[:80]!r}")
        found += piece
    return bytes(found)


def verify(bundle: OpenBundle, *, done: Callable[[Entry, int], object] = lambda entry, count: None) -> None:
    """Reads everything and compares every digest.

    Args:
        bundle: As `open_bundle` gave it.
        done: Told of each entry how many bytes were read since the last call.

    Raises:
        InvalidError: ``bad-bundle``: a content was changed.
    """
    for entry in bundle.manifest.entries:
        bundle.copy(entry, lambda piece, entry=entry: done(entry, len(piece)))  # type: ignore[misc]


def own_signer(home: Home) -> Signer | None:
    """Whom this home signs as; None where it has no key yet, and none is made."""
    if not home.signing_key_file.exists():
        return None
    return signing.signer_of(checkpoints.signing_key(home))
