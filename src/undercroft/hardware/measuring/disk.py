"""How fast a file is read: cold, from the disk itself, and warm, from the kernel's cache.

A file in the home is written, thrown out of the cache and read once from front to back. Whether it really left the
cache is asked of the kernel (``mincore``); where it did not, it is read around the cache (``O_DIRECT``); where that
does not work either, no cold figure is given. A virtual machine's host may hold the file in a cache of its own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from undercroft.hardware.measurements import Measurement

_BLOCK_BYTES = 8 * 1024**2
_STAYED_RATIO = 0.01


@dataclass(frozen=True, slots=True)
class DiskResult:
    """What was measured.

    Args:
        measurements: ``cold`` where that was possible, and ``warm``.
        note: Why there is no cold figure; empty where there is one.
    """

    measurements: tuple[Measurement, ...]
    note: str = ""


def measure_disk(*, folder: Path, device: str, size_bytes: int) -> DiskResult:
    """Reads of a temporary file in a folder, which is removed afterwards.

    Args:
        folder: On the disk in question.
        device: Its mount point.
        size_bytes: Of the file; a multiple of 8 MiB.

    Raises:
        OSError: The file cannot be written or read; the disk is full.
    """
    with _written_file(folder, size_bytes) as path:
        stayed = _drop_from_cache(path)
        cold, how = _read_cold(path, size_bytes, stayed)
        warm = _read(path, os.O_RDONLY)
    found = [] if cold is None else [Measurement("disk-read", device, size_bytes / cold, "cold", {"how": how})]
    found.append(Measurement("disk-read", device, size_bytes / warm, "warm", {}))
    detail = {"size_bytes": size_bytes, "block_bytes": _BLOCK_BYTES}
    complete = tuple(Measurement(m.kind, m.device, m.value, m.variant, {**detail, **m.detail}) for m in found)
    return DiskResult(complete, how if cold is None else "")


def _read_cold(path: Path, size_bytes: int, stayed: float | None) -> tuple[float | None, str]:
    """Seconds of a cold read and how it came about; None and why where there is none."""
    if stayed is not None and stayed <= _STAYED_RATIO:
        return _read(path, os.O_RDONLY), "dropped from the cache"
    if hasattr(os, "O_DIRECT"):
        try:
            return _read(path, os.O_RDONLY | os.O_DIRECT), "around the cache"
        except OSError:
            pass
    share = "an unknown part" if stayed is None else f"{stayed:.0%}"
    return None, f"the disk was not read cold: {share} of the file stayed in the cache, and it cannot be read around it"


@contextmanager
def _written_file(folder: Path, size_bytes: int) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".measure-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            block = os.urandom(_BLOCK_BYTES)  # nothing that a disk or a file system could compress
            for _ in range(size_bytes // _BLOCK_BYTES):
                file.write(block)
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _drop_from_cache(path: Path) -> float | None:
    """Asks the kernel to forget a file; the share that stayed, None where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return resident_ratio(descriptor)
    finally:
        os.close(descriptor)


def resident_ratio(descriptor: int) -> float | None:
    """The share of a file's pages that lie in memory, 0 to 1; None where the kernel does not tell."""
    size = os.fstat(descriptor).st_size
    library = ctypes.CDLL(None, use_errno=True)
    if size == 0 or not hasattr(library, "mincore"):
        return None
    with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        answer = (ctypes.c_ubyte * pages)()
        first = ctypes.c_char.from_buffer(mapped)
        status = library.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), answer)
        del first  # a mapping with a view of it cannot be closed
    return sum(page & 1 for page in bytes(answer)) / pages if status == 0 else None


def _read(path: Path, flags: int) -> float:
    """Seconds that reading all of a file takes."""
    descriptor = os.open(path, flags)
    try:
        with mmap.mmap(-1, _BLOCK_BYTES) as block:  # aligned, as O_DIRECT wants it
            begun = time.perf_counter()
            while os.readv(descriptor, [block]):
                pass
            return time.perf_counter() - begun
    finally:
        os.close(descriptor)
