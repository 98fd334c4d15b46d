"""A plan in words, bars, rows and a chart: what it says, and that it fits every width."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import Use
from undercroft.catalog.verdicts import judge
from undercroft.cli.plan_money import chart_lines, cost_rows, cost_sentences
from undercroft.cli.plan_text import (
    bar,
    explained_lines,
    licence_lines,
    memory_lines,
    money,
    note_lines,
    number,
    quantization_rows,
    reach_lines,
    speed_rows,
    verdict_sentence,
    wrapped,
)
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.assumptions import Assumptions, changed
from undercroft.planning.fitting import PoolFit
from undercroft.planning.forecasts import Term, Workload
from undercroft.planning.needs import parse_need
from undercroft.planning.plan import Plan, Site, Subject, make_plan
from undercroft.planning.targets_of import target_of_device

CATALOGUE, DEVICES, LICENCES = load_catalogue(), load_devices(), load_licences()


@cache
def planned(model: str, device: str, users: int = 1, count: int = 1, assumed: str = "", **work: Any) -> Plan:
    entry = CATALOGUE.find(model)
    use = Use("commercial")
    subject = Subject(entry.name, entry.shape, licence=judge(LICENCES.get(entry.licence), use, written=entry.licence))
    target = target_of_device(DEVICES[device], count)
    assumptions = changed(Assumptions(), assumed.split())
    site = Site(target, rent_usd_per_hour=1.0)
    return make_plan(subject, site, Workload(**work), users=users, assumed=assumptions, notes=("mind this",))


def test_the_sentence_answers_the_four_questions() -> None:
    """Whether it fits and by how much, how fast, what it costs a month, whether it may be used."""
    said = verdict_sentence(planned("qwen2.5-7b", "nvidia-l4", users=4))
    assert said.startswith("qwen2.5-7b in Q8_0 fits on NVIDIA L4 with ")
    for words in (" GiB to spare; about ", "tokens/s for one user", "each of 4 at once", "USD a month. The Apache"):
        assert words in said


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    """Needed, there, missing, and the quantization that fits; no speed and no cost are claimed."""
    said = verdict_sentence(planned("llama-3.1-8b", "nvidia-jetson-orin-nano-8gb", quantization="F16"))
    for words in ("does not fit", "it needs ", " are there, ", " are missing. In ", "it fits. The Llama 3.1"):
        assert words in said
    assert "tokens/s" not in said
    nothing = planned("llama-3.1-70b", "nvidia-jetson-orin-nano-8gb")
    assert " it fits." not in verdict_sentence(nothing)
    assert (speed_rows(nothing), cost_rows(nothing), cost_sentences(nothing, 80), chart_lines(nothing, 80)) == (
        [],
        [],
        [],
        [],
    )
    out = " ".join(reach_lines(nothing, 80))
    assert "--cache-type q8_0" in out
    assert parse_need(out.partition("'")[2].rstrip("'")).parameters == 70_500_000_000


def test_layers_on_the_processor_are_said_to_be_there() -> None:
    """A model that fits only with a part of it on the processor does not simply fit."""
    said = verdict_sentence(planned("llama-3.1-70b", "nvidia-rtx-3060-12gb", quantization="Q4_K_M"))
    assert "fits with layers on the processor" in said


def test_an_encoder_reads_and_does_not_write() -> None:
    """No tokens a second of an answer, and the whole answer in place of a first token."""
    plan = planned("minilm-l6", "nvidia-l4", context_tokens=512, answer_tokens=0, is_embedding=True)
    assert "it reads about" in verdict_sentence(plan)
    assert [row[0] for row in speed_rows(plan)] == ["prompt", "whole answer of 512", "load from a cold disk"]


def pool(available: int, *terms: tuple[str, int]) -> PoolFit:
    made = tuple(Term(name, "host", size, False, "counted", "here") for name, size in terms)  # type: ignore[arg-type]
    return PoolFit("host", "host", sum(size for _, size in terms), available, available, made)


def test_a_bar_is_as_long_as_what_it_shows() -> None:
    """Shares of the width by kind, dots for what stays free, exclamation marks for what is missing."""
    assert bar(pool(100, ("weights", 50), ("kv cache", 25)), 20) == "█" * 10 + "▓" * 5 + "·" * 5
    assert bar(pool(50, ("weights", 100)), 20) == "█" * 10 + "!" * 10
    assert bar(pool(100, ("runtime", 100)), 10) == "░" * 10
    assert bar(pool(100), 10) == "·" * 10


def test_cards_that_are_filled_alike_stand_once() -> None:
    """Four equal cards are one line, with their count where their layers are the same in number."""
    lines = memory_lines(planned("llama-3.3-70b", "nvidia-l4", count=4), 80)
    cards = [line for line in lines if "NVIDIA L4" in line]
    assert 1 <= len(cards) < 4
    assert any("each of" in line for line in cards)


def test_the_table_marks_what_is_taken_and_says_what_others_lack() -> None:
    """One star; a quantization that does not fit says how many bytes it lacks instead of a speed."""
    rows = quantization_rows(planned("llama-3.1-8b", "nvidia-jetson-orin-nano-8gb"))
    assert sum(row[0].endswith(" *") for row in rows) == 1
    whole = next(row for row in rows if row[0] == "F16")
    assert whole[2].startswith("lacks ")
    assert whole[3] == "-"


def test_the_bill_adds_up_and_stands_beside_cloud_and_rent() -> None:
    """Rows of the bill sum up to owning; the cloud's price and renting follow, and sentences say who is cheaper."""
    plan = planned("llama-3.1-8b", "nvidia-rtx-4090", users=50, assumed="cloud_output=20 requests_per_user=400")
    rows = {row[0]: row for row in cost_rows(plan)}
    assert list(rows)[-3:] == ["owning", "the same in a cloud", "renting the machine"]
    assert plan.cost is not None
    assert plan.cost.bill is not None
    assert rows["owning"][1] == money(plan.cost.bill.total, "USD")
    said = " ".join(cost_sentences(plan, 200))
    assert "Owning is cheaper than the cloud from" in said
    assert "paid back against the cloud after" in said
    assert "longer than" not in said
    assumed = "cloud_output=20 requests_per_user=100 years=0.5"
    short = " ".join(cost_sentences(planned("llama-3.1-8b", "nvidia-rtx-4090", users=50, assumed=assumed), 200))
    assert re.search(r"against the cloud after 9\.\d months, longer than the 0\.5 years that it is to last\.", short)
    cheap = " ".join(cost_sentences(planned("llama-3.1-8b", "nvidia-rtx-4090"), 200))
    assert "never paid back against the cloud" in cheap


