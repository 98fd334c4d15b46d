"""NVIDIA's management library, called directly: faster than ``nvidia-smi``, and there where the tool is not installed.

Source: NVML API reference (docs.nvidia.com/deploy/nvml-api): functions, structures and constants as named there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.nvidia_smi import is_unified

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_TOO_SMALL = 7  # NVML_ERROR_INSUFFICIENT_SIZE
_GPU_SENSOR = 0  # NVML_TEMPERATURE_GPU
_MEMORY_CLOCK = 2  # NVML_CLOCK_MEM
_UNCORRECTED = 1  # NVML_MEMORY_ERROR_TYPE_UNCORRECTED
_VOLATILE = 0  # NVML_VOLATILE_ECC: since the driver was loaded
_TEXT_BYTES = 96
_MOST_PROCESSES = 4096
_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE

# nvmlClocksEventReasons: bits that tell of throttling; idle (1) and clocks set by hand (2, 0x100) are none.
REASONS = {
    0x4: "sw power cap",
    0x8: "hw slowdown",
    0x10: "sync boost",
    0x20: "sw thermal slowdown",
    0x40: "hw thermal slowdown",
    0x80: "hw power brake slowdown",
}


class NvmlProblemError(Exception):
    """The library is there and cannot be used; the message says why."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    """``nvmlProcessInfo_t``, the form of ``nvmlDeviceGetComputeRunningProcesses_v3``."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


@dataclass(frozen=True, slots=True)
class _Library:
    """The library, opened; each call gives None where the device or the version does not know the answer."""

    functions: Any

    def number(self, name: str, handle: ctypes.c_void_p, kind: type[Any] = ctypes.c_uint, *before: Any) -> int | None:
        value = kind()
        return int(value.value) if self.call(name, handle, *before, ctypes.byref(value)) == _SUCCESS else None

    def pair(self, name: str, handle: ctypes.c_void_p) -> tuple[int, int] | None:
        first, second = ctypes.c_int(), ctypes.c_int()
        status = self.call(name, handle, ctypes.byref(first), ctypes.byref(second))
        return (first.value, second.value) if status == _SUCCESS else None

    def text(self, name: str, *handle: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        status = self.call(name, *handle, buffer, ctypes.c_uint(_TEXT_BYTES))
        return buffer.value.decode("utf-8", errors="replace") if status == _SUCCESS else ""

    def call(self, name: str, *arguments: Any) -> int | None:
        """The status of a call; None where this version of the library does not have the function."""
        function = getattr(self.functions, name, None)
        return None if function is None else int(function(*arguments))


def read_gpus(library: str = LIBRARY) -> list[Accelerator] | None:
    """GPUs as NVML tells of them; None where the library is not there.

    Args:
        library: Name or path of the library.

    Raises:
        NvmlProblemError: It is there and refuses: no driver loaded, driver and library of different versions,
            no permission.
    """
    try:
        functions = ctypes.CDLL(library)
    except OSError:
        return None
    with _opened(_Library(functions)) as opened:
        count = ctypes.c_uint()
        if opened.call("nvmlDeviceGetCount_v2", ctypes.byref(count)) != _SUCCESS:
            raise NvmlProblemError("NVML does not tell how many GPUs there are")
        driver = opened.text("nvmlSystemGetDriverVersion")
        runtime = _cuda_version(opened)
        return [gpu for i in range(count.value) if (gpu := _read_gpu(opened, i, driver, runtime)) is not None]


def read_energy(library: str = LIBRARY) -> dict[int, float]:
    """Joules that each GPU has used since its driver was loaded, by its index; empty without library or meter.

    Args:
        library: Name or path of the library.

    Raises:
        NvmlProblemError: The library is there and refuses.
    """
    try:
        functions = ctypes.CDLL(library)
    except OSError:
        return {}
    found = {}
    with _opened(_Library(functions)) as opened:
        count = ctypes.c_uint()
        opened.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if opened.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)) == _SUCCESS:
                used = opened.number("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.c_ulonglong)
                if used is not None:
                    found[index] = used / 1000
    return found


@contextmanager
def _opened(library: _Library) -> Iterator[_Library]:
    status = library.call("nvmlInit_v2")
    if status != _SUCCESS:
        raise NvmlProblemError(f"NVML cannot be used: {_reason(library, status)}")
    try:
        yield library
    finally:
        library.call("nvmlShutdown")


def _reason(library: _Library, status: int | None) -> str:
    function = getattr(library.functions, "nvmlErrorString", None)
    if function is None or status is None:
        return "it has no nvmlInit_v2"
    function.restype = ctypes.c_char_p
    text = function(ctypes.c_int(status))
    return text.decode("utf-8", errors="replace") if text else f"status {status}"


def _read_gpu(library: _Library, index: int, driver: str, runtime: str) -> Accelerator | None:
    handle = ctypes.c_void_p()
    if library.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)) != _SUCCESS:
        return None
    name = library.text("nvmlDeviceGetName", handle)
    memory = _Memory()
    has_memory = library.call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory)) == _SUCCESS
    capability = library.pair("nvmlDeviceGetCudaComputeCapability", handle)
    ecc = library.pair("nvmlDeviceGetEccMode", handle)
    reasons = library.number("nvmlDeviceGetCurrentClocksThrottleReasons", handle, ctypes.c_ulonglong) or 0
    return Accelerator(
        vendor="nvidia",
        index=index,
        name=name or f"NVIDIA GPU {index}",
        memory_bytes=memory.total if has_memory and memory.total else None,
        free_bytes=memory.free if has_memory and memory.total else None,
        is_unified=is_unified(name),
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else "",
        power_limit_watts=_watts(library.number("nvmlDeviceGetPowerManagementLimit", handle)),
        power_draw_watts=_watts(library.number("nvmlDeviceGetPowerUsage", handle)),
        temperature_celsius=library.number(
            "nvmlDeviceGetTemperature", handle, ctypes.c_uint, ctypes.c_uint(_GPU_SENSOR)
        ),
        has_ecc=None if ecc is None else ecc[0] == 1,
        mig_instances=_mig_instances(library, handle),
        throttle_reasons=tuple(word for bit, word in REASONS.items() if reasons & bit),
        driver_version=driver,
        runtime_version=runtime,
        processes=_processes(library, handle),
        facts=_facts(library, handle),
        bandwidth_bytes=_bandwidth(library, handle),
    )


