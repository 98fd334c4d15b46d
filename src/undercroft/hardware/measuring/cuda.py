"""Copies between host and an NVIDIA GPU and inside it, through the driver's own library.

Source: CUDA driver API reference (docs.nvidia.com/cuda/cuda-driver-api): functions as named there. No GPU was at hand
when this was written; it is tried against a library of the documented form.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from undercroft.hardware.measurements import Measurement

LIBRARY = "libcuda.so.1"
_ROUNDS = 5
_NAME_BYTES = 256


class CudaProblemError(Exception):
    """The driver refuses; the message says which call and why."""


def measure_copies(*, size_bytes: int, library: str = LIBRARY) -> list[Measurement]:
    """Copies for every GPU that this process may use; the best of five counts.

    Args:
        size_bytes: Of one copy.
        library: Name or path of the driver's library; none there is no measurement.

    Returns:
        Bytes a second: ``host to device``, ``device to host`` (from and to pinned memory), ``inside the device``, where
        what is read and what is written both count.

    Raises:
        CudaProblemError: The driver is there and refuses.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return []
    _call(driver, "cuInit", ctypes.c_uint(0))
    count = ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    return [found for index in range(count.value) for found in _of_device(driver, index, size_bytes)]


def _of_device(driver: Any, index: int, size: int) -> Iterator[Measurement]:
    device = ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(driver, "cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), device)
    with (
        _context(driver, device),
        _memory(driver, "cuMemAlloc_v2", "cuMemFree_v2", size) as source,
        _memory(driver, "cuMemAlloc_v2", "cuMemFree_v2", size) as target,
        _memory(driver, "cuMemAllocHost_v2", "cuMemFreeHost", size) as host,
    ):
        length = ctypes.c_size_t(size)
        copies: dict[str, tuple[int, Callable[[], None]]] = {
            "host to device": (size, lambda: _call(driver, "cuMemcpyHtoD_v2", source, host, length)),
            "device to host": (size, lambda: _call(driver, "cuMemcpyDtoH_v2", host, source, length)),
            "inside the device": (2 * size, lambda: _call(driver, "cuMemcpyDtoD_v2", target, source, length)),
        }
        for variant, (moved, copy) in copies.items():
            best = min(_seconds(driver, copy) for _ in range(_ROUNDS))
            detail = {"size_bytes": size, "rounds": _ROUNDS, "index": index}
            yield Measurement("gpu-copy", name.value.decode(errors="replace"), moved / best, variant, detail)


def _seconds(driver: Any, copy: Callable[[], None]) -> float:
    _call(driver, "cuCtxSynchronize")
    begun = time.perf_counter()
    copy()
    _call(driver, "cuCtxSynchronize")
    return time.perf_counter() - begun


@contextmanager
def _context(driver: Any, device: ctypes.c_int) -> Iterator[None]:
    """The device's primary context, which any number of users share."""
    context = ctypes.c_void_p()
    _call(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        _call(driver, "cuCtxSetCurrent", context)
        yield
    finally:
        _call(driver, "cuDevicePrimaryCtxRelease_v2", device)


@contextmanager
def _memory(driver: Any, take: str, give_back: str, size: int) -> Iterator[ctypes.c_uint64]:
    address = ctypes.c_uint64()
    _call(driver, take, ctypes.byref(address), ctypes.c_size_t(size))
    try:
        yield address
    finally:
        _call(driver, give_back, address)


def _call(driver: Any, name: str, *arguments: Any) -> None:
    function = getattr(driver, name, None)
    if function is None:
        raise CudaProblemError(f"the CUDA driver has no {name}; it is too old")
    status = function(*arguments)
    if status != 0:
        text = ctypes.c_char_p()
        explain = getattr(driver, "cuGetErrorName", None)
        if explain is not None:
            explain(status, ctypes.byref(text))
        raise CudaProblemError(f"CUDA: {name} failed with {(text.value or b'').decode(errors='replace') or status}")
