"""The morning report: a summary as Markdown or as a page. What it shows is decided in `report_summary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from undercroft.core.units import format_duration
from undercroft.planning.report.layout import render_page, shown_drawing
from undercroft.planning.report.words import clean
from undercroft.watch.reports.report_plots import first_token_plot, passed_plot
from undercroft.watch.reports.report_summary import Figures, Summary

COLUMNS = ("asked", "passed", "score", "first token", "slowest", "tokens/s", "likeness")


def headline(summary: Summary) -> tuple[str, str]:
    """The tone (``good``, ``middling``, ``bad``) and the sentence that a report begins with.

    Args:
        summary: Of one row or more.
    """
    day, figures = list(summary.days.items())[-1]
    if figures.passed == figures.asked:
        return "good", f"All {figures.asked} questions of {day} passed."
    failed = figures.asked - figures.passed
    why = ", ".join(f"{name} {count}×" for name, count in {**figures.errors, **figures.failed_checks}.items())
    tone = "bad" if figures.pass_ratio < 0.5 else "middling"
    return tone, f"{failed} of {figures.asked} questions of {day} failed: {why}."


def figure_cells(figures: Figures) -> list[str]:
    """One row of a table, in the order of `COLUMNS`."""
    return [
        str(figures.asked),
        str(figures.passed),
        f"{figures.score:.2f}",
        _seconds(figures.first_token_seconds),
        _seconds(figures.worst_first_token_seconds),
        "-" if figures.tokens_per_second is None else f"{figures.tokens_per_second:.0f}",
        "-" if figures.likeness is None else f"{figures.likeness:.2f}",
    ]


def markdown_of(name: str, summary: Summary, made_at: str) -> str:
    """A summary as Markdown.

    Args:
        name: Of the probe.
        summary: Of one row or more.
        made_at: Date and time in UTC.
    """
    lines = [f"# {name}: standard questions", "", f"**{_plain(headline(summary)[1])}**", "", "## Day by day", ""]
    lines += _table("day", summary.days)
    lines += ["", "## Question by question, the worst first", ""]
    lines += _table("question", summary.questions)
    reasons = _reasons(summary)
    if reasons:
        lines += ["", "## Why questions failed", "", "| reason | times |", "|---|---:|"]
        lines += [f"| {_plain(reason)} | {count} |" for reason, count in reasons]
    lines += ["", "## What answered", "", "| release | since |", "|---|---|"]
    lines += [f"| {_plain(release)} | {day} |" for release, day in summary.releases]
    return "\n".join([*lines, "", f"Made {made_at} by Undercroft.", ""])


def html_of(name: str, summary: Summary, made_at: str) -> str:
    """A summary as a page that stands alone, with plots.

    Args:
        name: Of the probe.
        summary: Of one row or more.
        made_at: Date and time in UTC, for the foot.
    """
    tone, sentence = headline(summary)
    return render_page(
        "report.html.j2",
        Path(__file__).parent,
        title=f"{name}: standard questions",
        tone=tone,
        sentence=sentence,
        columns=COLUMNS,
        day_rows=[(day, figure_cells(figures)) for day, figures in reversed(summary.days.items())],
        question_rows=[(question, figure_cells(figures)) for question, figures in summary.questions.items()],
        plots=[shown_drawing(passed_plot(summary.days)), shown_drawing(first_token_plot(summary.days))],
        reasons=_reasons(summary),
        releases=summary.releases,
        made_at=made_at,
    )


def _reasons(summary: Summary) -> Sequence[tuple[str, int]]:
    counted = {**summary.whole.errors, **summary.whole.failed_checks}
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _table(first: str, rows: Mapping[str, Figures]) -> list[str]:
    lines = [f"| {first} | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    return lines + [f"| {_plain(name)} | {' | '.join(figure_cells(figures))} |" for name, figures in rows.items()]


def _plain(text: str) -> str:
    return clean(text).replace("|", "\\|")


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_duration(value)
