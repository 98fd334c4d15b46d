"""Names of the fields of ``plan --json`` are pinned, and each stands in the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.cli.plan_json import plan_as_dict
from undercroft.cli.plan_lists import bounded, grouped, model_as_dict
from undercroft.cli.plan_money import explanation
from undercroft.cli.plan_request import Asked, Made, Surroundings, plan_for
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.planning.calibration import Kind, Pair, Quantity

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "plan-json.md").read_text(encoding="utf-8")
DOCUMENTED = {name.rsplit(".", 1)[-1].removesuffix("[]") for name in re.findall(r"`([a-z_.\[\]]+)`", PAGE)}
DOCUMENTED |= set(re.findall(r'"([a-z_]+)"', PAGE))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    around = Surroundings(Home(tmp_path / "home"), Settings(), None)
    return plan_for(Asked("llama-3.2-3b", device="nvidia-l4", users=2), around)


def names_of(data: Any) -> Iterator[str]:
    """Every key, at any depth."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from names_of(value)
    elif isinstance(data, list):
        for value in data:
            yield from names_of(value)


def test_every_field_stands_in_the_reference(made: Made) -> None:
    """A field that is added without a word in docs/reference/plan-json.md fails here."""
    assert set(names_of(plan_as_dict(made, explanation(made.plan)))) <= DOCUMENTED
    model = model_as_dict(load_catalogue().models[0])
    assert set(model) <= DOCUMENTED


def test_names_of_a_plan_are_stable(made: Made) -> None:
    """Whoever reads a plan in a program finds what was there before."""
    data = plan_as_dict(made, explanation(made.plan))
    assert " ".join(sorted(data)) == (
        "assumptions best_quantization cost explained largest_context_tokens licence machine memory model most_users "
        "notes quantizations sentence speed verdict workload"
    )
    assert " ".join(sorted(data["memory"]["pools"][0])) == (
        "available_bytes missing_bytes name needed_bytes pool terms total_bytes"
    )
    assert " ".join(sorted(data["quantizations"][0])) == (
        "decode_tokens_per_second divergence missing_bytes needed_bytes quality quantization verdict"
    )
    assert " ".join(sorted(data["speed"])) == (
        "decode_all_tokens_per_second decode_tokens_per_second decode_user_tokens_per_second first_token_seconds "
        "load_seconds prefill_tokens_per_second"
    )
    assert " ".join(sorted(data["cost"])) == (
        "busy_share capacity_tokens_per_day cloud_month currency even_cloud_months even_rent_months "
        "even_tokens_per_day month per_million_tokens per_million_tokens_full price rent_month requests_per_day "
        "tokens_per_day"
    )


def test_the_best_quantization_is_named_whatever_was_asked(tmp_path: Path) -> None:
    """F16 that does not fit leaves the best that does; where nothing fits there is none."""
    around = Surroundings(Home(tmp_path / "home"), Settings(), None)
    asked = Asked("llama-3.1-8b", device="jetson-orin-nano-8gb", quantization="F16")
    found = plan_as_dict(plan_for(asked, around), ())
    assert (found["verdict"], found["workload"]["quantization"]) == ("does not fit", "F16")
    assert found["best_quantization"] in {
        one["quantization"] for one in found["quantizations"] if one["verdict"] == "fits"
    }
    nothing = plan_as_dict(plan_for(Asked("llama-3.1-70b", device="jetson-orin-nano-8gb"), around), ())
    assert nothing["best_quantization"] is None


def test_bounds_are_told_where_nothing_else_says_more() -> None:
    """A measurement of which more was to come is told as one, until a whole one of the same quantity is there."""
    kind = Kind("llama.cpp", "EPYC", "qwen2", "Q8_0")
    part = Pair(kind, Quantity.PRIVATE_BYTES, 1e9, 1e9, 7e8)
    ((_, _, device, found),) = bounded([], [part])
    assert (device, found.measured, found.forecast) == ("EPYC", 7e8, 1e9)
    assert bounded([Pair(kind, Quantity.LOAD_SECONDS, 1.0, 1.0, 1.0)], [part]) != []
    assert bounded([Pair(kind, Quantity.PRIVATE_BYTES, 1e9, 1e9, 9e8)], [part]) == []


def test_accuracy_stands_by_engine_model_device_and_quantity() -> None:
    """Pairs of two devices are not mixed, and each has its own error before and after learning."""
    kinds = [Kind("llama.cpp", device, "qwen2", "Q8_0") for device in ("EPYC", "NVIDIA L4")]
    pairs = [Pair(kind, Quantity.DECODE_TOKENS, 20.0, 11.0, 10.0) for kind in kinds]
    pairs.append(Pair(kinds[0], Quantity.PRIVATE_BYTES, 1e9, 1e9, 1e9))
    found = grouped(pairs)
    assert [(device, str(one.quantity)) for _, _, device, one in found] == [
        ("EPYC", "private_bytes"),
        ("EPYC", "decode_tokens"),
        ("NVIDIA L4", "decode_tokens"),
    ]
    decode = found[1][3]
    assert (decode.median_before, decode.median_after) == (pytest.approx(1.0), pytest.approx(0.1))
