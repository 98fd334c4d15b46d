"""The starter model and all-MiniLM-L6-v2 in every form: size, quality with its interval, speed, memory.

    python -m benchmarks.quality [--json] [--quick]

Each form of the starter is asked the same tickets, of phrasings that it was not trained on, and compared with the
starter by a paired test; each form of MiniLM embeds the same sentences, and is compared with the published model. The
environments for MiniLM come from the package index at the first run (some minutes, 5 GB). See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.starter.answers import answer
from tools.starter.grammar import INTENTS, load_all
from tools.starter.tickets import TicketSource

import undercroft
from benchmarks.processes import MissingError
from benchmarks.quality_encoder import measure_encoder
from benchmarks.reporting import Report, Value, arguments
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.comparing import compare
from undercroft.optimize.evaluation.evaluating import common_context, evaluate_tasks
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.paired import Verdict
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import find_file
from undercroft.optimize.evaluation.tasks import TaskSet, load_tasks
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES

TITLE = "quality: the starter and MiniLM in every form, beside themselves"

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
FORMS = ("Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K")
_TICKETS, _QUICK_TICKETS = 720, 144
_SENTENCES, _QUICK_SENTENCES = 512, 128
_SEED = 5
_ANSWER_TOKENS = 96


def write_tickets(path: Path, count: int) -> TaskSet:
    """Tickets of phrasings that were held out of training, spread over languages and intents, with their answers."""
    grammars, chance = load_all(), random.Random(_SEED)
    source = TicketSource(grammars, split="held_out", id_formats="unseen")
    cells = [(code, intent) for code in grammars for intent in INTENTS]
    lines = []
    for number in range(count):
        ticket = source.ticket(chance, *cells[number % len(cells)])
        task = {"prompt": ticket.text, "answer": json.loads(answer(ticket, grammars)), "language": ticket.language}
        lines.append(json.dumps({**task, "max_tokens": _ANSWER_TOKENS}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_tasks(path)


def measure_forms(folder: Path, count: int) -> Report:
    """Asks the starter twice, then each form that is made of it."""
    report = Report(TITLE)
    begun = time.perf_counter()
    tasks = write_tickets(folder / "tickets.jsonl", count)
    parent = _asked(STARTER, tasks)
    for form in ("itself", *FORMS):
        path = STARTER if form == "itself" else _made(folder, form)
        _add(report, form, _asked(path, tasks), parent)
    worse_than_itself = float(report.figures["itself_verdict"] == Verdict.WORSE.value)
    minutes = (time.perf_counter() - begun) / 60
    report.figures |= {"tickets": count, "minutes": minutes}
    report.at_most("worse_than_itself", worse_than_itself, 0)
    report.at_most("minutes", minutes, 15)
    return report


def _made(folder: Path, form: str) -> Path:
    path = folder / f"{form.lower()}.gguf"
    threads = len(os.sched_getaffinity(0))
    quantize_file(
        STARTER,
        path,
        SCHEMES[form],
        importance=None,
        threads=threads,
        report=lambda done, total: None,
        allow_requantize=True,
    )
    return path


def _asked(path: Path, tasks: TaskSet) -> Run:
    found = find_file(path)
    setup = Setup(context_tokens=common_context([found], 0, 0), threads=len(os.sched_getaffinity(0)))
    return evaluate_tasks(found, tasks, setup, EngineSettings(), lambda done, total, note: None)


def _add(report: Report, form: str, run: Run, parent: Run) -> None:
    """One form's row, and what matters of it among the figures."""
    whole, comparison = figures_of(run).whole, compare(run, parent).whole[Measure.SCORE]
    score = whole[Measure.SCORE]
    name = form.lower()
    report.figures[f"{name}_bytes"] = run.subject.size_bytes
    report.figures[f"{name}_score"] = score.value
    report.figures[f"{name}_verdict"] = comparison.verdict.value
    report.rows.append(
        {
            "form": form,
            "bytes": run.subject.size_bytes,
            "score": score.value,
            "score_lower": score.lower,
            "score_upper": score.upper,
            "points_lost": 0.0 - 100 * comparison.difference.value,
            "points_lost_lower": -100 * comparison.difference.upper,
            "points_lost_upper": -100 * comparison.difference.lower,
            "p_value": comparison.p_value,
            "verdict": comparison.verdict.value,
            "valid_json": whole[Measure.VALID_FORMAT].value,
            "tokens_per_second": whole[Measure.TOKENS_PER_SECOND].value,
            "memory_bytes": whole[Measure.MEMORY_BYTES].value,
        }
    )


def forms_table(rows: Sequence[dict[str, Value]]) -> tuple[Sequence[str], list[list[str]]]:
    """Size, quality with its interval of 95 %, speed and memory of each form, for people. Pure.

    Args:
        rows: Of the starter's forms and of MiniLM's, as the report has them.
    """
    columns = ("form", ">bytes", ">quality (95 %)", ">a second", ">memory, MiB")
    return columns, [
        [
            str(row["form"]),
            f"{row['bytes']:,}",
            "{:.4f} ({:.4f} to {:.4f})".format(*_quality(row)),
            _speed(row),
            f"{memory / 2**20:.0f}" if isinstance(memory := row.get("memory_bytes"), int | float) else "not measured",
        ]
        for row in rows
    ]


def _quality(row: dict[str, Value]) -> tuple[Value, ...]:
    name = "score" if "score" in row else "cosine"
    return row[name], row[f"{name}_lower"], row[f"{name}_upper"]


def _speed(row: dict[str, Value]) -> str:
    speed, what = row.get("tokens_per_second"), "tokens"
    if "tokens_per_second" not in row:
        speed, what = row.get("sentences_per_second"), "sentences"
    return f"{speed:.0f} {what}" if isinstance(speed, float) else "not measured"


def main() -> None:
    """Reads the command line, measures, reports."""
    given = arguments(TITLE)
    with tempfile.TemporaryDirectory(prefix="undercroft-quality-", dir=os.environ.get("TMPDIR")) as folder:
        report = measure_forms(Path(folder), _QUICK_TICKETS if given.quick else _TICKETS)
    try:
        measure_encoder(report, _QUICK_SENTENCES if given.quick else _SENTENCES)
    except MissingError as error:
        report.peers["all-MiniLM-L6-v2"] = {"missing": str(error)}
        report.at_least("minilm", None, 1)
    report.tables.append(forms_table(report.rows))
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
