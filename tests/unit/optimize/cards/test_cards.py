"""Quality cards: JSON, Markdown and page say the same, harmlessly, within their widths."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.optimize.evaluation.test_gate import run_of
from undercroft.core.errors import InvalidError
from undercroft.optimize.cards.card import SCHEMA, Card, Circumstances, Point, make_card
from undercroft.optimize.cards.markdown import markdown_of
from undercroft.optimize.cards.measuring import check_folder
from undercroft.optimize.cards.page import page_of
from undercroft.optimize.cards.plots import language_plot, size_plot
from undercroft.optimize.cards.words import figure, headline
from undercroft.optimize.evaluation.figures import Measure
from undercroft.optimize.evaluation.gate_rules import check_gate
from undercroft.optimize.evaluation.intervals import Estimate, proportion

AROUND = Circumstances(
    "2026-11-22T06:00:00Z",
    "a processor",
    {"name": "tasks.jsonl", "digest": "sha256:" + "a" * 64, "count": 60},
    {},
    {"context_tokens": 512, "slots": 4},
)
HOSTILE = '<script>alert("x")</script>|*bold*\x1b[31m\u202e'


def card(rules: dict[str, Any] | None = None, *, name: str = "small", points: tuple[Point, ...] = ()) -> Card:
    """A candidate that passes 40 of 60 tasks in two languages, beside a parent that passes 58."""
    candidate = run_of([True] * 40 + [False] * 20, languages="en th", nats=2.1, name=name)
    parent = run_of([True] * 58 + [False] * 2, languages="en th")
    return make_card(candidate, parent, check_gate(rules) if rules is not None else None, AROUND, points)


def test_a_folder_that_cannot_hold_a_card_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    """A file stands where the folder should be; a folder that is not there yet is made."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InvalidError, match="cannot-write"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new" / "card")
    assert list((tmp_path / "new" / "card").iterdir()) == []


def test_the_json_has_a_schema_and_every_figure_with_its_interval() -> None:
    """It goes through JSON as it is, without an infinite number, and names what was measured."""
    found = json.loads(json.dumps(card({"min_score": 0.9}).to_dict(), allow_nan=False))
    assert found["schema"] == SCHEMA == "undercroft.quality-card/1"
    score = found["candidate"]["figures"]["score"]
    assert (score["value"], score["count"], score["method"]) == (pytest.approx(2 / 3), 60, "wilson")
    assert score["lower"] < score["value"] < score["upper"]
    assert found["comparisons"]["whole"]["score"]["verdict"] == "worse"
    assert found["comparisons"]["languages"]["th"]["score"]["test"] == "mcnemar-exact"
    assert found["gate"]["findings"][0]["state"] == "broken"
    assert (found["items"][50]["has_passed"], found["items"][50]["parent_has_passed"]) == (False, True)


def test_a_bound_that_is_not_known_is_null() -> None:
    """One text has no interval, and JSON has no infinity."""
    run = replace(run_of([True]), texts=run_of([True]).texts[:1])
    found = make_card(run, None, None, AROUND).to_dict()
    assert found["candidate"]["figures"]["perplexity"]["upper"] is None
    assert found["parent"] is None
    json.dumps(found, allow_nan=False)


def test_markdown_is_eighty_columns_wide() -> None:
    """With the longest name, every rule and every figure."""
    rules = {"max_score_loss_percent": 1, "max_kl": 0.1, "languages": {"each": {"min_score": 0.5}}, "max_size_bytes": 1}
    text = markdown_of(card(rules, name="n" * 90))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "- broken: max_score_loss_percent: 30.0 points (" in text
    assert "| tasks passed" in text
    assert "## Languages: tasks passed" in text


def test_nothing_from_outside_is_obeyed() -> None:
    """A model's name in markup, Markdown and control characters comes out as letters everywhere."""
    found = card({"min_score": 0.9}, name=HOSTILE)
    page, text = page_of(found), markdown_of(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page + text
    assert "\u202e" not in page + text
    assert "\\<script\\>" in text
    assert "\\*bold\\*" in text


def test_the_page_fetches_nothing_and_knows_light_and_dark() -> None:
    """No address, no script, no style from elsewhere; colours for both."""
    page = page_of(card({"min_score": 0.9}))
    assert re.search(r"(src|href)=|url\(|@import|<script", page) is None
    assert set(re.findall(r"https?://[^\"' <]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == 2


def test_plots_are_pictures_with_their_words() -> None:
    """Every model is a dot with its name, every language two bars; both say what they show without a picture."""
    found = card(points=(Point("middling", 2_000_000, proportion(50, 60)),))
    size, languages = size_plot(found), language_plot(found)
    assert size is not None
    assert languages is not None
    root = ElementTree.fromstring(size.markup())
    assert len(root.findall(".//{*}circle")) == 3
    assert "middling: 1.9 MiB, 83.3 % (72.0–90.7)" in size.description
    # Two languages, two bars each, two samples of the key.
    assert len(ElementTree.fromstring(languages.markup()).findall(".//{*}rect")) == 6
    assert languages.description.startswith("en: 66.7 % (")


def test_without_tasks_plots_show_perplexity() -> None:
    """And without both there is none."""
    run = replace(run_of([True]), items=(), seconds=0.0)
    plot = size_plot(make_card(run, None, None, AROUND))
    assert plot is not None
    assert "perplexity" in plot.title
    assert size_plot(make_card(replace(run, texts=()), None, None, AROUND)) is None


def test_the_headline_says_what_counts_most() -> None:
    """Gate before tests, tests before figures."""
    assert headline(card({"min_score": 0.9}))[1] == "It does not pass its gate: 1 of 1 rule keeps it out."
    assert headline(card({"min_score": 0.1})) == ("good", "It passes its gate: 1 rule.")
    assert headline(card()) == ("middling", "Beside its parent it is worse in tasks passed, perplexity.")
    alike = make_card(run_of([True] * 9), run_of([True] * 9), None, AROUND)
    assert headline(alike)[1].startswith("No difference from its parent was shown in tasks passed")
    assert headline(make_card(run_of([True, False]), None, None, AROUND))[1] == "It passed 1 of 2 tasks."


def test_questions_without_an_answer_are_told() -> None:
    """An engine that refuses is seen in every form."""
    run = run_of([True, False])
    broken = replace(run, items=(run.items[0], replace(run.items[1], error="exceeds the context")))
    for text in (markdown_of(make_card(broken, None, None, AROUND)), page_of(make_card(broken, None, None, AROUND))):
        assert "1 of 2 questions were not answered; the first, item-1: exceeds" in " ".join(text.split())


def test_figures_carry_their_unit_once() -> None:
    """Short enough for a column, and honest where a bound is not known."""
    assert figure(Measure.SCORE, proportion(55, 60)) == "91.7 % (81.9–96.4)"
    assert figure(Measure.FIRST_TOKEN_SECONDS, Estimate(0.9, 0.8, 1.2, 5, "student")) == "900 ms (800 ms–1.2 s)"
    assert figure(Measure.PERPLEXITY, Estimate(9.0, -math.inf, math.inf, 1, "student")) == "9.00"
    assert figure(Measure.KL, None) == "-"
