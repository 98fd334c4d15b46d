"""What ``nvidia-smi`` prints, as CSV and as XML. Pure; nothing raises, what makes no sense is not known."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.readings import as_bytes, as_number, as_switch, as_text

QUERY_FIELDS = (
    "index",
    "name",
    "uuid",
    "memory.total",
    "memory.free",
    "compute_cap",
    "power.limit",
    "power.draw",
    "temperature.gpu",
    "ecc.mode.current",
    "mig.mode.current",
    "driver_version",
)
_REFUSED = re.compile(r'Field "([^"]+)" is not a valid field to query')
_UNIFIED = ("gb10", "orin", "thor", "xavier", "tegra")


def refused_field(problem: str) -> str | None:
    """The field that this version of the tool does not know; None where that was not the problem."""
    found = _REFUSED.search(problem)
    return found[1] if found else None


def is_unified(name: str) -> bool:
    """Whether a GPU of that name computes in the host's memory."""
    return any(word in name.lower() for word in _UNIFIED)


def parse_query(text: str, fields: Sequence[str] = QUERY_FIELDS) -> list[Accelerator]:
    """GPUs out of ``--query-gpu=FIELDS --format=csv,noheader,nounits``: one a line.

    Args:
        text: What was printed.
        fields: Those that were asked for, in order; ``index`` and ``name`` among them.
    """
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(fields):
            continue
        values = dict(zip(fields, row, strict=True))
        index, name = as_number(values["index"]), as_text(values["name"])
        if index is None or index < 0 or not name:
            continue
        found.append(
            Accelerator(
                vendor="nvidia",
                index=int(index),
                name=name,
                memory_bytes=as_bytes(values.get("memory.total"), unit="MiB"),
                free_bytes=as_bytes(values.get("memory.free"), unit="MiB"),
                is_unified=is_unified(name),
                compute_capability=_version(values.get("compute_cap")),
                power_limit_watts=as_number(values.get("power.limit")),
                power_draw_watts=as_number(values.get("power.draw")),
                temperature_celsius=as_number(values.get("temperature.gpu")),
                has_ecc=as_switch(values.get("ecc.mode.current")),
                driver_version=_version(values.get("driver_version")),
                facts=_facts({"uuid": values.get("uuid"), "mig": values.get("mig.mode.current")}),
            )
        )
    return found


def parse_xml(text: str) -> list[Accelerator]:
    """GPUs out of ``nvidia-smi -q -x``; no compute capability stands there."""
    try:
        log = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError, RecursionError):
        return []
    driver, runtime = _version(log.findtext("driver_version")), _version(log.findtext("cuda_version"))
    return [
        replace(_gpu(gpu, index), driver_version=driver, runtime_version=runtime)
        for index, gpu in enumerate(log.findall("gpu"))
        if as_text(gpu.findtext("product_name"))
    ]


def _gpu(gpu: ElementTree.Element, position: int) -> Accelerator:
    name = as_text(gpu.findtext("product_name"))
    power = _first(gpu, "gpu_power_readings", "power_readings")
    return Accelerator(
        vendor="nvidia",
        index=position,
        name=name,
        memory_bytes=as_bytes(gpu.findtext("fb_memory_usage/total")),
        free_bytes=as_bytes(gpu.findtext("fb_memory_usage/free")),
        is_unified=is_unified(name),
        power_limit_watts=_any_number(power, "current_power_limit", "power_limit", "enforced_power_limit"),
        power_draw_watts=_any_number(power, "instant_power_draw", "average_power_draw", "power_draw"),
        temperature_celsius=as_number(gpu.findtext("temperature/gpu_temp")),
        has_ecc=as_switch(gpu.findtext("ecc_mode/current_ecc")),
        mig_instances=tuple(_mig_name(device) for device in gpu.findall("mig_devices/mig_device")),
        throttle_reasons=_throttle_reasons(gpu),
        processes=_processes(gpu),
        facts=_facts(
            {
                "uuid": gpu.findtext("uuid"),
                "architecture": gpu.findtext("product_architecture"),
                "mig": gpu.findtext("mig_mode/current_mig"),
                "pcie generation": gpu.findtext("pci/pci_gpu_link_info/pcie_gen/max_link_gen"),
                "pcie width": gpu.findtext("pci/pci_gpu_link_info/link_widths/max_link_width"),
                "persistence": gpu.findtext("persistence_mode"),
                "ecc uncorrected": _uncorrected_errors(gpu),
                "row remapping": _row_remapping(gpu),
            }
        ),
    )


