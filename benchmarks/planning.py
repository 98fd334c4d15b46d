"""How long it takes to rank every model of the catalogue on every device for a need.

    python -m benchmarks.planning [--json] [--quick]

Each round is an interpreter of its own, so nothing is remembered: it imports, reads the catalogues and ranks. Beside it
stands a fixed loop of plain Python in the same process. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.processes import ROOT, MissingError
from benchmarks.reporting import Report, arguments, divided, median

TITLE = "planning: every model of the catalogue on every device, for one need"

NEEDS = {
    "issue": "users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD",
    "open": "users=1",
    "busy": "users=20,tps=15,parameters=any",
    "long": "users=200,tps=10,context=16k,licence=research,parameters=any",
    "embed": "task=embed,users=5",
}
_ROUNDS, _QUICK_ROUNDS = 15, 5
_ROUND_SECONDS = 120.0


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    report = Report(TITLE)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in NEEDS}
    try:
        for _ in range(_QUICK_ROUNDS if given.quick else _ROUNDS):
            for name, need in NEEDS.items():
                rounds[name].append(_round(need))
    except (MissingError, subprocess.SubprocessError) as error:
        report.missing("rounds", str(error))
    for name, own in rounds.items():
        _report_need(report, name, own)
    every = [one for own in rounds.values() for one in own]
    for part in ("import_cpu_seconds", "load_cpu_seconds", "import_seconds", "load_seconds"):
        report.figures[part] = median([one[part] for one in every])
    report.figures["pairs"] = every[0]["pairs"] if every else None
    report.peers["2 million steps of a loop"] = {"cpu_seconds": median([one["unit_cpu_seconds"] for one in every])}
    for name in NEEDS:
        for figure in (f"{name}_cpu_seconds", f"{name}_seconds"):
            value = report.figures[figure]
            report.at_most(figure, None if isinstance(value, str) else value, 1.0)
    return report.finish(as_json=given.json)


def _round(need: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.planning_round", need]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_ROUND_SECONDS)
    if done.returncode:
        raise MissingError(f"a round ended: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _report_need(report: Report, name: str, rounds: list[dict[str, Any]]) -> None:
    """Reading the catalogues and ranking, together; importing stands apart."""
    report.figures[f"{name}_seconds"] = median([one["load_seconds"] + one["rank_seconds"] for one in rounds])
    cpu = median([one["load_cpu_seconds"] + one["rank_cpu_seconds"] for one in rounds])
    report.figures[f"{name}_cpu_seconds"] = cpu
    report.figures[f"{name}_candidates"] = rounds[0]["candidates"] if rounds else None
    report.ratios[f"{name}_cpu_to_loop"] = median(
        [divided(one["load_cpu_seconds"] + one["rank_cpu_seconds"], one["unit_cpu_seconds"]) or 0.0 for one in rounds]
    )


if __name__ == "__main__":
    sys.exit(main())