def test_a_load_beyond_the_machine_is_said_to_be_that() -> None:
    """Who expects more tokens a day than can be computed is told so."""
    plan = planned("llama-3.1-8b", "raspberry-pi-5-8gb", assumed="requests_per_user=100000", context_tokens=1024)
    assert "is more than the" in " ".join(cost_sentences(plan, 200))


def test_where_everything_is_free_there_is_no_chart() -> None:
    """Nothing can be drawn on a scale of powers of ten, and nothing breaks."""
    free = "kwh=0 upkeep_hours=0 upkeep_share=0 residual=1 cloud_input=0 cloud_output=0"
    assert chart_lines(planned("llama-3.1-8b", "nvidia-l4", assumed=free), 80) == []


def test_the_chart_has_both_curves_and_the_expected_load() -> None:
    """The cloud's curve rises through that of owning, where owning becomes cheaper."""
    chart = chart_lines(planned("llama-3.1-8b", "nvidia-rtx-4090", users=50, assumed="cloud_output=20"), 80)
    drawn = "\n".join(chart[1:-1])
    assert all(letter in drawn for letter in "oc|")
    top, bottom = chart[1], chart[-2]
    assert "c" in top
    assert top.rindex("c") > bottom.index("c")
    assert len({line.index("|") for line in chart[1:-1]}) == 1


def test_without_a_price_nothing_is_compared() -> None:
    """A device that nobody sells by list has no bill, no chart, and says why."""
    plan = planned("llama-3.1-8b", "nvidia-l4")
    bare = replace(plan.site.target, price_usd=None)
    unpriced = make_plan(plan.subject, Site(bare), Workload())
    assert "no price of it is known" in verdict_sentence(unpriced)
    assert chart_lines(unpriced, 80) == []
    assert "Without a price" in cost_sentences(unpriced, 80)[0]


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize(
    ("model", "device", "users"),
    [
        ("qwen3-235b-a22b", "amd-mi300x", 40),
        ("llama-3.1-70b", "nvidia-jetson-orin-nano-8gb", 200),
        ("bge-m3", "raspberry-pi-5-8gb", 1),
        ("gemma-3-27b", "apple-m4-max", 3),
    ],
)
def test_no_line_is_wider_than_asked(width: int, model: str, device: str, users: int) -> None:
    """Sentences, bars, licences, notes and charts, whatever is planned."""
    task = {"is_embedding": True, "answer_tokens": 0} if model == "bge-m3" else {}
    plan = planned(model, device, users=users, **task)
    lines = [
        *wrapped(verdict_sentence(plan), width),
        *memory_lines(plan, width),
        *reach_lines(plan, width),
        *licence_lines(plan, width),
        *note_lines(plan, width),
        *cost_sentences(plan, width),
        *chart_lines(plan, width),
    ]
    assert max(map(len, lines)) <= width


def test_everything_is_explained_with_its_source() -> None:
    """Each term of each memory has its formula and where that comes from; speed has its own lines."""
    plan = planned("qwen2.5-7b", "nvidia-l4", users=4)
    lines = explained_lines(plan)
    terms = [term for one in plan.fit.pools for term in one.terms]
    assert sum("; source: " in line for line in lines) == len(terms)
    assert plan.speed is not None
    assert set(plan.speed.explanation) <= set(lines)


def test_a_licence_that_waits_for_acceptance_names_the_command() -> None:
    """Conditions with their sections, where the text is, and what to type."""
    lines = " ".join(licence_lines(planned("llama-3.1-8b", "nvidia-l4"), 300))
    for words in (
        "allowed once accepted",
        "section 1.b.i",
        "https://",
        "undercroft licence accept llama3.1 --use commercial",
    ):
        assert words in lines


@pytest.mark.parametrize(
    ("value", "shown"), [(0.034, "0.03"), (0.5, "0.50"), (7.44, "7.4"), (32.4, "32"), (5828.2, "5,828")]
)
def test_numbers_have_as_many_digits_as_they_are_worth(value: float, shown: str) -> None:
    """Two below ten, whole above, thousands with commas."""
    assert number(value) == shown


def test_money_is_never_nothing_where_it_is_something() -> None:
    """Whole from 100 on, cents below, and as many digits as it takes below a cent."""
    assert [money(value, "EUR") for value in (1234.5, 12.345, 0.0, 0.00043)] == [
        "1,234 EUR",
        "12.35 EUR",
        "0.00 EUR",
        "0.00043 EUR",
    ]
