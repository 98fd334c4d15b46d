"""Apple's chips, on macOS: ``system_profiler`` and ``sysctl``."""

from __future__ import annotations

import platform
import re
from typing import Any

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.readings import as_json, as_text
from undercroft.hardware.vendor_tools import Found, run_tool


def detect() -> Found:
    """The GPU of a Mac with Apple's own chip; none on another system."""
    if platform.system() != "Darwin":
        return Found()
    answer = run_tool(["system_profiler", "-json", "SPDisplaysDataType", "SPHardwareDataType"])
    wired = run_tool(["sysctl", "-n", "iogpu.wired_limit_mb"])
    found = parse_profile(answer.text, wired.text)
    if found is not None:
        return Found((found,))
    return Found(notes=(f"Apple: {answer.problem or 'system_profiler names no GPU of Apple'}",))


def parse_profile(profile: str, wired_limit: str = "") -> Accelerator | None:
    """The GPU out of ``system_profiler -json SPDisplaysDataType SPHardwareDataType``; None where none is Apple's.

    Args:
        profile: What was printed.
        wired_limit: ``sysctl -n iogpu.wired_limit_mb``: most megabytes that the GPU may hold; 0 is the system's own.
    """
    data = as_json(profile)
    graphics = [card for card in _list(data, "SPDisplaysDataType") if "apple" in as_text(_name(card)).lower()]
    if not graphics:
        return None
    hardware = next(iter(_list(data, "SPHardwareDataType")), {})
    memory = _memory(as_text(hardware.get("physical_memory")))
    limit = int(wired_limit) if wired_limit.strip().isascii() and wired_limit.strip().isdigit() else 0
    facts = {
        "gpu cores": as_text(graphics[0].get("sppci_cores")),
        "computer": as_text(hardware.get("machine_model")),
        "metal": as_text(graphics[0].get("spdisplays_mtlgpufamilysupport")),
        "gpu memory limit": f"{limit} MiB" if limit else "",
    }
    return Accelerator(
        vendor="apple",
        index=0,
        name=as_text(hardware.get("chip_type")) or as_text(_name(graphics[0])),
        memory_bytes=memory,
        is_unified=True,
        facts={name: text for name, text in facts.items() if text},
    )


def _name(card: dict[str, Any]) -> object:
    return card.get("sppci_model") or card.get("_name")


def _memory(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,6}) (GB|TB)", text)
    return int(found[1]) * (1024**3 if found[2] == "GB" else 1024**4) if found else None


def _list(data: Any, key: str) -> list[dict[str, Any]]:
    listed = data.get(key) if isinstance(data, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
