"""Memory bandwidth: plain reads and copies of buffers larger than any cache, by one thread and by all.

The C library's ``memchr`` reads and ``memcpy`` copies, at full width of the vector units and without Python's lock. A
decode step is a read of the weights, so the reads are what planning wants.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from collections.abc import Callable

from undercroft.hardware.measurements import Measurement

_LEAST_BYTES = 16 * 1024**2
_ABSENT = 1  # a byte that does not stand in the buffers, so that a search reads all of them


def measure_memory(
    *, device: str, threads: int, total_bytes: int, seconds: float, rounds: int = 3
) -> list[Measurement]:
    """Bandwidths of reads and copies, by one thread and by all; the best round counts, as in STREAM.

    Args:
        device: The processor's name.
        threads: All of them; count.
        total_bytes: Of the buffers of all threads together; several times the last cache.
        seconds: Of one round.
        rounds: How many.

    Returns:
        Bytes a second; a copy counts what it reads and what it writes.
    """
    found = []
    counts = {1: "1 thread", threads: "all threads"} if threads > 1 else {1: "1 thread"}
    for count, words in counts.items():
        each = max(_LEAST_BYTES, total_bytes // count)
        for name, work in (("read", _reader), ("copy", _copier)):
            rates = [_round(work, count, each, seconds) for _ in range(rounds)]
            found.append(_measurement(device, f"{name}, {words}", rates, count, each))
            if threads == 1:
                found.append(_measurement(device, f"{name}, all threads", rates, count, each))
    return found


def _measurement(device: str, variant: str, rates: list[float], threads: int, each: int) -> Measurement:
    detail = {"threads": threads, "buffer_bytes": each, "rounds": len(rates), "slowest": min(rates)}
    return Measurement("memory-bandwidth", device, max(rates), variant, detail)


def _round(work: Callable[[int], tuple[Callable[[], None], int]], threads: int, each: int, seconds: float) -> float:
    """Bytes a second of all threads together, from the start of the first to the end of the last."""
    start = threading.Barrier(threads)
    moved: list[int] = []
    times: list[float] = []

    def run() -> None:
        step, step_bytes = work(each)  # touched by the thread that uses it: on its own NUMA node
        start.wait()
        begun = time.perf_counter()
        step()
        count = step_bytes
        while time.perf_counter() < begun + seconds:
            step()
            count += step_bytes
        times.extend((begun, time.perf_counter()))
        moved.append(count)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(moved) / (max(times) - min(times))


def _reader(size: int) -> tuple[Callable[[], None], int]:
    address, buffer = _buffer(size)
    search = _function("memchr", (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t))

    def step() -> None:
        search(address, _ABSENT, size)
        assert buffer is not None  # it lives as long as its address is used

    return step, size


def _copier(size: int) -> tuple[Callable[[], None], int]:
    half = size // 2
    address, buffer = _buffer(size)
    copy = _function("memcpy", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t))

    def step() -> None:
        copy(address + half, address, half)
        assert buffer is not None  # it lives as long as its address is used

    return step, 2 * half


def _buffer(size: int) -> tuple[int, mmap.mmap]:
    """Memory of our own that has been written, so that it really is there."""
    buffer = mmap.mmap(-1, size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    ctypes.memset(address, 0, size)
    return address, buffer


def _function(name: str, arguments: tuple[type, ...]) -> Callable[..., object]:
    function = getattr(ctypes.CDLL(None), name)
    function.argtypes = arguments
    function.restype = ctypes.c_void_p
    return function  # type: ignore[no-any-return]
