"""What a model loses without a part, before the part is cut away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.omissions import measure_omissions
from undercroft.optimize.measures.reading import Reading

READING = Reading(window_tokens=128, threads=1)
SECOND_BLOCK = {"blk.1.attn_output.weight": range(64), "blk.1.ffn_down.weight": range(128)}


def test_leaving_nothing_out_changes_nothing(models: dict[str, Path]) -> None:
    """No divergence at all; with a block left out there is some, and a few columns of it are less than all."""
    variations = [{}, SECOND_BLOCK, {"blk.1.ffn_down.weight": [3, 4]}]
    nothing, block, few = measure_omissions(models["chat"], [BIRDS], variations, READING)
    assert nothing.divergence_nats == 0
    assert nothing.perplexity == nothing.whole_perplexity == block.whole_perplexity
    assert block.divergence_nats > few.divergence_nats > 0
    assert block.perplexity != block.whole_perplexity


def test_experts_can_be_left_out_too(models: dict[str, Path]) -> None:
    """The inputs of all experts of a block count as one."""
    variations = [{"blk.0.ffn_down_exps.weight": range(128)}]
    (found,) = measure_omissions(models["experts"], [BIRDS], variations, READING, most_tokens=256)
    assert found.divergence_nats > 0
    assert 128 < found.tokens < 256


def test_a_muted_parent_is_another_model(models: dict[str, Path]) -> None:
    """Compared with itself without a block, a model has the divergence that the block is worth, the other way round."""
    same = measure_divergence(models["chat"], models["chat"], [BIRDS], READING)
    muted = measure_divergence(models["chat"], models["chat"], [BIRDS], READING, parent_muted=SECOND_BLOCK)
    assert same.mean_nats == 0
    assert muted.mean_nats > 0
    assert muted.model == same.model
    assert muted.parent != same.parent


def test_what_is_not_there_cannot_be_left_out(models: dict[str, Path]) -> None:
    """The name is in the error; texts without words are refused, too."""
    with pytest.raises(InvalidError, match=r"multiplies nothing by 'blk.7.attn_output.weight'"):
        measure_omissions(models["chat"], [BIRDS], [{"blk.7.attn_output.weight": [0]}], READING)
    with pytest.raises(InvalidError, match="text-too-short"):
        measure_omissions(models["chat"], ["a"], [{}], READING)
