"""The health report on disk: whole lines only, whoever dies."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.checks.judging import CheckResult
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.engines.chat_stream import Answer
from undercroft.watch.probes.outcomes import Outcome
from undercroft.watch.reports.report_files import append_line, read_report
from undercroft.watch.reports.report_rows import COLUMNS, header_line, read_rows, row_line

_AT = datetime(2026, 11, 21, 0, 0, 4, 125000, tzinfo=UTC)
_OUTCOME = Outcome(
    at=_AT,
    release="bot@3f9a2c11",
    question="capital",
    weight=1.0,
    results=(
        CheckResult("contains", "contains", 0.5, False, 1.0),
        CheckResult("contains-2", "contains", 1.0, True, 1.0),
        CheckResult("no-refusal", "no-refusal", 0.0, False, 1.0),
    ),
    noisy=frozenset({"no-refusal"}),
    answer=Answer("=cmd|'/C calc'!A0\nปารีส", 0.25, 1.25, 12, 5),
    likeness=0.75,
)


def cells(line: str) -> dict[str, str]:
    return dict(zip(COLUMNS, next(csv.reader(io.StringIO(line, newline=""))), strict=True))


def test_a_row_holds_what_its_columns_say() -> None:
    """Times twice, scores of each kind the lowest, noisy checks apart, and no text of the answer."""
    row = cells(row_line(_OUTCOME, "Asia/Bangkok", keep_answer=False))
    assert row["time"] == "2026-11-21T00:00:04.125Z"
    assert row["local_time"] == "2026-11-21 07:00:04"
    assert (row["passed"], row["score"], row["contains"], row["no_refusal"]) == ("no", "0.750", "0.500", "0.000")
    assert (row["failed_checks"], row["noisy_checks"], row["exact"]) == ("contains", "no-refusal", "")
    assert (row["first_token_seconds"], row["tokens_per_second"]) == ("0.2500", "4.00")
    assert row["answer_digest"].startswith("sha256:")
    assert row["answer"] == ""


def test_an_answer_is_kept_only_where_it_is_asked_for_and_is_no_formula() -> None:
    """What a spreadsheet would run gets an apostrophe before it."""
    row = cells(row_line(_OUTCOME, "UTC", keep_answer=True))
    assert row["answer"] == "'=cmd|'/C calc'!A0\nปารีส"


@given(st.text(max_size=40), st.sampled_from(["", "door-away"]))
def test_what_is_written_is_read_again(text: str, error: str) -> None:
    """Whatever the answer was, one row comes back, with its figures."""
    answer = Answer(text, None, 2.0, None, None)
    line = row_line(replace(_OUTCOME, answer=answer, error=error), "UTC", keep_answer=True)
    rows, damaged = read_rows(header_line() + line.encode("utf-8", "replace").decode())
    assert damaged == 0
    assert [(row.at, row.score, row.total_seconds, row.error) for row in rows] == [(_AT, 0.75, 2.0, error)]


@pytest.mark.parametrize("broken", ['x,"never closed', '"' * 3, '2026-11-21,"a"b', "x", '"' + "long" * 50_000])
def test_a_damaged_line_takes_no_other_with_it(broken: str) -> None:
    """Whatever stands in a line, the ones before and after it are read, answers of several lines included."""
    line = row_line(_OUTCOME, "UTC", keep_answer=True)
    rows, damaged = read_rows(header_line() + line + broken + "\r\n" + line * 3)
    assert (len(rows), damaged) == (4, 1)


def test_a_report_begins_with_its_header_and_grows(tmp_path: Path) -> None:
    """With a byte order mark once, lines as RFC 4180 ends them, readable by its owner only."""
    path = tmp_path / "bot.csv"
    for _ in range(3):
        append_line(path, row_line(_OUTCOME, "UTC", keep_answer=True))
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbftime,local_time,")
    assert raw.count(b"\xef\xbb\xbf") == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_rows(read_report(path))[0]) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["bot.csv"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("before", [0, 1])
def test_half_a_line_is_made_whole(tmp_path: Path, share: float, before: int) -> None:
    """A process was killed when it had written a part of the line, or all of it: it stands there once, and whole."""
    path = tmp_path / "bot.csv"
    line = row_line(_OUTCOME, "UTC", keep_answer=True)
    for _ in range(before):
        append_line(path, line)
    offset = path.stat().st_size if before else 0
    content = line if before else "\ufeff" + header_line() + line
    note = {"offset": offset, "content": content}
    (tmp_path / ".bot.csv.pending").write_text(json.dumps(note), encoding="utf-8")
    with path.open("ab") as file:
        file.write(content.encode()[: int(len(content.encode()) * share)])
    append_line(path, line)
    rows, damaged = read_rows(read_report(path))
    assert (len(rows), damaged) == (before + 2, 0)


def test_a_file_that_somebody_edited_meanwhile_keeps_their_work(tmp_path: Path) -> None:
    """The line of a killed process goes behind it, and a last line without its end gets one."""
    path = tmp_path / "bot.csv"
    line = row_line(_OUTCOME, "UTC", keep_answer=False)
    other = row_line(replace(_OUTCOME, question="other"), "UTC", keep_answer=False)
    append_line(path, line)
    append_line(path, line)
    note = {"offset": path.stat().st_size, "content": other}
    (tmp_path / ".bot.csv.pending").write_text(json.dumps(note), encoding="utf-8")
    kept = ("\ufeff" + header_line() + line).encode().rstrip(b"\r\n")
    path.write_bytes(kept)
    append_line(path, line)
    assert path.read_bytes().startswith(kept)
    rows, damaged = read_rows(read_report(path))
    assert (len(rows), damaged) == (3, 0)


def _append_many(path: Path, name: str) -> None:
    for _ in range(20):
        append_line(path, row_line(replace(_OUTCOME, question=name), "UTC", keep_answer=False))


def test_several_processes_may_add_at_once(tmp_path: Path) -> None:
    """No line is lost or mixed with another."""
    path = tmp_path / "bot.csv"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, name)) for name in ("one", "two", "three")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    rows, damaged = read_rows(read_report(path))
    assert damaged == 0
    assert sorted(row.question for row in rows) == ["one"] * 20 + ["three"] * 20 + ["two"] * 20


def test_a_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    """As a spreadsheet with semicolons saves it; what to do is said."""
    path = tmp_path / "bot.csv"
    path.write_text("time;local_time\n", encoding="utf-8")
    with pytest.raises(ConflictError, match="report-columns-differ"):
        append_line(path, row_line(_OUTCOME, "UTC", keep_answer=False))
    assert path.read_text(encoding="utf-8") == "time;local_time\n"


def test_a_report_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """And none is made by looking."""
    with pytest.raises(NotFoundError, match="undercroft probe run bot"):
        read_report(tmp_path / "bot.csv")
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_is_counted_and_the_others_are_read() -> None:
    """Somebody broke one by hand."""
    good = row_line(_OUTCOME, "UTC", keep_answer=False)
    rows, damaged = read_rows(header_line() + good + "yesterday,,,\r\n" + good)
    assert (len(rows), damaged) == (2, 1)
