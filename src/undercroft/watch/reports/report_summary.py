"""What the rows of a report come to: day by day, and question by question. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.watch.reports.report_rows import Row


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of some rows.

    Args:
        asked: Questions; count.
        passed: Questions that passed; count.
        score: Mean, 0.0 to 1.0.
        first_token_seconds: Median; None where no text came.
        worst_first_token_seconds: Largest; None where no text came.
        total_seconds: Median; None where no answer came.
        tokens_per_second: Median; None where it is not known.
        likeness: Mean; None where there was no baseline.
        errors: Code → how many had it.
        failed_checks: Name → how many failed by it.
    """

    asked: int
    passed: int
    score: float
    first_token_seconds: float | None
    worst_first_token_seconds: float | None
    total_seconds: float | None
    tokens_per_second: float | None
    likeness: float | None
    errors: dict[str, int]
    failed_checks: dict[str, int]

    @property
    def pass_ratio(self) -> float:
        """0.0 to 1.0."""
        return self.passed / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A report in short.

    Args:
        whole: Of all rows.
        days: Day of the probe's time zone (``2026-11-21``) → its figures, in order.
        questions: Id → its figures, the worst first.
        releases: What served, with the day of its first row, in order.
    """

    whole: Figures
    days: dict[str, Figures]
    questions: dict[str, Figures]
    releases: tuple[tuple[str, str], ...]


def summarize(rows: Sequence[Row]) -> Summary:
    """All of it.

    Args:
        rows: In any order.
    """
    ordered = sorted(rows, key=lambda row: row.at)
    days: dict[str, list[Row]] = {}
    questions: dict[str, list[Row]] = {}
    releases: dict[str, str] = {}
    for row in ordered:
        day = _day(row)
        days.setdefault(day, []).append(row)
        questions.setdefault(row.question, []).append(row)
        releases.setdefault(row.release, day)
    by_question = {name: figures_of(group) for name, group in questions.items()}
    worst_first = sorted(by_question.items(), key=lambda item: (item[1].pass_ratio, item[1].score, item[0]))
    return Summary(
        figures_of(ordered),
        {day: figures_of(group) for day, group in days.items()},
        dict(worst_first),
        tuple(releases.items()),
    )


def figures_of(rows: Sequence[Row]) -> Figures:
    """The figures of some rows; zeros where there is none."""
    first = [row.first_token_seconds for row in rows if row.first_token_seconds is not None]
    return Figures(
        asked=len(rows),
        passed=sum(row.has_passed for row in rows),
        score=statistics.fmean(row.score for row in rows) if rows else 0.0,
        first_token_seconds=statistics.median(first) if first else None,
        worst_first_token_seconds=max(first, default=None),
        total_seconds=_median([row.total_seconds for row in rows]),
        tokens_per_second=_median([row.tokens_per_second for row in rows]),
        likeness=_mean([row.likeness for row in rows]),
        errors=dict(Counter(row.error for row in rows if row.error)),
        failed_checks=dict(Counter(name for row in rows for name in row.failed_checks)),
    )


def _day(row: Row) -> str:
    return row.local_time[:10] or row.at.date().isoformat()


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
