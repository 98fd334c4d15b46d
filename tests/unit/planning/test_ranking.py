"""Rankings: who is out and why, who comes first, and that a candidate is what a plan of it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.core.errors import InvalidError
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.cost import Cost
from undercroft.planning.fitting import Verdict, fit_of
from undercroft.planning.memory import forecast_memory
from undercroft.planning.needs import Need, parse_need
from undercroft.planning.plan import Plan, Site, Subject, make_plan
from undercroft.planning.ranking import Candidate, Ranking, rank
from undercroft.planning.sketches import QUANTIZATIONS, workload_of
from undercroft.planning.speed import pace_of
from undercroft.planning.targets import Target
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
ISSUE = "users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD"


@cache
def ranked(need: Need) -> Ranking:
    return rank(MODELS, SOME, LICENCES, need)


@cache
def whole(text: str) -> Ranking:
    return rank(CATALOGUE.models, list(DEVICES.values()), LICENCES, parse_need(text))


def pairs(found: Ranking) -> set[tuple[str, str]]:
    return {(c.model.name, c.device.id) for c in found.candidates}


def price_of(candidate: Candidate) -> float:
    return candidate.cost.price if candidate.cost.price is not None else float("inf")


def target_for(candidate: Candidate) -> Target:
    return target_of_device(candidate.device, 1 if is_computer(candidate.device) else candidate.count)


def slots_of(candidate: Candidate, need: Need) -> int:
    return -(-need.users // candidate.count) if is_computer(candidate.device) else need.users


def plan_of(candidate: Candidate, need: Need) -> Plan:
    """As somebody would plan the candidate by itself."""
    machines = candidate.count if is_computer(candidate.device) else 1
    rent = candidate.device.rent.usd * candidate.count / machines if candidate.device.rent is not None else None
    return make_plan(
        Subject(candidate.model.name, candidate.model.shape),
        Site(target_for(candidate), machines, rent),
        workload_of(need, candidate.quantization, 1, candidate.engine),
        users=need.users,
    )


def reasons(found: Ranking) -> dict[tuple[str, str], Mapping[str, str]]:
    return {(one.model, one.device): dict(one.reasons) for one in found.rejections}


def test_the_need_of_the_issue_has_an_answer() -> None:
    """20 users, Thai and Arabic, 3,000 dollars: whatever is named satisfies all of it, the cheapest first."""
    found = whole(ISSUE).candidates
    assert found
    assert [price_of(c) for c in found] == sorted(price_of(c) for c in found)
    for candidate in found:
        assert price_of(candidate) <= 3000
        assert candidate.pace.decode_user >= 15
        assert candidate.pace.first_token <= 1
        assert {candidate.model.language_support(code) for code in ("th", "ar")} <= {"official", "usable"}
        assert candidate.spare_ratio >= 0


def test_of_one_price_the_larger_model_comes_first_and_no_price_last() -> None:
    """What costs the same is sorted by parameters; a device without a list price never goes before one with."""
    found = whole("users=4,context=2k").candidates
    keys = [(price_of(c), -(c.model.shape.parameters)) for c in found if c.model.shape.parameters]
    assert keys == sorted(keys)
    assert price_of(found[-1]) == float("inf")


@pytest.mark.parametrize(
    "text", [ISSUE, "users=1", "task=embed,users=3,languages=th", "users=200,power=3kW,vendor=amd"]
)
def test_every_pair_is_either_a_candidate_or_has_its_reasons(text: str) -> None:
    """Nothing is silently left out, nothing is in twice, and the groups add up to all pairs that are out."""
    found = whole(text)
    out = [
        (one.model, device) for one in found.rejections for device in ([one.device] if one.device else list(DEVICES))
    ]
    inside = [(c.model.name, c.device.id) for c in found.candidates]
    assert sorted(out + inside) == sorted((m.name, device) for m in CATALOGUE.models for device in DEVICES)
    assert all(one.reasons and all(words for _, words in one.reasons) for one in found.rejections)
    groups = found.grouped()
    assert sum(first for _, first, _ in groups) == len(out)
    assert all(first <= every <= len(out) for _, first, every in groups)


def test_reasons_say_what_failed_with_both_numbers() -> None:
    """Licence, language, context, task, size, memory, speed and money each speak for themselves."""
    found = reasons(ranked(parse_need("users=2,languages=ar,budget=3000,context=8k,tps=12,parameters=1B")))
    assert "does not cover commercial use" in found["qwen2.5-3b", ""]["licence"]
    assert found["minilm-l6", ""]["task"] == "it is for embed, not for chat"
    assert found["minilm-l6", ""]["context"] == "made for 512 tokens, 8,192 are needed"
    assert found["llama-3.1-8b", ""]["language"] == "its maker does not name ar"
    assert found["qwen2.5-0.5b", ""]["size"] == "0.49 B parameters, 1 B are needed"
    assert "a second for each user, 12 are needed" in found["qwen2.5-7b", "raspberry-pi-5-8gb"]["tokens a second"]
    assert "3,000 are there" in found["qwen2.5-7b", "nvidia-l4"]["budget"]
    first = reasons(ranked(parse_need("ttft=50ms,tps=any,power=20W,vendor=other")))
    assert "0.05 s are wanted" in first["llama-3.1-8b", "raspberry-pi-5-8gb"]["first token"]
    assert "lacks" in first["llama-3.3-70b", "raspberry-pi-5-8gb"]["memory"]
    assert first["qwen2.5-7b", "nvidia-l4"]["vendor"] == "made by nvidia"
    assert first["qwen2.5-7b", "nvidia-l4"]["power"] == "takes 222 W"


def test_a_licence_that_ends_at_many_users_is_out_beyond_them() -> None:
    """Llama's licence ends at 700 million monthly users; below it has to be accepted, Apache's never ends."""
    few = ranked(parse_need("users=2,monthly=600M"))
    assert {c.needs_acceptance for c in few.candidates if c.model.name == "llama-3.1-8b"} == {True}
    many = ranked(parse_need("users=2,monthly=800M"))
    out = reasons(many)
    assert "ends at 700,000,000 monthly users" in out["llama-3.1-8b", ""]["licence"]
    assert {c.needs_acceptance for c in many.candidates} == {False}
    at_once = reasons(ranked(parse_need("users=800M")))
    assert "800,000,000 are declared" in at_once["llama-3.1-8b", ""]["licence"]


def test_a_research_licence_is_for_research() -> None:
    """Qwen 2.5 3B is out for commercial use and in for research."""
    assert not any(c.model.name == "qwen2.5-3b" for c in ranked(parse_need("licence=commercial")).candidates)
    assert any(c.model.name == "qwen2.5-3b" for c in ranked(parse_need("licence=research")).candidates)


def test_a_budget_in_another_currency_counts_at_its_rate() -> None:
    """What 3,000 dollars buy is what 2,760 euros buy at 0.92, in the costs' own currency."""
    euros = Assumptions(currency="EUR", dollar_rate=0.92)
    found = rank(MODELS, SOME, LICENCES, parse_need("users=2,budget=2760.001EUR"), euros)
    assert pairs(found) == pairs(ranked(parse_need("users=2,budget=3000USD")))
    assert {c.cost.currency for c in found.candidates} == {"EUR"}
    with pytest.raises(InvalidError, match="unknown-currency"):
        ranked(parse_need("users=2,budget=2760EUR"))


