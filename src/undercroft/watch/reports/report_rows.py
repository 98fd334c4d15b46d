"""Rows of the health report: what each column holds, written and read. Pure."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from undercroft.checks.kinds import CHECK_KINDS
from undercroft.core.clock import from_iso, to_iso
from undercroft.core.spreadsheets import safe_cell
from undercroft.watch.probes.outcomes import Outcome

# Column → what it holds, as the guide says it.
COLUMNS: Mapping[str, str] = {
    "time": "when the question was sent: ISO 8601 in UTC, as in 2026-11-21T00:00:04.125Z",
    "local_time": "the same on the clocks of the probe's time zone, as spreadsheets read it: 2026-11-21 07:00:04",
    "release": "the deployment and a digest of its model and settings; another digest is another model or setting",
    "question": "its id in the probe file",
    "passed": "yes or no: an answer came, and no check that counts failed",
    "score": "0 to 1: the mean of the checks that count, by their weights",
    "failed_checks": "names of the checks that failed, apart from noisy ones",
    "noisy_checks": "names of checks that passed and failed while the baseline was taken; they do not count",
    **{
        kind.replace("-", "_"): f"score of the check {kind}, 0 to 1; the lowest where there are several; else empty"
        for kind in CHECK_KINDS
    },
    "first_token_seconds": "from sending to the first piece of text",
    "total_seconds": "from sending to the end of the answer",
    "tokens_per_second": "after the first token",
    "prompt_tokens": "as the engine counted",
    "answer_tokens": "as the engine counted",
    "likeness": "0 to 1: how like the answer is to the nearest of the baseline's, by character n-grams",
    "answer_digest": "sha256 of the answer's text; the same digest is the same answer",
    "error": "code of what went wrong where no answer came",
    "answer": "the answer's text, only where the probe file says keep_answers: true",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report as it is read again.

    Args:
        at: When the question was sent; UTC.
        local_time: As it stands there.
        release: What served it.
        question: Its id.
        has_passed: Whether it did.
        score: 0.0 to 1.0.
        failed_checks: Names.
        first_token_seconds: None where no text came.
        total_seconds: None where no answer came.
        tokens_per_second: None where it is not known.
        likeness: None where there was no baseline.
        error: Empty where an answer came.
        answer_digest: Of the answer's text; empty where none came.
    """

    at: datetime
    local_time: str
    release: str
    question: str
    has_passed: bool
    score: float
    failed_checks: tuple[str, ...]
    first_token_seconds: float | None
    total_seconds: float | None
    tokens_per_second: float | None
    likeness: float | None
    error: str
    answer_digest: str = ""


def header_line() -> str:
    """The first line, with its end."""
    return _line(list(COLUMNS))


def row_line(outcome: Outcome, time_zone: str, *, keep_answer: bool) -> str:
    """One outcome as a line, with its end.

    Args:
        outcome: Of a question.
        time_zone: Of the probe.
        keep_answer: Whether the answer's text is written; else its digest alone.
    """
    answer = outcome.answer
    cells = {
        "time": to_iso(outcome.at),
        "local_time": outcome.at.astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d %H:%M:%S"),
        "release": outcome.release,
        "question": outcome.question,
        "passed": "yes" if outcome.has_passed else "no",
        "score": f"{outcome.score:.3f}",
        "failed_checks": " ".join(result.name for result in outcome.failed),
        "noisy_checks": " ".join(result.name for result in outcome.results if result.name in outcome.noisy),
        **_check_cells(outcome),
        "likeness": _number(outcome.likeness, 3),
        "answer_digest": outcome.answer_digest,
        "error": outcome.error,
    }
    if answer is not None:
        cells |= {
            "first_token_seconds": _number(answer.first_token_seconds, 4),
            "total_seconds": _number(answer.total_seconds, 4),
            "tokens_per_second": _number(answer.tokens_per_second, 2),
            "prompt_tokens": _number(answer.prompt_tokens, 0),
            "answer_tokens": _number(answer.answer_tokens, 0),
            "answer": answer.text if keep_answer else "",
        }
    return _line([cells.get(name, "") for name in COLUMNS])


def read_rows(text: str) -> tuple[list[Row], int]:
    """The rows of a report's content.

    Args:
        text: With its header, with or without a byte order mark; as a spreadsheet may have saved it.

    Returns:
        Rows in the order of the file, and how many lines could not be read.
    """
    lines = list(io.StringIO(text.lstrip("\ufeff").replace("\0", ""), newline=""))
    names = lines[0].rstrip("\r\n").replace('"', "").split(",") if lines else []
    rows: list[Row] = []
    damaged, good = 0, 1
    while good < len(lines):
        begin = good
        reader = csv.reader(itertools.islice(lines, begin, None), strict=True)
        with contextlib.suppress(csv.Error):
            for cells in reader:
                row = _read({**dict.fromkeys(names), **dict(zip(names, cells, strict=False))}) if cells else None
                if cells and row is None:
                    break
                rows += [row] if row is not None else []
                good = begin + reader.line_num
        if good < len(lines):
            # A quotation mark that is never closed would take the lines after it with it: only its own is given up.
            damaged, good = damaged + 1, good + 1
    return rows, damaged


def _check_cells(outcome: Outcome) -> dict[str, str]:
    lowest: dict[str, float] = {}
    for result in outcome.results:
        lowest[result.kind] = min(result.score, lowest.get(result.kind, 1.0))
    return {kind.replace("-", "_"): f"{score:.3f}" for kind, score in lowest.items()}


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


def _read(cells: Mapping[str, str | None]) -> Row | None:
    try:
        return Row(
            at=from_iso(str(cells["time"])),
            local_time=str(cells["local_time"]),
            release=str(cells["release"]),
            question=str(cells["question"]),
            has_passed=cells["passed"] == "yes",
            score=float(str(cells["score"])),
            failed_checks=tuple(str(cells["failed_checks"] or "").split()),
            first_token_seconds=_maybe(cells["first_token_seconds"]),
            total_seconds=_maybe(cells["total_seconds"]),
            tokens_per_second=_maybe(cells["tokens_per_second"]),
            likeness=_maybe(cells["likeness"]),
            error=str(cells["error"] or ""),
            answer_digest=str(cells.get("answer_digest") or ""),
        )
    except (KeyError, ValueError):
        return None


def _maybe(text: str | None) -> float | None:
    return float(text) if text else None
