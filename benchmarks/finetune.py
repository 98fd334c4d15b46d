"""A thirteenth intent for the starter: LoRA beside full fine-tuning, and what is left of the other twelve.

    python -m benchmarks.finetune [--json] [--quick] [--home HOME]

Both learn the same 200 tickets, and are held to what the starter expects in its own answers to tickets of the twelve
intents. All are asked tickets of phrasings that nobody has learnt. HOME keeps the environment ``train`` and the models,
so that a run that was cut off goes on. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import undercroft
from benchmarks.product import COMMAND
from benchmarks.reporting import Report
from benchmarks.thirteenth import INTENT, INTENTS, write_conversations, write_questions, write_tasks
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.comparing import compare
from undercroft.optimize.evaluation.evaluating import common_context, evaluate_tasks
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import find_file
from undercroft.optimize.evaluation.tasks import TaskSet
from undercroft.optimize.training.adapters import read_pairs
from undercroft.optimize.training.closing import write_merged
from undercroft.optimize.training.opening import look_into
from undercroft.registry import models
from undercroft.storage.database import Database

TITLE = "finetune: a thirteenth intent for the starter"
STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
EXAMPLES = 200
_HOLD = "3"
_METHODS = {
    "lora": ("--rank", "3", "--alpha", "6", "--rate", "5e-3"),
    "full": ("--method", "full", "--rate", "5e-4"),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done.

    Args:
        name: In the names of the models, which a home keeps.
        rehearsed: Tickets that the starter answers itself; count.
        repeat: How often the new tickets are read while the rehearsed ones are read once; count.
        old: Tickets of the twelve intents that are asked; count.
        new: Of the thirteenth.
    """

    name: str
    rehearsed: int
    repeat: int
    old: int
    new: int


FULL = Size("whole", rehearsed=1440, repeat=2, old=1440, new=240)
QUICK = Size("quick", rehearsed=200, repeat=1, old=240, new=60)


def measure(home: Path, folder: Path, size: Size) -> Report:
    """Teaches twice, asks three times.

    Args:
        home: Where models are made.
        folder: For what is in between.
        size: How much.
    """
    report = Report(TITLE)
    write_conversations(folder / "loyalty.jsonl", EXAMPLES, 1)
    write_questions(folder / "questions.jsonl", size.rehearsed, 2)
    old, new = folder / "old.jsonl", folder / "new.jsonl"
    sets = write_tasks(old, INTENTS, size.old, 3), write_tasks(new, (INTENT,), size.new, 4)
    made = {method: _taught(home, folder, method, size) for method in _METHODS}
    before = _asked(STARTER, sets)
    after = {"lora": _asked(_merged(home, folder, made["lora"]), sets), "full": _asked(_file(home, made["full"]), sets)}
    _add(report, "starter", before, before, None)
    scores = {}
    for method, runs in after.items():
        _add(report, method, runs, before, made[method])
        scores[method] = (12 * _score(runs[0]) + _score(runs[1])) / 13
        lost = 100 * (_score(before[0]) - _score(runs[0]))
        report.at_most(f"{method}_points_lost_on_12", lost, 1.0)
    report.ratios["lora_score_of_full"] = scores["lora"] / scores["full"]
    report.at_least("lora_score_of_full", scores["lora"] / scores["full"], 0.98)
    # Who forgets nothing because nothing is learnt has not been taught.
    report.at_least("lora_new_intent", _score(after["lora"][1]), 0.5)
    report.at_most("lora_learnt_ratio", _found(made["lora"])["learnt_ratio"], 0.02)
    return report


