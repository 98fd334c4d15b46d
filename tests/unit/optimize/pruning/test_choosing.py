"""What matters least is found by running the model, and what is left computes what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prunable import write_prunable
from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.pruning.changes import Changes, muted_by
from undercroft.optimize.pruning.choosing import choose_blocks, choose_width, collect
from undercroft.optimize.pruning.pruning import prune_file
from undercroft.optimize.pruning.shapes import shape_of
from undercroft.registry.inspection.gguf import read_gguf

TEXT = BIRDS[:700]
READING = Reading(threads=1, window_tokens=128)


def unheard(done: int, total: int, note: str = "") -> None:
    """Progress that nobody looks at."""


def test_the_block_that_does_nothing_goes_first(tmp_path: Path) -> None:
    """It is found by its divergence of nothing, without it every log-probability is the same, and then another goes."""
    model = write_prunable(tmp_path / "model.gguf", silent_block=2)
    shape = shape_of(read_gguf(model, "model", with_tokens=False))
    first, second = choose_blocks(model, [TEXT], shape, 2, threads=1, report=unheard)
    assert (first.block, first.divergence_nats) == (2, 0.0)
    assert set(first.candidates) == {0, 1, 2, 3}
    assert set(second.candidates) == {0, 1, 3}
    assert second.divergence_nats == min(second.candidates.values()) > 0
    made = tmp_path / "made.gguf"
    prune_file(model, made, Changes(dropped=frozenset({2})), report=unheard)
    assert measure_divergence(made, model, [TEXT], READING).maximum_nats == 0
    both = Changes(dropped=frozenset({first.block, second.block}))
    prune_file(model, made, both, report=unheard)
    found = measure_divergence(made, model, [TEXT], READING, parent_muted=muted_by(both, shape))
    assert found.maximum_nats < 1e-6
    assert shape_of(read_gguf(made, "made", with_tokens=False)).blocks == 2


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_what_says_nothing_is_cut_first(architecture: str, tmp_path: Path) -> None:
    """Silent channels and the silent head go together with all of their tensors, and the model says the same."""
    model = write_prunable(tmp_path / "model.gguf", architecture, silent_channels=32, silent_group=1)
    shape = shape_of(read_gguf(model, "model", with_tokens=False))
    matrix = collect(model, [TEXT], threads=1, report=unheard)
    changes = choose_width(model, shape, matrix, channels_ratio=0.75, heads_ratio=0.5)
    assert [channels.tolist()[:16] for channels in changes.channels.values()] == [list(range(1, 33, 2))] * 4
    assert [groups.tolist() for groups in changes.groups.values()] == [[0]] * 4
    made = tmp_path / "made.gguf"
    prune_file(model, made, changes, report=unheard)
    assert measure_divergence(made, model, [TEXT], READING).mean_nats < 1e-6
    cut = shape_of(read_gguf(made, "made", with_tokens=False))
    assert (cut.channels, cut.heads, cut.kv_heads, cut.value_values) == (96, 2, 1, shape.value_values)


def test_a_quantized_model_is_opened_only_where_it_must_be(tmp_path: Path) -> None:
    """Rows of Q8_0 are cut as they stand, columns become F16; what the file then says is what was measured."""
    model = write_prunable(tmp_path / "model.gguf", "qwen2", kind="Q8_0")
    shape = shape_of(read_gguf(model, "model", with_tokens=False))
    matrix = collect(model, [TEXT], threads=1, report=unheard)
    changes = choose_width(model, shape, matrix, channels_ratio=0.5, heads_ratio=None)
    made = tmp_path / "made.gguf"
    prune_file(model, made, changes, allow_requantize=True, report=unheard)
    kinds = {tensor.name: tensor.kind.name for tensor in read_gguf(made, "made", with_tokens=False).tensors}
    assert {kinds[f"blk.0.{name}.weight"] for name in ("attn_q", "ffn_up", "ffn_gate")} == {"Q8_0"}
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    found = measure_divergence(made, model, [TEXT], READING, parent_muted=muted_by(changes, shape))
    assert found.mean_nats < 2e-3
    assert found.mean_nats < measure_divergence(made, model, [TEXT], READING).mean_nats / 10


def test_texts_have_to_say_something(tmp_path: Path) -> None:
    """A text of one token weighs no block."""
    model = write_prunable(tmp_path / "model.gguf", layers=2)
    shape = shape_of(read_gguf(model, "model", with_tokens=False))
    with pytest.raises(InvalidError, match="text-too-short"):
        choose_blocks(model, ["a"], shape, 1, threads=1, report=unheard)
