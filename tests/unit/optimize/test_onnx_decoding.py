"""Tests of `undercroft.optimize.onnx.decoding`: what of a made decoder passes."""

from __future__ import annotations

from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.onnx.decoding import (
    DECODER_TYPES,
    DecoderType,
    check_answers,
    check_expectations,
    check_made,
)


def said(mean_nats: float, noise_nats: float = 2.0, tokens: int = 100) -> dict[str, Any]:
    """What the program that compares says."""
    return {
        "tokens": tokens, "same_top": 0.9, "mean_nats": mean_nats, "largest_nats": 2 * mean_nats,
        "noise_nats": noise_nats, "source_nats": 3.0, "result_nats": 3.0,
    }  # fmt: skip


def answer(*tokens: int, margin: float = 1.0, logprob: float = -0.5) -> dict[str, Any]:
    """A greedy answer."""
    count = len(tokens)
    return {"prompt": [1, 2], "tokens": list(tokens), "logprobs": [logprob] * count, "margins": [margin] * count}


@pytest.mark.parametrize(
    ("weight_type", "matrices", "blocks"),
    [("f32", {"32": 9}, []), ("int8", {"8": 9}, [32]), ("int4", {"4": 6, "8": 3}, [32]), ("int4", {"4": 9}, [32])],
)
def test_what_was_asked_of_the_builder_passes(
    weight_type: DecoderType, matrices: dict[str, int], blocks: list[int]
) -> None:
    """Four bits may come with some matrices of eight, as the mix has it."""
    check_made(matrices, blocks, weight_type)


@pytest.mark.parametrize(
    ("weight_type", "matrices", "blocks"),
    [
        ("int4", {"8": 9}, [32]),
        ("int4", {"4": 6, "32": 1}, [32]),
        ("int4", {"4": 9}, [128]),
        ("int8", {"4": 9}, [32]),
        ("f32", {"4": 9}, [32]),
        ("int4", {}, []),
    ],
)
def test_what_the_builder_ignored_is_found(
    weight_type: DecoderType, matrices: dict[str, int], blocks: list[int]
) -> None:
    """Other bits, other blocks, matrices that were left out: none of it gets a name."""
    with pytest.raises(InvalidError) as refused:
        check_made(matrices, blocks, weight_type)
    assert refused.value.code == "not-as-asked"


@pytest.mark.parametrize(("weight_type", "most"), [("f32", 0.001), ("int8", 0.1), ("int4", 0.5)])
def test_each_type_has_its_distance(weight_type: DecoderType, most: float) -> None:
    """As far as it may be and no further; a result that is no number never passes."""
    assert check_expectations(said(most), weight_type).mean_nats == most
    for wrong in (most * 1.01, float("nan"), float("inf")):
        with pytest.raises(InvalidError, match="not its source"):
            check_expectations(said(wrong), weight_type)


@pytest.mark.parametrize("weight_type", DECODER_TYPES)
def test_noise_does_not_pass(weight_type: DecoderType) -> None:
    """Half as far away as a model that reads nothing is too far, however near that is; so is nothing compared."""
    with pytest.raises(InvalidError, match="nearly noise"):
        check_expectations(said(0.0006, noise_nats=0.001), weight_type)
    with pytest.raises(InvalidError):
        check_expectations(said(0.0, tokens=0), weight_type)


def test_greedy_answers_have_to_be_the_same() -> None:
    """Token by token, unless the source itself could hardly choose."""
    assert check_answers([answer(5, 6)], [answer(5, 6)]).same == 2
    check_answers([answer(5, 6, margin=0.001)], [answer(5, 7)])
    with pytest.raises(InvalidError, match="1 of 2 tokens"):
        check_answers([answer(5, 6)], [answer(5, 7)])
    with pytest.raises(InvalidError):
        check_answers([answer(5, 6)], [answer(5, 6, logprob=-0.9)])
