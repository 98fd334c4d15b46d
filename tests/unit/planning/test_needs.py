"""Needs: how they are read, and how everything is ranked for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.core.errors import InvalidError
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.fitting import Verdict
from undercroft.planning.forecasts import Workload
from undercroft.planning.needs import Need, parse_need
from undercroft.planning.plan import Site, Subject, make_plan
from undercroft.planning.ranking import Ranking, rank
from undercroft.planning.targets_of import is_computer, target_of_device

CATALOGUE, DEVICES, LICENCES = load_catalogue(), load_devices(), load_licences()
# Enough of both for every kind of reason, and few enough to try many needs.
MODELS = [
    CATALOGUE.find(name)
    for name in ("qwen2.5-0.5b", "qwen2.5-3b", "qwen2.5-7b", "llama-3.1-8b", "llama-3.3-70b", "minilm-l6", "bge-m3")
]
SOME = [
    DEVICES[name]
    for name in ("nvidia-l4", "nvidia-rtx-4090", "nvidia-jetson-orin-nano-8gb", "raspberry-pi-5-8gb", "nvidia-h100-sxm")
]


def ranked(need: Need) -> Ranking:
    return rank(MODELS, SOME, LICENCES, need)


@cache
def pairs(need: Need) -> frozenset[tuple[str, str]]:
    return frozenset((c.model.name, c.device.id) for c in ranked(need).candidates)


def test_a_need_is_read() -> None:
    """Every name with its unit, as the guide writes them."""
    text = "users=20, ttft=500ms, tps=15, languages=th;AR, licence=internal, budget=3kUSD, context=8k, power=300W"
    assert parse_need(text) == Need(
        users=20,
        first_token_seconds=0.5,
        tokens_per_second=15,
        languages=("th", "ar"),
        purpose="internal",
        budget_usd=3000,
        context_tokens=8192,
        power_watts=300,
    )
    assert parse_need("task=embed,parameters=100M,vendor=amd").parameters == 100_000_000
    assert parse_need("context=300").prompt_tokens == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("users", "expected name=value"),
        ("user=3", "nearest is 'users'"),
        ("users=many", "users: expected a count, such as 20"),
        ("users=0", "users: expected a count"),
        ("ttft=1h", "ttft: expected a time"),
        ("languages=thai", "language codes"),
        ("licence=stolen", "expected one of commercial"),
        ("budget=-5", "expected dollars"),
        ("users=1,users=2", "given twice"),
        ("prompt=8k,context=4k", "the context of a request has 4,096"),
        ("users=x,tps=y", "users: .*; tps: "),
    ],
)
def test_a_wrong_need_is_refused_with_what_was_expected(text: str, words: str) -> None:
    """Every problem has its sentence, and all come at once."""
    with pytest.raises(InvalidError, match=words):
        parse_need(text)


def test_the_cheapest_that_is_just_right_comes_first() -> None:
    """Prices only rise; of one price the larger model comes first; whatever has no list price comes last."""
    found = ranked(parse_need("users=4,tps=10,context=2k")).candidates
    prices = [c.cost.price if c.cost.price is not None else float("inf") for c in found]
    assert prices == sorted(prices)
    for candidate in found:
        assert candidate.pace.decode_user >= 10
        assert candidate.spare_ratio >= 0


def test_every_pair_is_either_a_candidate_or_has_its_reasons() -> None:
    """Nothing is silently left out, and the first reason is one of all."""
    found = ranked(parse_need("users=4,languages=th,budget=2000,context=8k,tps=8"))
    out = {(r.model, device.id) for r in found.rejections for device in SOME if r.device in ("", device.id)}
    inside = {(c.model.name, c.device.id) for c in found.candidates}
    assert out | inside == {(m.name, d.id) for m in MODELS for d in SOME}
    assert not out & inside
    assert all(rejection.reasons for rejection in found.rejections)
    assert sum(first for _, first, _ in found.grouped()) == len(out)


def test_reasons_say_what_failed() -> None:
    """Licence, language, context, task, memory, speed and money each speak for themselves."""
    found = ranked(parse_need("users=2,languages=ar,budget=3000,context=8k,tps=12,licence=commercial"))
    by_model = {r.model: dict(r.reasons) for r in found.rejections if not r.device}
    assert "does not cover commercial use" in by_model["qwen2.5-3b"]["licence"]
    assert by_model["minilm-l6"]["task"] == "it is for embed, not for chat"
    assert "8,192 are needed" in by_model["minilm-l6"]["context"]
    assert by_model["llama-3.1-8b"]["language"] == "its maker does not name ar"
    by_pair = {(r.model, r.device): dict(r.reasons) for r in found.rejections}
    assert "a second for each user" in by_pair["qwen2.5-7b", "raspberry-pi-5-8gb"]["tokens a second"]
    assert "costs" in by_pair["qwen2.5-7b", "nvidia-h100-sxm"].get("budget", "costs")


def test_a_candidate_holds_when_it_is_planned_by_itself() -> None:
    """The quick look of the ranking and the full plan agree that it fits, on each kind of device."""
    found = ranked(parse_need("users=4,context=4k,tps=5"))
    assert found.candidates
    for candidate in found.candidates:
        cards = 1 if is_computer(candidate.device) else candidate.count
        machines = candidate.count if is_computer(candidate.device) else 1
        plan = make_plan(
            Subject(candidate.model.name, candidate.model.shape),
            Site(target_of_device(candidate.device, cards), machines),
            Workload(quantization=candidate.quantization, context_tokens=4096),
            users=4,
        )
        assert plan.fit.verdict is Verdict.FITS, candidate
        assert plan.speed is not None
        assert plan.speed.decode_user.value == pytest.approx(candidate.pace.decode_user, rel=0.01)


NEEDS = st.builds(
    Need,
    users=st.sampled_from([1, 3, 20]),
    first_token_seconds=st.sampled_from([None, 0.2, 2.0]),
    tokens_per_second=st.sampled_from([None, 5.0, 40.0]),
    languages=st.sampled_from([(), ("th",), ("th", "ar")]),
    purpose=st.sampled_from(["commercial", "research"]),
    budget_usd=st.sampled_from([None, 500.0, 5000.0]),
    context_tokens=st.sampled_from([2048, 8192]),
    power_watts=st.sampled_from([None, 100.0, 900.0]),
    parameters=st.sampled_from([0, 3_000_000_000]),
)
RELAXED = st.sampled_from(
    [
        {"users": 1},
        {"first_token_seconds": None},
        {"tokens_per_second": None},
        {"languages": ()},
        {"budget_usd": None},
        {"power_watts": None},
        {"context_tokens": 2048},
        {"parameters": 0},
    ]
)


@settings(max_examples=30, deadline=None)
@given(need=NEEDS, relaxed=RELAXED)
def test_a_need_that_is_relaxed_never_loses_a_candidate(need: Need, relaxed: dict[str, object]) -> None:
    """Whatever satisfies a need satisfies one that asks for less."""
    assert pairs(need) <= pairs(replace(need, **relaxed))  # type: ignore[arg-type]
