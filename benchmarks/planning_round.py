"""One round of ``benchmarks.planning``: a fresh interpreter ranks everything for one need and says how long it took.

    python -m benchmarks.planning_round NEED

Nothing is remembered from before: modules are imported, catalogues read and every memory of earlier results is empty.
"""

from __future__ import annotations

import json
import sys
import time

_BEGIN = (time.perf_counter(), time.process_time())

from undercroft.catalog.families import load_catalogue  # noqa: E402 -- importing is a part of what is measured
from undercroft.catalog.licences import load_licences  # noqa: E402
from undercroft.hardware.catalogue import load_devices  # noqa: E402
from undercroft.planning.needs import parse_need  # noqa: E402
from undercroft.planning.ranking import rank  # noqa: E402

_UNIT_STEPS = 2_000_000


def main() -> int:
    """Prints one line of JSON: seconds by the clock and of the processor, and what came out."""
    seconds: dict[str, float] = {}
    since = _note(seconds, "import", _BEGIN)
    catalogue, devices, licences = load_catalogue(), load_devices(), load_licences()
    since = _note(seconds, "load", since)
    found = rank(catalogue.models, list(devices.values()), licences, parse_need(sys.argv[1]))
    since = _note(seconds, "rank", since)
    total = 0
    for step in range(_UNIT_STEPS):
        total += step & 3
    _note(seconds, "unit", since)
    print(json.dumps({**seconds, "pairs": found.models * found.devices, "candidates": len(found.candidates)}))
    return 0


def _note(seconds: dict[str, float], name: str, since: tuple[float, float]) -> tuple[float, float]:
    now = (time.perf_counter(), time.process_time())
    seconds[f"{name}_seconds"], seconds[f"{name}_cpu_seconds"] = now[0] - since[0], now[1] - since[1]
    return now


if __name__ == "__main__":
    sys.exit(main())
