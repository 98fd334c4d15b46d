"""A machine, its measurements and the devices of the catalogue in words, for 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from undercroft.core.units import format_bytes
from undercroft.hardware.devices import Device, Price
from undercroft.hardware.machine import Accelerator, Disk, HostMemory, Machine
from undercroft.hardware.measurements import Measurement

_WIDTH = 80
_NAME = 13
_HEADINGS = {
    "memory-bandwidth": "memory",
    "disk-read": "disk read",
    "matrix": "products with many tokens",
    "matrix-vector": "products with one token",
    "gpu-copy": "copies to GPUs",
}


def describe_machine(machine: Machine) -> list[str]:
    """What it is, a topic a paragraph."""
    processor = machine.processor
    cores = f"{_count(processor.physical_cores, 'core')}, {_count(processor.logical_cores, 'thread')}"
    sockets = f", {processor.sockets} sockets" if processor.sockets > 1 else ""
    lines = []
    if machine.model or machine.is_container:
        lines += _topic(
            "computer", ", ".join([machine.model] * bool(machine.model) + ["in a container"] * machine.is_container)
        )
    lines += _topic("processor", f"{processor.name} ({processor.architecture}, {cores}{sockets})")
    lines += _topic("", " ".join(sorted(processor.features)) or "no instruction set that matters is known")
    lines += _topic("memory", _memory(machine.memory))
    for disk in machine.disks:
        lines += _topic("disk", _disk(disk))
    for accelerator in machine.accelerators:
        lines += _accelerator(accelerator)
    if not machine.accelerators:
        lines += _topic("accelerators", "none found")
    for note in machine.notes:
        lines += _topic("note", note)
    return lines


def describe_measurements(measured: Sequence[Measurement]) -> list[str]:
    """The newest figures by kind and device."""
    if not measured:
        return ["Nothing was measured here yet. Try: undercroft hardware measure"]
    lines: list[str] = []
    for kind, heading in _HEADINGS.items():
        for device in dict.fromkeys(one.device for one in measured if one.kind == kind):
            of_device = [one for one in measured if (one.kind, one.device) == (kind, device)]
            dates = sorted({one.at[:10] for one in of_device})
            lines.append(f"{heading}, {device} ({' to '.join(dict.fromkeys((dates[0], dates[-1])))})")
            lines += [f"  {one.variant:<20} {_rate(one):>16}" for one in of_device]
    return lines


def devices_table(known: Mapping[str, Device]) -> list[list[str]]:
    """A row a device."""
    return [
        [
            device.id,
            format_bytes(device.memory_bytes) if device.memory_bytes else "host's",
            f"{device.bandwidth_bytes / 1e9:,.0f}",
            _compute(device),
            f"{device.watts:,.0f}" if device.watts else "-",
            _price(device.price) if device.price else "-",
        ]
        for device in known.values()
    ]


def describe_device(device: Device) -> list[str]:
    """Every figure with its source."""
    shared = ", shared by processor and accelerator" if device.is_unified else ""
    figures = {
        "memory": f"{format_bytes(device.memory_bytes)}{shared}" if device.memory_bytes else "the host's",
        "reported": format_bytes(device.reported_bytes) if device.reported_bytes else "",
        "bandwidth": f"{device.bandwidth_bytes / 1e9:,.0f} GB/s",
        "tflops": ", ".join(f"{dtype} {value:g}" for dtype, value in device.tflops.items()) + " (dense, 10^12/s)",
        "watts": f"{device.watts:,.0f}" if device.watts else "not published",
    }
    lines = [f"{device.name} ({device.id}), {device.year}"]
    for name, text in figures.items():
        if text:
            lines += _topic(name, text)
            lines += _topic("", f"source: {device.sources[name]}") if name in device.sources else []
    none = f"no public list price: {device.unpriced}" if device.unpriced else "none found"
    for name, price, missing in (("price", device.price, none), ("rent", device.rent, "none found")):
        text = f"{_price(price)} ({price.what}, {price.year}); source: {price.source}" if price else missing
        lines += _topic(name, text)
    lines += _topic("engines", ", ".join(f"{engine}: {how}" for engine, how in device.engines.items()))
    return lines + _topic("remark", device.remark)


def _memory(memory: HostMemory) -> str:
    parts = [f"{format_bytes(memory.total_bytes)}, {format_bytes(memory.available_bytes)} free"]
    if memory.limit_bytes is not None:
        parts.append(f"limited by a control group; the machine has {format_bytes(memory.machine_bytes)}")
    if memory.swap_used_bytes:
        parts.append(f"{format_bytes(memory.swap_used_bytes)} in swap")
    if len(memory.numa_nodes) > 1:
        parts.append(f"NUMA nodes of {', '.join(format_bytes(size) for size in memory.numa_nodes)}")
    return "; ".join(parts)


def _disk(disk: Disk) -> str:
    parts = [f"{disk.mount or disk.path} ({disk.kind or 'unknown file system'})"]
    parts.append(f"{format_bytes(disk.total_bytes)}, {format_bytes(disk.free_bytes)} free")
    if disk.is_network:
        parts.append("on another machine: models load slowly from there")
    if disk.is_rotating:
        parts.append("a spinning disk: models load slowly from it")
    return "; ".join(parts)


def _accelerator(one: Accelerator) -> list[str]:
    memory = "memory not known" if one.memory_bytes is None else format_bytes(one.memory_bytes)
    free = "" if one.free_bytes is None else f", {format_bytes(one.free_bytes)} free"
    shared = ", shared with the processor" if one.is_unified else ""
    parts = [
        f"{one.bandwidth_bytes / 1e9:,.0f} GB/s" if one.bandwidth_bytes else "",
        f"compute capability {one.compute_capability}" if one.compute_capability else "",
        f"driver {one.driver_version}" if one.driver_version else "",
        f"runtime up to {one.runtime_version}" if one.runtime_version else "",
        _power(one),
        f"{one.temperature_celsius:.0f} °C" if one.temperature_celsius is not None else "",
        {True: "ECC on", False: "ECC off", None: ""}[one.has_ecc],
        f"divided into {', '.join(one.mig_instances)}" if one.mig_instances else "",
        f"slowed down: {', '.join(one.throttle_reasons)}" if one.throttle_reasons else "",
        f"used by processes {', '.join(str(pid) for pid in sorted(one.processes))}" if one.processes else "",
        f"in the catalogue: {one.catalogue_id}" if one.catalogue_id else "not in the catalogue",
    ]
    lines = _topic(f"{one.vendor} {one.index}", f"{one.name}; {memory}{free}{shared}")
    return lines + _topic("", "; ".join(part for part in parts if part))


def _power(one: Accelerator) -> str:
    if one.power_limit_watts is None:
        return "" if one.power_draw_watts is None else f"{one.power_draw_watts:.0f} W"
    draw = "" if one.power_draw_watts is None else f"{one.power_draw_watts:.0f} of "
    return f"{draw}{one.power_limit_watts:.0f} W"


def _compute(device: Device) -> str:
    dtype = next((d for d in ("fp16", "bf16", "int8", "fp32", "fp8", "fp4") if d in device.tflops), "")
    value = f"{device.tflops[dtype]:,.4g}" if dtype else "-"
    return value if dtype in ("fp16", "") else f"{value} {dtype}"


def _price(price: Price) -> str:
    return f"{price.usd:,.2f} $/h" if price.what == "hour" else f"{price.usd:,.0f} $"


def _rate(one: Measurement) -> str:
    if one.kind == "matrix":
        return f"{one.value / 1e12:.3f} TFLOP/s" if one.value >= 1e12 else f"{one.value / 1e9:,.0f} GFLOP/s"
    return f"{one.value / 1e9:,.1f} GB/s"


def _topic(name: str, text: str) -> list[str]:
    lines: Iterable[str] = textwrap.wrap(text, _WIDTH - _NAME) or [""]
    return [f"{name if number == 0 else '':<{_NAME}}{line}" for number, line in enumerate(lines)]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
