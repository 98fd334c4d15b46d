"""Files that are called by the digest of their content: ``blobs/sha256/ab/cdef…``.

A file is brought in beside its final place, hashed once, and given its name by a rename. Where its source is on the
same disk, it is a reflink or a hard link and takes no room of its own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from undercroft.core.errors import UnavailableError, UndercroftError
from undercroft.core.files import sync_folder
from undercroft.core.ids import DIGEST_PATTERN, check_digest
from undercroft.core.units import format_bytes

# Fits the second-level cache beside OpenSSL's state; measured best of 64 KiB to 4 MiB.
_BUFFER_BYTES = 1024 * 1024
_COPY_BYTES = 64 * 1024 * 1024
_FICLONE = 0x40049409  # linux/fs.h
_SPARE_BYTES = 64 * 1024 * 1024
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_SHARE = {
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOTTY,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ETXTBSY,
}

Method = Literal["reflink", "hard link", "copy"]
BytesDone = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file looks like without reading it; another one after hashing means that its content may be another.

    Args:
        size_bytes: Its length.
        inode: Its number on its disk.
        modified_ns: When its content was last written; nanoseconds since the epoch.
    """

    size_bytes: int
    inode: int
    modified_ns: int


# What is written down of a file whose content was found to be another: no file looks like this.
DISTRUSTED = Fingerprint(0, 0, 0)


def fingerprint(path: Path) -> Fingerprint:
    """Looks at a file.

    Raises:
        OSError: It is not there, or not an ordinary file.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))
    return Fingerprint(status.st_size, status.st_ino, status.st_mtime_ns)


def digest_file(path: Path, *, done: BytesDone | None = None) -> str:
    """SHA-256 of a file's content as ``sha256:<hex>``, at the speed of the processor and in one small buffer.

    Args:
        path: An ordinary file.
        done: Told after each piece how many bytes were hashed since the last call.
    """
    state = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := file.readinto(buffer):
            state.update(buffer[:count])
            if done is not None:
                done(count)
    return f"sha256:{state.hexdigest()}"


def check_room(folder: Path, wanted_bytes: int, *, what: str) -> None:
    """Makes sure that a disk has room before it is filled.

    Raises:
        UnavailableError: ``disk-full``.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes + _SPARE_BYTES:
        raise UnavailableError(
            "disk-full",
            f"no room for {what}: needs {format_bytes(wanted_bytes)} and {format_bytes(_SPARE_BYTES)} to spare, "
            f"{folder} has {format_bytes(free)} free",
            hint="undercroft model gc, or make room on that disk",
        )


def explain_disk_full(error: OSError, *, what: str) -> UndercroftError | None:
    """The error to show where the disk became full on the way; None where it was something else."""
    if error.errno not in _DISK_FULL:
        return None
    return UnavailableError(
        "disk-full",
        f"the disk became full while writing {what}; nothing of it was kept under a name",
        hint="undercroft model gc, or make room on that disk",
    )


def bring_in(source: Path, target: Path, *, must_copy: bool = False, done: BytesDone | None = None) -> Method:
    """Makes ``target`` hold the content of ``source``, the cheapest way there is.

    A hard link is taken only from the user's own file, since whoever owns it can change it; a reflink is a file of
    its own and better where the file system knows it.

    Args:
        source: An ordinary file.
        target: Does not exist; on the store's disk.
        must_copy: Never share bytes with the source.
        done: Told how many bytes were copied since the last call; sharing copies none.

    Raises:
        UnavailableError: ``disk-full``.
        OSError: The source cannot be read or the target not written.
    """
    if not must_copy:
        if _reflink(source, target):
            return "reflink"
        if source.stat().st_uid == os.geteuid() and _link(source, target):
            return "hard link"
    check_room(target.parent, source.stat().st_size, what=source.name)
    try:
        _copy(source, target, done)
    except OSError as error:
        target.unlink(missing_ok=True)
        full = explain_disk_full(error, what=source.name)
        if full is not None:
            raise full from error
        raise
    return "copy"


def _reflink(source: Path, target: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    with source.open("rb") as read, target.open("xb") as write:
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
            return True
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
    target.unlink()
    return False


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        return False
    return True


def _copy(source: Path, target: Path, done: BytesDone | None) -> None:
    with source.open("rb", buffering=0) as read, target.open("xb", buffering=0) as write:
        for count in _pieces(read, write):
            if done is not None:
                done(count)
        os.fsync(write.fileno())


def _pieces(read: FileIO, write: FileIO) -> Iterator[int]:
    """Copies piece by piece, inside the kernel where it can."""
    if hasattr(os, "copy_file_range"):
        try:
            while count := os.copy_file_range(read.fileno(), write.fileno(), _COPY_BYTES):
                yield count
            return
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    while count := read.readinto(buffer):
        written = 0
        while written < count:
            written += write.write(buffer[written:count])
        yield count


class BlobStore:
    """The folder of content-addressed files.

    Args:
        root: ``Home.blobs``; exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the content of a digest lies, or would.

        Raises:
            InvalidError: ``bad-digest``: it is no digest, and so never becomes a path.
        """
        text = check_digest(digest).removeprefix("sha256:")
        return self.root / "sha256" / text[:2] / text[2:]

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Held while files are placed and their rows written, so that `sweeping` sees both or neither."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        """Held while files that no row knows are removed."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def place(self, incoming: Path, digest: str, *, is_ours: bool) -> Path:
        """Gives a hashed file its name, replacing what was there: it has just been read, the old one has not.

        Args:
            incoming: On the same disk; gone afterwards.
            digest: Of its content.
            is_ours: Whether nobody else has the file; it becomes read-only. The mode of a hard link is its owner's.
        """
        target = self.path(digest)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_ours:
            incoming.chmod(0o400)
        descriptor = os.open(incoming, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # rename() does nothing where both names are links to the same file, and leaves the old name.
        os.replace(incoming, target)
        incoming.unlink(missing_ok=True)
        for folder in (target.parent, target.parent.parent, self.root):
            sync_folder(folder)
        return target

    def parts_folder(self, manifest: str) -> Path:
        """Where the parts of a split file get names that let them find each other.

        Args:
            manifest: Digest of the model that they belong to.
        """
        return self.root / "parts" / check_digest(manifest).removeprefix("sha256:")

    def drop_parts(self, *, keep: Collection[str]) -> None:
        """Removes the folders of parts whose model is gone.

        Args:
            keep: Digests of the models that there are.
        """
        kept = {digest.removeprefix("sha256:") for digest in keep}
        for folder in (self.root / "parts").glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    def digests(self) -> Iterator[tuple[str, Path]]:
        """Every stored file."""
        for folder in sorted((self.root / "sha256").glob("??")):
            for path in sorted(folder.iterdir()):
                digest = f"sha256:{folder.name}{path.name}"
                if DIGEST_PATTERN.fullmatch(digest):
                    yield digest, path
