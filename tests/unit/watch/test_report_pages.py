"""The morning report: figures, Markdown and page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from undercroft.watch.reports.report_pages import headline, html_of, markdown_of
from undercroft.watch.reports.report_plots import first_token_plot, passed_plot
from undercroft.watch.reports.report_rows import Row
from undercroft.watch.reports.report_summary import summarize

_START = datetime(2026, 11, 1, tzinfo=UTC)


def row(day: int, question: str = "one", *, has_passed: bool = True, **others: object) -> Row:
    at = _START + timedelta(days=day)
    fields: dict[str, object] = {
        "at": at,
        "local_time": at.strftime("%Y-%m-%d 07:00:00"),
        "release": "bot@1" if day < 2 else "bot@2",
        "question": question,
        "has_passed": has_passed,
        "score": 1.0 if has_passed else 0.5,
        "failed_checks": () if has_passed else ("json",),
        "first_token_seconds": 0.1 * (day + 1),
        "total_seconds": 1.0,
        "tokens_per_second": 50.0,
        "likeness": None,
        "error": "",
    }
    return Row(**{**fields, **others})  # type: ignore[arg-type]


_ROWS = [
    *(row(day, question) for day in range(3) for question in ("one", "two")),
    row(3, "one"),
    row(3, "<b>|two", has_passed=False, likeness=0.4),
    row(3, "three", has_passed=False, error="door-away", failed_checks=(), first_token_seconds=None),
]


def test_figures_are_those_of_the_rows() -> None:
    """Day by day, the worst question first, and since when another release answered."""
    summary = summarize(_ROWS[::-1])
    assert list(summary.days) == ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
    last = summary.days["2026-11-04"]
    assert (last.asked, last.passed, last.errors, last.failed_checks) == (3, 1, {"door-away": 1}, {"json": 1})
    assert last.score == pytest.approx(2 / 3)
    assert last.first_token_seconds == pytest.approx(0.4)
    assert list(summary.questions) == ["<b>|two", "three", "one", "two"]
    assert summary.releases == (("bot@1", "2026-11-01"), ("bot@2", "2026-11-03"))


def test_the_headline_is_about_the_last_day() -> None:
    """All is well, some failed, most failed."""
    assert headline(summarize(_ROWS[:6])) == ("good", "All 2 questions of 2026-11-03 passed.")
    tone, sentence = headline(summarize(_ROWS))
    assert tone == "bad"
    assert sentence == "2 of 3 questions of 2026-11-04 failed: door-away 1×, json 1×."
    assert headline(summarize([row(0), row(0, "two", has_passed=False)]))[0] == "middling"


def test_what_comes_from_outside_stays_text() -> None:
    """In the page no tag, in Markdown no column of its own."""
    summary = summarize(_ROWS)
    page = html_of("bot", summary, "2026-11-21 07:00 UTC")
    assert "&lt;b&gt;|two" in page
    assert "<b>|two" not in page
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    written = markdown_of("bot", summary, "2026-11-21 07:00 UTC")
    assert "| <b>\\|two | 1 | 0 |" in written
    assert "| json | 1 |" in written


@pytest.mark.parametrize("count", [1, 2, 400])
def test_plots_hold_any_number_of_days(count: int) -> None:
    """A point for each, inside the picture, with words that say what it shows."""
    days = summarize([row(day) for day in range(count)]).days
    for drawing in (passed_plot(days), first_token_plot(days)):
        root = ElementTree.fromstring(drawing.markup())
        dots = [element for element in root.iter() if element.tag.endswith("circle")]
        assert len(dots) == count
        assert all(0 <= float(dot.get("cx", "-1")) <= drawing.width for dot in dots)
        assert drawing.description


def test_days_without_an_answer_have_no_time() -> None:
    """And the plot says so."""
    days = summarize([row(0, error="door-away", first_token_seconds=None)]).days
    assert first_token_plot(days).description == "Nothing was answered."
