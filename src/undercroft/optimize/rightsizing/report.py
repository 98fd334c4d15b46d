"""The report of a search: JSON for programs, Markdown and a page for people, and the picture by itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from undercroft import __version__
from undercroft.optimize.cards.markdown import plain, table, wrapped
from undercroft.optimize.cards.words import name_of
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.rightsizing import words
from undercroft.optimize.rightsizing.outcome import Entry, Outcome
from undercroft.optimize.rightsizing.outlook import Outlook
from undercroft.optimize.rightsizing.plot import pareto_plot
from undercroft.planning.report.drawing import sheet
from undercroft.planning.report.layout import render_page, shown_drawing

SCHEMA = "undercroft.rightsizing/1"
JSON_FILE, MARKDOWN_FILE, PAGE_FILE, PICTURE_FILE = "search.json", "search.md", "search.html", "search.svg"
_COLUMNS = tuple(column.lstrip("=>") for column in words.COLUMNS)
_STAR = "A * marks what is on the front: nothing else is smaller, surer, faster and leaner."


def report_dict(outcome: Outcome, made_at: str) -> dict[str, Any]:
    """Everything that is known, as plain data for JSON.

    Args:
        outcome: Of a search.
        made_at: ISO 8601, UTC.
    """
    order = outcome.order
    wish = order.wish
    return {
        "schema": SCHEMA,
        "undercroft": __version__,
        "made_at": made_at,
        "asked": {
            "max_quality_loss_percent": order.percent,
            "fit": wish.machine.name,
            "is_measured_here": wish.machine.is_here,
            "min_tokens_per_second": wish.least_tokens_per_second,
            "users": wish.workload.slots,
            "context_tokens": wish.workload.context_tokens,
            "judged_by": "tasks" if order.tasks is not None else "texts",
            "count": order.count,
            "seed": order.seed,
        },
        "pick": outcome.pick,
        "front": list(outcome.front),
        "parent": {
            **asdict(order.parent.subject),
            "quality": _quality(outcome.parent.run),
            "here": None if outcome.parent.trial is None else asdict(outcome.parent.trial),
        },
        "candidates": [_entry(outcome, entry) for entry in outcome.entries],
        "left_out": [
            {**asdict(out), "why": out.why.value, "forecast": None if outlook is None else _forecast(outlook)}
            for out, outlook in order.left_out
        ],
        "shown": {
            "sentence": words.headline(outcome),
            "notes": words.asked_sentences(outcome),
            "columns": list(words.COLUMNS),
            "rows": [list(row) for row in words.rows(outcome)],
        },
    }


def report_markdown(outcome: Outcome, made_at: str) -> str:
    """The report as Markdown.

    Args:
        outcome: Of a search.
        made_at: ISO 8601, UTC.
    """
    title = plain(name_of(outcome.order.parent.subject.name))
    lines = [f"# The right size of {title}", "", *wrapped(f"**{plain(words.headline(outcome))}**"), ""]
    for sentence in words.asked_sentences(outcome):
        lines += wrapped(f"- {plain(sentence)}", indent="  ")
    lines += ["", "## Candidates", "", *table(_COLUMNS, words.rows(outcome)), "", *wrapped(plain(_STAR))]
    if out := words.left_out_rows(outcome):
        lines += ["", "## Not made", "", *table(("scheme", "why", ""), out)]
    return "\n".join([*lines, "", f"Made {made_at} by Undercroft.", ""])


def report_page(outcome: Outcome, made_at: str) -> str:
    """The report as a page that stands alone.

    Args:
        outcome: Of a search.
        made_at: ISO 8601, UTC.
    """
    return render_page(
        "search.html.j2",
        Path(__file__).parent,
        title=f"The right size of {name_of(outcome.order.parent.subject.name)}",
        tone="good" if outcome.pick is not None else "bad",
        sentence=words.headline(outcome),
        asked=words.asked_sentences(outcome),
        plot=shown_drawing(pareto_plot(outcome)),
        columns=_COLUMNS,
        rows=words.rows(outcome),
        star=_STAR,
        left_out=words.left_out_rows(outcome),
        made_at=made_at,
    )


def report_files(outcome: Outcome, made_at: str, data: str) -> Mapping[str, str]:
    """File → what it holds.

    Args:
        outcome: Of a search.
        made_at: ISO 8601, UTC.
        data: `report_dict` as text.
    """
    drawing = pareto_plot(outcome)
    return {
        JSON_FILE: data,
        MARKDOWN_FILE: report_markdown(outcome, made_at),
        PAGE_FILE: report_page(outcome, made_at),
        PICTURE_FILE: sheet(name_of(outcome.order.parent.subject.name), [], [drawing], columns=1),
    }


def _entry(outcome: Outcome, entry: Entry) -> dict[str, Any]:
    runner, kept, judgement = entry.runner, entry.kept, entry.runner.judgement
    return {
        "name": entry.candidate.name,
        "size_bytes": entry.candidate.size_bytes,
        "digest": kept.run.subject.digest if kept is not None else None,
        "forecast": _forecast(entry.outlook),
        "looked": judgement.looked if judgement is not None else 0,
        "of": outcome.order.count,
        "loss_percent": None if judgement is None else _estimate(judgement.loss),
        "standing": None if judgement is None else judgement.standing.value,
        "quality": None if kept is None else _quality(kept.run),
        "can_run": runner.can_run,
        "tokens_per_second": runner.tokens_per_second,
        "memory_bytes": runner.memory_bytes,
        "is_on_front": entry.candidate.name in outcome.front,
        "tasks_needed": words.needed_for(outcome, entry),
        "outcome": words.fate(outcome, entry),
    }


def _forecast(outlook: Outlook) -> dict[str, Any]:
    speed = outlook.speed
    return {
        "memory_bytes": outlook.needed_bytes,
        "available_bytes": outlook.available_bytes,
        "tokens_per_second": None if speed is None else {"value": speed.value, "low": speed.low, "high": speed.high},
    }


def _quality(run: Run) -> dict[str, Any]:
    figures = figures_of(run).whole
    wanted = (Measure.SCORE, Measure.GRADE, Measure.VALID_FORMAT, Measure.PERPLEXITY, Measure.KL, Measure.SAME_TOP)
    return {measure.value: _estimate(figures[measure]) for measure in wanted if measure in figures}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(estimate).items()
    }
