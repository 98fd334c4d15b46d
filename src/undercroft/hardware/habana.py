"""Intel Gaudi accelerators, through ``hl-smi``, which comes with their driver."""

from __future__ import annotations

import csv

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.readings import as_bytes, as_number, as_text
from undercroft.hardware.vendor_tools import Found, run_tool

QUERY_FIELDS = (
    "index",
    "name",
    "uuid",
    "bus_id",
    "driver_version",
    "memory.total",
    "memory.free",
    "temperature.aip",
    "power.draw",
)


def detect() -> Found:
    """Gaudi accelerators; none where their tool is not installed."""
    answer = run_tool(["hl-smi", "-Q", ",".join(QUERY_FIELDS), "-f", "csv,noheader"])
    if not answer.is_there:
        return Found()
    found = parse_query(answer.text)
    problem = answer.problem or ("" if found else "hl-smi names no accelerator")
    return Found(tuple(found), (f"Gaudi: {problem}",) if problem else ())


def parse_query(text: str) -> list[Accelerator]:
    """Accelerators out of ``hl-smi -Q FIELDS -f csv,noheader``: one a line, figures with their unit. Never raises."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(QUERY_FIELDS):
            continue
        values = dict(zip(QUERY_FIELDS, row, strict=True))
        index, name = as_number(values["index"]), as_text(values["name"])
        if index is None or index < 0 or not name:
            continue
        facts = {"uuid": as_text(values["uuid"]), "pci": as_text(values["bus_id"]).lower()}
        found.append(
            Accelerator(
                vendor="habana",
                index=int(index),
                name=name,
                memory_bytes=as_bytes(values["memory.total"], unit="MiB"),
                free_bytes=as_bytes(values["memory.free"], unit="MiB"),
                power_draw_watts=as_number(values["power.draw"]),
                temperature_celsius=as_number(values["temperature.aip"]),
                driver_version=as_text(values["driver_version"]),
                facts={name: text for name, text in facts.items() if text},
            )
        )
    return found
