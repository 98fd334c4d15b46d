"""How runs of standard questions are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import typer

from undercroft.cli.output import print_table, print_wrapped
from undercroft.core.clock import to_iso
from undercroft.core.units import format_duration
from undercroft.watch.probes.outcomes import Outcome
from undercroft.watch.probes.running import Run
from undercroft.watch.reports.report_rows import Row
from undercroft.watch.reports.report_summary import Summary


def print_run(made: Run) -> None:
    """A run as a table, with a sentence for each check that failed."""
    typer.echo(f"{made.probe}: {made.passed} of {len(made.outcomes)} passed, score {made.score:.2f}, by {made.release}")
    print_table(
        ["=question", "passed", ">score", ">first token", ">total", ">tokens/s", ">likeness"],
        [
            [
                outcome.question,
                "yes" if outcome.has_passed else "NO",
                f"{outcome.score:.2f}",
                _seconds(outcome.answer.first_token_seconds if outcome.answer else None),
                _seconds(outcome.answer.total_seconds if outcome.answer else None),
                _shown(outcome.answer.tokens_per_second if outcome.answer else None, 0),
                _shown(outcome.likeness, 2),
            ]
            for outcome in made.outcomes
        ],
        empty="No question was asked.",
    )
    for outcome in made.outcomes:
        for line in problem_lines(outcome):
            print_wrapped(line, indent="    ")
    if made.left_out:
        print_wrapped(f"Left out, for the prompt has no such variable: {', '.join(made.left_out)}", indent="  ")
    print_wrapped(f"Added to {made.report}", indent="  ")


def problem_lines(outcome: Outcome) -> list[str]:
    """What is wrong with an outcome, a sentence each; noisy checks that failed are said to be so.

    Args:
        outcome: Any; one that is well gives no line.
    """
    if outcome.error:
        return [f"  {outcome.question}: {outcome.error}: {outcome.message}"]
    lines = [f"  {outcome.question}: {result.name}: {result.detail}" for result in outcome.failed]
    noisy = [result.name for result in outcome.results if result.name in outcome.noisy and not result.has_passed]
    if noisy:
        lines.append(
            f"  {outcome.question}: {', '.join(noisy)} failed and does not count: it was noisy in the baseline"
        )
    return lines


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_duration(value)


def _shown(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def plain_run(made: Run) -> dict[str, Any]:
    """A run for programs."""
    return {
        "probe": made.probe,
        "release": made.release,
        "passed": made.passed,
        "questions": len(made.outcomes),
        "score": round(made.score, 4),
        "report": str(made.report),
        "left_out": list(made.left_out),
        "outcomes": [_plain_outcome(outcome) for outcome in made.outcomes],
    }


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "at": to_iso(outcome.at),
        "question": outcome.question,
        "has_passed": outcome.has_passed,
        "score": round(outcome.score, 4),
        "checks": [
            {
                "name": result.name,
                "score": round(result.score, 4),
                "has_passed": result.has_passed,
                "is_noisy": result.name in outcome.noisy,
                "detail": result.detail,
            }
            for result in outcome.results
        ],
        "first_token_seconds": answer.first_token_seconds if answer else None,
        "total_seconds": answer.total_seconds if answer else None,
        "tokens_per_second": answer.tokens_per_second if answer else None,
        "prompt_tokens": answer.prompt_tokens if answer else None,
        "answer_tokens": answer.answer_tokens if answer else None,
        "likeness": outcome.likeness,
        "answer_digest": outcome.answer_digest or None,
        "error": outcome.error or None,
        "message": outcome.message or None,
    }


def plain_summary(summary: Summary) -> dict[str, Any]:
    """A report's summary for programs."""
    return {
        "whole": asdict(summary.whole),
        "days": {day: asdict(figures) for day, figures in summary.days.items()},
        "questions": {question: asdict(figures) for question, figures in summary.questions.items()},
        "releases": [{"release": release, "since": day} for release, day in summary.releases],
    }


def row_sentence(row: Row) -> str:
    """One row of the report as it is watched: ``2026-11-21 07:00:04  opening-hours  yes  1.00  0.06 s``."""
    why = row.error or " ".join(row.failed_checks)
    cells = [row.local_time, row.question, "yes" if row.has_passed else "NO", f"{row.score:.2f}"]
    return "  ".join([*cells, _seconds(row.first_token_seconds), *([why] if why else [])])


def list_row(entry: Mapping[str, Any]) -> list[str]:
    """One probe in the list of them.

    Args:
        entry: ``probe``, ``questions``, ``problem``, ``last`` as `PastRun.to_dict` gives it, ``next``.
    """
    last = entry["last"]
    if last is None:
        passed, score = "never asked", ""
    elif last["score"] is None:
        passed, score = last["note"] or "not ended", ""
    else:
        passed, score = last["note"] or f"{last['passed']} of {last['asked']}", f"{last['score']:.2f}"
    upcoming = _minute(entry["next"]) if entry["next"] else "by command" if not entry["problem"] else "cannot be used"
    began = _minute(last["started_at"]) if last else ""
    return [entry["probe"], str(entry["questions"] or ""), began, passed, score, upcoming]


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