def _bandwidth(library: _Library, handle: ctypes.c_void_p) -> float | None:
    """Two transfers a clock over the whole bus: 2 x 10,501 MHz x 384 bits are the 1,008 GB/s of an RTX 4090."""
    megahertz = library.number("nvmlDeviceGetMaxClockInfo", handle, ctypes.c_uint, ctypes.c_uint(_MEMORY_CLOCK))
    bits = library.number("nvmlDeviceGetMemoryBusWidth", handle)
    return 2 * megahertz * 1e6 * bits / 8 if megahertz and bits else None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _cuda_version(library: _Library) -> str:
    value = ctypes.c_int()
    if library.call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(value)) != _SUCCESS:
        return ""
    return f"{value.value // 1000}.{value.value % 1000 // 10}"


def _mig_instances(library: _Library, handle: ctypes.c_void_p) -> tuple[str, ...]:
    mode = library.pair("nvmlDeviceGetMigMode", handle)
    if mode is None or mode[0] != 1:
        return ()
    found = []
    for index in range(library.number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = ctypes.c_void_p()
        status = library.call("nvmlDeviceGetMigDeviceHandleByIndex", handle, ctypes.c_uint(index), ctypes.byref(part))
        memory = _Memory()
        if status == _SUCCESS and library.call("nvmlDeviceGetMemoryInfo", part, ctypes.byref(memory)) == _SUCCESS:
            found.append(f"{index}: {memory.total / 1024**3:.1f} GiB")
    return tuple(found)


def _processes(library: _Library, handle: ctypes.c_void_p) -> dict[int, int]:
    name = "nvmlDeviceGetComputeRunningProcesses_v3"
    count = ctypes.c_uint(0)
    if library.call(name, handle, ctypes.byref(count), None) not in (_SUCCESS, _TOO_SMALL):
        return {}
    room = min(count.value + 8, _MOST_PROCESSES)  # some may have started since
    count, found = ctypes.c_uint(room), (_Process * room)()
    if library.call(name, handle, ctypes.byref(count), found) != _SUCCESS:
        return {}
    processes: dict[int, int] = {}
    for process in found[: min(count.value, room)]:
        used = 0 if process.used == _NOT_AVAILABLE else process.used
        processes[process.pid] = processes.get(process.pid, 0) + used
    return processes


def _facts(library: _Library, handle: ctypes.c_void_p) -> dict[str, str]:
    width = library.number("nvmlDeviceGetMaxPcieLinkWidth", handle)
    generation = library.number("nvmlDeviceGetMaxPcieLinkGeneration", handle)
    mig = library.pair("nvmlDeviceGetMigMode", handle)
    facts = {
        "uuid": library.text("nvmlDeviceGetUUID", handle),
        "pcie width": f"{width}x" if width else "",
        "pcie generation": str(generation) if generation else "",
        "mig": "" if mig is None else "Enabled" if mig[0] == 1 else "Disabled",
        **_health(library, handle),
    }
    return {name: text for name, text in facts.items() if text}


def _health(library: _Library, handle: ctypes.c_void_p) -> dict[str, str]:
    """Under the names that `nvidia_smi.parse_xml` gives them."""
    persistence = library.number("nvmlDeviceGetPersistenceMode", handle)
    wanted = ctypes.c_uint(_UNCORRECTED), ctypes.c_uint(_VOLATILE)
    errors = library.number("nvmlDeviceGetTotalEccErrors", handle, ctypes.c_ulonglong, *wanted)
    rows = [ctypes.c_uint() for _ in ("corrected", "uncorrected", "pending", "failed")]
    status = library.call("nvmlDeviceGetRemappedRows", handle, *(ctypes.byref(row) for row in rows))
    remapping = "failed" if rows[3].value else "pending" if rows[2].value else ""
    return {
        "persistence": "" if persistence is None else "Enabled" if persistence == 1 else "Disabled",
        "ecc uncorrected": "" if errors is None else str(errors),
        "row remapping": remapping if status == _SUCCESS else "",
    }