def test_a_model_of_a_named_size_counts_as_that_size() -> None:
    """Gemma 3 1B has 999,885,952 parameters and is one of 1B; SmolLM2 360M is not."""
    names = {c.model.name for c in whole("users=1").candidates}
    assert "gemma-3-1b" in names
    assert not names & {"smollm2-135m", "smollm2-360m", "gemma-3-270m"}
    assert "smollm2-360m" in {c.model.name for c in whole("users=1,parameters=any").candidates}


def test_passages_of_usual_length_are_enough_for_an_encoder() -> None:
    """Without a context, encoders that were made for 512 tokens are candidates, and those to be tuned are apart."""
    embedding = {c.model.name for c in whole("task=embed,users=3,languages=th").candidates}
    assert {"multilingual-e5-small", "bge-m3"} <= embedding
    assert "bert-base-multilingual" in {c.model.name for c in whole("task=encode,languages=th").candidates}


EVERY_CANDIDATE = (
    ISSUE,
    "users=20,tps=10,vendor=nvidia",
    "users=3,context=64k,parameters=20B",
    "users=50,languages=zh,power=800W,parameters=any",
    "task=embed,users=8,context=512",
)


@pytest.mark.parametrize("text", EVERY_CANDIDATE)
def test_the_quick_look_and_the_forecast_agree_on_every_candidate(text: str) -> None:
    """Whatever is ranked fits by the full forecast, with the same memory to spare and at the same pace."""
    need, found = parse_need(text), whole(text).candidates
    assert len(found) > 20
    targets = {(c.device.id, c.count): target_for(c) for c in found}
    for candidate in found:
        target, shape = targets[candidate.device.id, candidate.count], candidate.model.shape
        workload = workload_of(need, candidate.quantization, slots_of(candidate, need), candidate.engine)
        memory = forecast_memory(shape, workload, target)
        fit = fit_of(memory, target, shape.layers)
        assert fit.verdict is Verdict.FITS, candidate
        fullest = max(pool.needed_bytes / pool.available_bytes for pool in fit.pools)
        assert candidate.spare_ratio == pytest.approx(1 - fullest, abs=0.001), candidate
        assert candidate.pace == pace_of(shape, workload, target, memory.gpu_layers), candidate