def merge(first: Sequence[Accelerator], second: Sequence[Accelerator]) -> list[Accelerator]:
    """The same GPUs from two looks, paired by UUID, else by index: what the first does not know comes from the second.

    GPUs that only one look knows are kept.
    """
    rest = list(second)
    merged = []
    for one in first:
        other = next((o for o in rest if _is_same(one, o)), None)
        if other is None:
            merged.append(one)
            continue
        rest.remove(other)
        merged.append(_completed(one, other))
    return merged + rest


def _is_same(one: Accelerator, other: Accelerator) -> bool:
    uuids = one.facts.get("uuid"), other.facts.get("uuid")
    return uuids[0] == uuids[1] if all(uuids) else one.index == other.index


def _completed(one: Accelerator, other: Accelerator) -> Accelerator:
    missing = {
        name: getattr(other, name)
        for name in Accelerator.__dataclass_fields__
        if getattr(one, name) in (None, "", ()) or getattr(one, name) == {}
    }
    return replace(one, **{**missing, "facts": {**other.facts, **one.facts}})


def _throttle_reasons(gpu: ElementTree.Element) -> tuple[str, ...]:
    """What lowers the clock now, ``sw power cap``; an idle clock and one that was set by hand are no throttling."""
    reasons = _first(gpu, "clocks_event_reasons", "clocks_throttle_reasons")
    found = []
    for reason in reasons if reasons is not None else ():
        name = re.sub(r"^clocks_(event|throttle)_reasons?_", "", reason.tag).replace("_", " ")
        if as_switch(reason.text) and name not in ("gpu idle", "applications clocks setting", "display clocks setting"):
            found.append(name)
    return tuple(found)


def _uncorrected_errors(gpu: ElementTree.Element) -> str | None:
    """Memory errors since the driver started that could not be corrected; None where the GPU does not count them."""
    counters = gpu.find("ecc_errors/volatile")
    texts = [c.text for c in counters if "uncorrectable" in c.tag] if counters is not None else []
    texts.append(gpu.findtext("ecc_errors/volatile/double_bit/total"))  # before Ampere
    counts = [count for text in texts if (count := as_number(text)) is not None]
    return str(int(sum(counts))) if counts else None


def _row_remapping(gpu: ElementTree.Element) -> str | None:
    """``failed``: a bad row of memory could not be replaced; ``pending``: it will be at the next reset."""
    for name, state in (("remapped_row_failure", "failed"), ("remapped_row_pending", "pending")):
        if as_text(gpu.findtext(f"remapped_rows/{name}")).lower() == "yes":
            return state
    return None


def _processes(gpu: ElementTree.Element) -> dict[int, int]:
    found: dict[int, int] = {}
    for process in gpu.findall("processes/process_info"):
        pid = as_number(process.findtext("pid"))
        if pid is not None and pid > 0:
            found[int(pid)] = found.get(int(pid), 0) + (as_bytes(process.findtext("used_memory")) or 0)
    return found


def _mig_name(device: ElementTree.Element) -> str:
    index = as_text(device.findtext("index")) or "?"
    total = as_bytes(device.findtext("fb_memory_usage/total"))
    return f"{index}: {total / 1024**3:.1f} GiB" if total else index


def _first(element: ElementTree.Element, *names: str) -> ElementTree.Element | None:
    return next((found for name in names if (found := element.find(name)) is not None), None)


def _any_number(element: ElementTree.Element | None, *names: str) -> float | None:
    texts = (element.findtext(name) for name in names) if element is not None else ()
    return next((number for text in texts if (number := as_number(text)) is not None), None)


def _version(value: object) -> str:
    text = as_text(value)
    return text if re.fullmatch(r"\d+(\.\d+)*", text) else ""


def _facts(values: dict[str, str | None]) -> dict[str, str]:
    return {name: text for name, value in values.items() if (text := as_text(value))}
