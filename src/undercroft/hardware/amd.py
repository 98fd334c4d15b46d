"""AMD GPUs: through ``amd-smi``, else the older ``rocm-smi``; both come with ROCm."""

from __future__ import annotations

from typing import Any

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.readings import as_bytes, as_json, as_number, as_text, part
from undercroft.hardware.vendor_tools import Found, run_tool

_ROCM_OPTIONS = ("--showproductname", "--showmeminfo", "vram", "--showpower", "--showmaxpower", "--showtemp")


def detect() -> Found:
    """AMD's GPUs; none where neither tool is installed."""
    static = run_tool(["amd-smi", "static", "--json"])
    if static.is_there and not static.problem:
        metric = run_tool(["amd-smi", "metric", "--json"])
        found = parse_amd_smi(static.text, metric.text)
        if found:
            return Found(tuple(found), (f"AMD: {metric.problem}",) if metric.problem else ())
    older = run_tool(["rocm-smi", *_ROCM_OPTIONS, "--showbus", "--showdriverversion", "--json"])
    found = parse_rocm_smi(older.text)
    if found or not (static.is_there or older.is_there):
        return Found(tuple(found))
    problem = static.problem or older.problem or "amd-smi and rocm-smi name no GPU"
    return Found(notes=(f"AMD: {problem}",))


def parse_amd_smi(static: str, metric: str = "") -> list[Accelerator]:
    """GPUs out of ``amd-smi static --json`` and ``amd-smi metric --json``. Never raises.

    Releases before 7 print a list, later ones an object with the list in ``gpu_data``.
    """
    metrics = {_index(entry): entry for entry in _entries(as_json(metric))}
    return [_of_amd_smi(entry, metrics.get(_index(entry), {})) for entry in _entries(as_json(static)) if _name(entry)]


def _of_amd_smi(static: dict[str, Any], metric: dict[str, Any]) -> Accelerator:
    memory = as_bytes(part(static, "vram", "size"), unit="MB")
    used = as_bytes(part(metric, "mem_usage", "used_vram"), unit="MB")
    free = as_bytes(part(metric, "mem_usage", "free_vram"), unit="MB")
    if free is None and memory is not None and used is not None:
        free = max(0, memory - used)
    return Accelerator(
        vendor="amd",
        index=_index(static),
        name=_name(static),
        memory_bytes=memory,
        free_bytes=free,
        compute_capability=as_text(part(static, "asic", "target_graphics_version")),
        power_limit_watts=_power_limit(static),
        power_draw_watts=_any(metric, ("power", "socket_power"), ("power", "average_socket_power")),
        temperature_celsius=_any(metric, ("temperature", "hotspot"), ("temperature", "edge")),
        has_ecc=_has_ecc(static),
        mig_instances=_partitions(static),
        driver_version=as_text(part(static, "driver", "version")),
        facts=_facts(
            {
                "uuid": part(static, "asic", "asic_serial"),
                "pci": part(static, "bus", "bdf"),
                "memory type": part(static, "vram", "type"),
            }
        ),
        bandwidth_bytes=_bandwidth(static),
    )


def parse_rocm_smi(text: str) -> list[Accelerator]:
    """GPUs out of ``rocm-smi … --json``: an object with ``card0``, ``card1`` … and ``system``. Never raises."""
    data = as_json(text)
    if not isinstance(data, dict):
        return []
    driver = as_text(part(data, "system", "Driver version"))
    found = []
    for key, card in data.items():
        number = key.removeprefix("card")
        if not (key.startswith("card") and number.isascii() and number.isdigit() and isinstance(card, dict)):
            continue
        memory, used = as_bytes(card.get("VRAM Total Memory (B)")), as_bytes(card.get("VRAM Total Used Memory (B)"))
        found.append(
            Accelerator(
                vendor="amd",
                index=int(number[:4]),
                name=_rocm_name(card),
                memory_bytes=memory,
                free_bytes=max(0, memory - used) if memory is not None and used is not None else None,
                compute_capability=as_text(card.get("GFX Version")),
                power_limit_watts=as_number(card.get("Max Graphics Package Power (W)")),
                power_draw_watts=_first_number(
                    card, "Socket Graphics Package Power (W)", "Average Graphics Package Power (W)"
                ),
                temperature_celsius=_first_number(
                    card, "Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"
                ),
                driver_version=driver,
                facts=_facts({"pci": card.get("PCI Bus")}),
            )
        )
    return sorted(found, key=lambda accelerator: accelerator.index)


def _rocm_name(card: dict[str, Any]) -> str:
    names = (as_text(card.get(key)) for key in ("Card Series", "Card series", "Device Name", "Card Model"))
    return next((name for name in names if name and not name.startswith("0x")), "AMD GPU")


def _entries(data: Any) -> list[dict[str, Any]]:
    listed = data if isinstance(data, list) else part(data, "gpu_data")
    entries = listed if isinstance(listed, list) else [data]
    return [entry for entry in entries if isinstance(entry, dict) and _index(entry) >= 0]


def _index(entry: dict[str, Any]) -> int:
    number = as_number(entry.get("gpu"))
    return int(number) if number is not None else -1


def _name(entry: dict[str, Any]) -> str:
    return as_text(part(entry, "asic", "market_name")) or as_text(part(entry, "board", "product_name"))


def _power_limit(static: dict[str, Any]) -> float | None:
    return _any(static, ("limit", "max_power"), ("limit", "socket_power"), ("limit", "ppt0", "socket_power_limit"))


def _has_ecc(static: dict[str, Any]) -> bool | None:
    blocks = part(static, "ras", "ecc_block_state")
    state = blocks.get("UMC") if isinstance(blocks, dict) else None
    return {"ENABLED": True, "DISABLED": False}.get(state) if isinstance(state, str) else None


def _partitions(static: dict[str, Any]) -> tuple[str, ...]:
    """A GPU that is divided says how: ``CPX``; ``SPX`` is a whole one."""
    mode = as_text(part(static, "partition", "compute_partition"))
    return (mode,) if mode and mode != "SPX" else ()


def _bandwidth(static: dict[str, Any]) -> float | None:
    value = part(static, "vram", "max_bandwidth")
    number, unit = as_number(value), as_text(part(value, "unit"))
    return number * 1e9 if number and number > 0 and unit in ("", "GB/s") else None


def _any(entry: dict[str, Any], *paths: tuple[str, ...]) -> float | None:
    return next((number for path in paths if (number := as_number(part(entry, *path))) is not None), None)


def _first_number(card: dict[str, Any], *keys: str) -> float | None:
    return next(
        (n for key in keys for name in (key, f"Current {key}") if (n := as_number(card.get(name))) is not None), None
    )


def _facts(values: dict[str, Any]) -> dict[str, str]:
    facts = {name: as_text(value) for name, value in values.items()}
    return {name: text.lower() if name == "pci" else text for name, text in facts.items() if text}
