"""The starter with a third of its blocks gone: what a teacher gives back, beside the same training without one.

    python -m benchmarks.distill [--json] [--quick] [--home HOME]

Three students learn from the same tickets, by the same steps: from the right answers alone, from what the whole starter
expects at each token, and from what it answers. A fourth is the starter with two of every four weights zero. All are
asked tickets of phrasings that nobody has learnt. HOME keeps the environment ``train`` and the models, so that a run
that was cut off goes on. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.starter.answers import answer
from tools.starter.grammar import INTENTS, load_all
from tools.starter.tickets import TicketSource

from benchmarks.product import COMMAND
from benchmarks.quality import STARTER, write_tickets
from benchmarks.reporting import Report
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.comparing import compare
from undercroft.optimize.evaluation.evaluating import common_context, evaluate_tasks
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import find_file
from undercroft.optimize.evaluation.tasks import TaskSet
from undercroft.registry import models
from undercroft.storage.database import Database

TITLE = "distill: the starter with a third of its blocks gone, taught with and without a teacher"
_LEARNT, _QUICK_LEARNT = 1440, 144
_ASKED, _QUICK_ASKED = 720, 72
_SEED = 23
_DEPTH = 2
_SCHEDULE = ("--rate", "3e-4", "--epochs", "2")
_WAYS = {"none": ("--share", "0"), "logits": (), "answers": ("--method", "answers")}


def write_data(folder: Path, count: int) -> None:
    """Tickets of phrasings that the starter learnt: ``chats.jsonl`` and, as its template has them, ``texts.jsonl``.

    Args:
        folder: For both.
        count: Tickets, spread over languages and intents.
    """
    grammars, chance = load_all(), random.Random(_SEED)
    source = TicketSource(grammars, split="train")
    cells = [(code, intent) for code in grammars for intent in INTENTS]
    chance.shuffle(cells)
    chats, texts = [], []
    for number in range(count):
        ticket = source.ticket(chance, *cells[number % len(cells)])
        said = answer(ticket, grammars)
        turns = [{"role": "user", "content": ticket.text}, {"role": "assistant", "content": said}]
        chats.append(json.dumps({"messages": turns}, ensure_ascii=False))
        texts.append(json.dumps({"text": f"<|user|>{ticket.text}<|assistant|>{said}</s>"}, ensure_ascii=False))
    for name, lines in (("chats.jsonl", chats), ("texts.jsonl", texts)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(home: Path, folder: Path, learnt: int, asked: int) -> Report:
    """Prunes, teaches, asks.

    Args:
        home: Where models are made, their names with ``learnt``: a home may keep those of both sizes.
        folder: With the data; for what is in between.
        learnt: Tickets that all learn from; count.
        asked: Tickets that all are asked; count.
    """
    report = Report(TITLE)
    tasks = write_tickets(folder / "tickets.jsonl", asked)
    chats, texts = str(folder / "chats.jsonl"), str(folder / "texts.jsonl")
    pruned = f"pilot-pruned-{learnt}"
    prune = ("optimize", "prune", "pilot", "--texts", texts)
    made = {"pruned": _made(home, pruned, *prune, "--depth", str(_DEPTH))}
    for way, options in _WAYS.items():
        taught = ("optimize", "distill", pruned, "--teacher", "pilot", "--data", chats, *_SCHEDULE, *options)
        made[way] = _made(home, f"pilot-{way}-{learnt}", *taught)
    repair = ("--sparsity", "2:4", "--allow-requantize", "--repair", "--repair-data", chats, *_SCHEDULE)
    made["sparse"] = _made(home, f"pilot-sparse-{learnt}", *prune, *repair)
    runs = {"starter": _asked(STARTER, tasks)}
    runs |= {name: _asked(_file(home, model["name"]), tasks) for name, model in made.items()}
    for name, run in runs.items():
        _add(report, name, run, runs["none"], made.get(name))
    score = {name: _score(run) for name, run in runs.items()}
    report.figures["logits_beside_none_verdict"] = (
        compare(runs["logits"], runs["none"]).whole[Measure.SCORE].verdict.value
    )
    report.at_least("repaired_points_won", 100 * (score["logits"] - score["pruned"]), 1.0)
    report.at_least("logits_points_over_none", 100 * (score["logits"] - score["none"]), 0.0)
    return report


def _made(home: Path, name: str, *words: str) -> dict[str, Any]:
    """What the registry says of a model, which is made where it is not there."""
    known = {one["name"] for one in _command(home, "model", "list")}
    if "pilot" not in known:
        _command(home, "model", "pull", str(STARTER), "--name", "pilot")
    if name not in known:
        _command(home, *words, "--name", name)
    found: dict[str, Any] = _command(home, "model", "show", name)
    return found


def _command(home: Path, *words: str) -> Any:
    environment = {**os.environ, "UNDERCROFT_HOME": str(home)}
    done = subprocess.run([COMMAND, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"undercroft {' '.join(words[:3])}: {done.stderr}")
    return json.loads(done.stdout)


def _file(home: Path, name: str) -> Path:
    opened = Home(home)
    database = Database(opened.database_file)
    try:
        with database.read() as connection:
            return models.model_file(opened, connection, models.get(connection, name))
    finally:
        database.close()


def _asked(path: Path, tasks: TaskSet) -> Run:
    found = find_file(path)
    setup = Setup(context_tokens=common_context([found], 0, 0), threads=len(os.sched_getaffinity(0)))
    return evaluate_tasks(found, tasks, setup, EngineSettings(), lambda done, total, note: None)


def _score(run: Run) -> float:
    return figures_of(run).whole[Measure.SCORE].value


def _add(report: Report, name: str, run: Run, none: Run, model: dict[str, Any] | None) -> None:
    score = figures_of(run).whole[Measure.SCORE]
    beside = compare(run, none).whole[Measure.SCORE]
    report.figures[f"{name}_score"] = score.value
    steps = model["lineage"]["steps"] if model is not None else []
    found = {key: value for step in steps for key, value in step.get("found", {}).items()}
    quality, speed, taught = (found.get(key, {}) for key in ("quality", "speed", "distillation"))
    report.rows.append(
        {
            "model": name,
            "bytes": run.subject.size_bytes,
            "score": score.value,
            "score_lower": score.lower,
            "score_upper": score.upper,
            "points_over_none": 100 * beside.difference.value,
            "p_value": beside.p_value,
            "verdict": beside.verdict.value,
            "divergence_pruned_nats": quality.get("divergence_nats"),
            "written_ratio": speed.get("written_ratio"),
            "divergence_before_nats": taught.get("divergence_before_nats"),
            "divergence_after_nats": taught.get("divergence_after_nats"),
        }
    )


def main() -> None:
    """Reads the command line, measures, reports."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer tickets to learn from, and to be asked")
    parser.add_argument("--home", type=Path, help="keeps the environment and the models; else a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercroft-distill-") as folder:
        home = (given.home or Path(folder) / "home").absolute()
        if "train" not in [one["name"] for one in _command(home, "engine", "list") if one["state"] == "installed"]:
            _command(home, "engine", "install", "train")
        learnt, asked = (_QUICK_LEARNT, _QUICK_ASKED) if given.quick else (_LEARNT, _ASKED)
        write_data(Path(folder), learnt)
        report = measure(home, Path(folder), learnt, asked)
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
