"""A ranking in words and rows."""

from __future__ import annotations

from functools import cache

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.cli.need_json import ranking_as_dict
from undercroft.cli.need_text import candidate_rows, legend_of, ranking_sentence, reason_rows
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.needs import parse_need
from undercroft.planning.ranking import Ranking, rank

CATALOGUE, LICENCES, DEVICES = load_catalogue(), load_licences(), load_devices()


@cache
def ranked(need: str) -> Ranking:
    models = [CATALOGUE.find(name) for name in ("llama-3.2-3b", "qwen2.5-7b", "smollm2-135m", "minilm-l6")]
    devices = [DEVICES[id] for id in ("nvidia-l4", "nvidia-jetson-orin-nano-8gb", "google-tpu-v5e", "apple-m1")]
    return rank(models, devices, LICENCES, parse_need(need))


def test_the_cheapest_comes_first_with_its_price() -> None:
    """The sentence counts the pairs and names model, quantization, device and price of the first one."""
    found = ranked("users=2,parameters=1B")
    said = ranking_sentence(found)
    best = found.candidates[0]
    assert said.startswith(f"{len(found.candidates)} of 16 pairs of 4 models and 4 devices satisfy")
    assert f"{best.model.name} in {best.quantization} on {best.device.id}, 249 USD" in said
    assert candidate_rows(found.candidates)[0][2] == "249"


def test_a_licence_to_accept_has_a_star_that_is_explained() -> None:
    """Only where there is one."""
    found = ranked("users=2,parameters=1B")
    rows = candidate_rows(found.candidates)
    assert any(row[0].startswith("llama-3.2-3b* ") for row in rows)
    assert "* its licence has to be accepted" in legend_of(found.candidates, "USD")
    free = [one for one in found.candidates if not one.needs_acceptance]
    assert "*" not in legend_of(free, "USD")


def test_another_engine_is_named() -> None:
    """What only vLLM does says so in its row, and the legend explains it."""
    found = ranked("users=2,parameters=1B")
    other = [one for one in found.candidates if one.engine == "vllm"]
    assert {one.device.id for one in other} == {"google-tpu-v5e"}
    assert candidate_rows(other)[0][0].endswith(" vllm")
    assert "vllm: with that engine" in legend_of(found.candidates, "USD")
    assert "vllm" not in legend_of([one for one in found.candidates if one.engine != "vllm"], "USD")


def test_where_nothing_does_it_is_said_what_to_ask_less_of() -> None:
    """The most frequent reasons with their counts, and names of the need that can be loosened."""
    found = ranked("users=2,budget=1USD")
    said = ranking_sentence(found)
    assert said.startswith("None of 16 pairs")
    assert "budget (" in said
    assert "Ask for less of one: " in said
    assert "(0)" not in ranking_sentence(ranked("users=2,languages=xx"))
    assert not found.candidates


def test_every_pair_is_counted_once_as_done_or_as_rejected() -> None:
    """First reasons of all that do not do and all that do sum up to every pair."""
    found = ranked("users=2,parameters=1B")
    first = sum(int(row[1].replace(",", "")) for row in reason_rows(found))
    assert first + len({(one.model.name, one.device.id) for one in found.candidates}) == 16


def test_fields_of_the_json_are_stable() -> None:
    """Programs find the same names in every ranking."""
    need = parse_need("users=2,parameters=1B")
    found = ranked("users=2,parameters=1B")
    data = ranking_as_dict(found, need, found.candidates[:2])
    assert set(data) == {
        "sentence",
        "assumed",
        "models",
        "devices",
        "candidates",
        "candidates_in_all",
        "rejections",
        "reasons",
    }
    assert set(data["candidates"][0]) == {
        "model",
        "engine",
        "quantization",
        "device",
        "count",
        "price",
        "month",
        "currency",
        "decode_user_tokens_per_second",
        "first_token_seconds",
        "needs_acceptance",
        "spare_ratio",
    }
    assert (len(data["candidates"]), data["candidates_in_all"]) == (2, len(found.candidates))
    assert set(data["rejections"][0]["reasons"][0]) == {"kind", "sentence"}