def _taught(home: Path, folder: Path, method: str, size: Size) -> dict[str, Any]:
    """What the registry says of a taught model, which is made where it is not there."""
    known = {one["name"] for one in _command(home, "model", "list")}
    if "pilot" not in known:
        _command(home, "model", "pull", str(STARTER), "--name", "pilot")
    name = f"pilot13-{method}-{size.name}"
    if name not in known:
        data = ("--data", str(folder / "loyalty.jsonl"), "--epochs", "1", "--batch-tokens", "1024")
        rehearsed = ("--rehearse", str(size.rehearsed), "--rehearse-from", str(folder / "questions.jsonl"))
        held = ("--repeat", str(size.repeat), "--hold", _HOLD, "--validation-share", "0.05")
        words = (*data, *rehearsed, *held, *_METHODS[method])
        _command(home, "optimize", "finetune", "pilot", "--name", name, *words)
    found: dict[str, Any] = _command(home, "model", "show", name)
    return found


def _command(home: Path, *words: str) -> Any:
    environment = {**os.environ, "UNDERCROFT_HOME": str(home)}
    done = subprocess.run([COMMAND, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"undercroft {' '.join(words[:3])}: {done.stderr}")
    return json.loads(done.stdout)


def _found(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["lineage"]["steps"][0]["found"]["training"]
    return found


def _merged(home: Path, folder: Path, model: dict[str, Any]) -> Path:
    """The starter with the adapter in its weights, kept in F16 as the fully trained one is."""
    peft = home / "jobs" / model["lineage"]["job"] / "report" / "peft"
    path = folder / "merged.gguf"
    write_merged(STARTER, read_pairs(peft, look_into(STARTER).architecture), path, kind="F16")
    return path


def _file(home: Path, model: dict[str, Any]) -> Path:
    opened = Home(home)
    database = Database(opened.database_file)
    try:
        with database.read() as connection:
            return models.model_file(opened, connection, models.get(connection, model["name"]))
    finally:
        database.close()


def _asked(path: Path, sets: tuple[TaskSet, TaskSet]) -> tuple[Run, Run]:
    found = find_file(path)
    setup = Setup(context_tokens=common_context([found], 0, 0), threads=len(os.sched_getaffinity(0)))
    old, new = (evaluate_tasks(found, tasks, setup, EngineSettings(), lambda done, total, note: None) for tasks in sets)
    return old, new


def _score(run: Run) -> float:
    return figures_of(run).whole[Measure.SCORE].value


def _add(
    report: Report, name: str, runs: tuple[Run, Run], before: tuple[Run, Run], model: dict[str, Any] | None
) -> None:
    old = figures_of(runs[0]).whole[Measure.SCORE]
    new = figures_of(runs[1]).whole[Measure.SCORE]
    report.figures[f"{name}_12_intents"] = old.value
    report.figures[f"{name}_new_intent"] = new.value
    row = {
        "model": name,
        "old": old.value,
        "old_lower": old.lower,
        "old_upper": old.upper,
        "new": new.value,
        "new_lower": new.lower,
        "new_upper": new.upper,
    }
    if model is not None:
        found, moved = _found(model), compare(runs[0], before[0]).whole[Measure.SCORE]
        report.figures[f"{name}_learnt_ratio"] = found["learnt_ratio"]
        report.figures[f"{name}_bytes"] = model["size_bytes"]
        row |= {
            "bytes": model["size_bytes"],
            "learnt_values": found["learnt_values"],
            "steps": found["steps"],
            "points_lost_on_12": -100 * moved.difference.value,
            "points_lost_on_12_lower": -100 * moved.difference.upper,
            "points_lost_on_12_upper": -100 * moved.difference.lower,
            "verdict_on_12": moved.verdict.value,
            "p_value_on_12": moved.p_value,
        }
    report.rows.append(row)


def main() -> None:
    """Reads the command line, measures, reports."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercroft-finetune-", dir=os.environ.get("TMPDIR")) as folder:
        home = given.home or Path(folder) / "home"
        installed = [one["name"] for one in _command(home, "engine", "list") if one["state"] == "installed"]
        if "train" not in installed:
            _command(home, "engine", "install", "train")
        report = measure(home.absolute(), Path(folder), QUICK if given.quick else FULL)
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