@pytest.mark.parametrize("text", EVERY_CANDIDATE)
def test_a_plan_of_the_cheapest_on_twelve_devices_says_the_same(text: str) -> None:
    """Verdict, pace and money of the full plan are those of the ranking, and satisfy the need."""
    need = parse_need(text)
    first = {c.device.id: c for c in reversed(whole(text).candidates)}
    for candidate in list(first.values())[-12:]:
        plan = plan_of(candidate, need)
        assert plan.fit.verdict is Verdict.FITS, candidate
        assert plan.speed is not None
        assert plan.speed.decode_user.value == pytest.approx(candidate.pace.decode_user)
        assert plan.speed.decode_user.value >= (need.tokens_per_second or 0)
        assert plan.speed.first_token.value == pytest.approx(candidate.pace.first_token)
        assert plan.speed.first_token.value <= (need.first_token_seconds or 1e9)
        assert plan.cost is not None
        assert money_of(plan.cost) == pytest.approx(money_of(candidate.cost))


LARGE = "users=1000,tps=10,ttft=10s,context=2k,prompt=512,answer=256,parameters=3B"


def test_a_thousand_users_find_an_answer_with_vllm() -> None:
    """Where llama.cpp computes too slowly for so many at once, large cards do with vLLM, and a plan says the same."""
    need = parse_need(LARGE)
    found = [c for c in whole(LARGE).candidates if c.engine == "vllm"]
    assert {"nvidia-h100-sxm", "nvidia-h200"} <= {c.device.id for c in found}
    for candidate in found[:6] + found[-6:]:
        plan = plan_of(candidate, need)
        assert plan.fit.verdict is Verdict.FITS, candidate
        assert plan.speed is not None
        assert plan.speed.decode_user.value == pytest.approx(candidate.pace.decode_user)
        assert plan.speed.decode_user.value >= 10


def test_vllm_is_tried_where_it_is_well_trodden_and_in_what_a_device_multiplies() -> None:
    """No adventure is ranked; FP8 only where a device has it; AWQ only on cards with kernels for it."""
    found = [c for text in (LARGE, "users=1") for c in whole(text).candidates if c.engine == "vllm"]
    assert {c.device.engines["vllm"] for c in found} <= {"well-trodden", "works"}
    assert all("fp8" in c.device.tflops for c in found if c.quantization == "FP8")
    assert {c.device.vendor for c in found if c.quantization == "AWQ"} <= {"nvidia", "amd"}
    assert all(c.model.shape.heads % c.count == 0 for c in found if not is_computer(c.device))
    assert any(c.device.id == "google-tpu-v6e" for c in found)


def test_a_reason_names_the_engine_that_failed() -> None:
    """Both engines say why where both were tried; where none runs, that is the reason."""
    found = reasons(rank(MODELS, list(DEVICES.values()), LICENCES, parse_need("users=1000,tps=200")))
    said = found["llama-3.3-70b", "nvidia-l4"]["memory"]
    assert re.fullmatch(r"llama\.cpp: .*IQ4_XS lacks .*; vllm: .*AWQ lacks .*", said)
    assert found["qwen2.5-7b", "raspberry-pi-5-8gb"]["memory"].startswith("llama.cpp: ")
    assert "llama.cpp does not run on it and neither does vllm" in found["qwen2.5-7b", "amd-xdna2-npu"]["engine"]


def money_of(cost: Cost) -> dict[str, float | None]:
    """All that a buyer would look at, as far as it is known."""
    return {
        "price": cost.price,
        "month": cost.bill.total if cost.bill is not None else None,
        "rent": cost.rent_month,
        "cloud": cost.cloud_month,
        "million": cost.per_million,
        "busy": cost.busy_share,
        "even": cost.even_tokens_per_day,
    }


def test_what_is_out_for_memory_does_not_fit_by_the_forecast() -> None:
    """Where memory alone speaks against a pair, no quantization fits whole on what one may buy of it."""
    need = parse_need("users=4,context=16k,tps=any,ttft=any")
    out = [one for one in ranked(need).rejections if [kind for kind, _ in one.reasons] == ["memory"]]
    assert out
    for one in out:
        device, shape = DEVICES[one.device], CATALOGUE.find(one.model).shape
        for quantization in QUANTIZATIONS:
            count = 1 if is_computer(device) else 8
            slots = 1 if is_computer(device) else 4
            target = target_of_device(device, count)
            memory = forecast_memory(shape, workload_of(need, quantization, slots), target)
            assert fit_of(memory, target, shape.layers).verdict is not Verdict.FITS, (one, quantization)


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
    assert pairs(ranked(need)) <= pairs(ranked(replace(need, **relaxed)))  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(need=NEEDS, budget=st.integers(50, 20_000), more=st.integers(0, 20_000))
def test_a_larger_budget_never_makes_the_cheapest_dearer(need: Need, budget: int, more: int) -> None:
    """The price of the first one with more money is that with less; there may be more of them."""
    small, large = (ranked(replace(need, budget_usd=float(money))) for money in (budget, budget + more))
    assert pairs(small) <= pairs(large)
    if small.candidates:
        assert price_of(large.candidates[0]) == price_of(small.candidates[0])
