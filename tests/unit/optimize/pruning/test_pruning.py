"""Which tensors stay, with which rows and columns, and what is refused; no model is run."""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.ggufs import write_embedding_model, write_expert_model
from tests.support.prunable import write_prunable
from tests.support.random_networks import RandomNetwork, write_random
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.optimize.pruning.changes import (
    TWO_OF_FOUR,
    Changes,
    Sparsity,
    kept_channels,
    kept_groups,
    most_important,
    muted_by,
)
from undercroft.optimize.pruning.pruning import check_can_prune, planned_bytes, prune_file
from undercroft.optimize.pruning.shapes import Shape, shape_of
from undercroft.optimize.pruning.writing import least_important
from undercroft.optimize.quantization.headers import Key, count_in, number_key, text_key, without_items
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.registry.inspection.gguf import GgufHeader, read_gguf

SHAPE = Shape("llama", 4, heads=8, kv_heads=2, key_values=4, value_values=4, channels=512, has_experts=False)
ONE_CUT = {block: np.arange(64) for block in range(4)}
ONE_GROUP = {block: np.asarray([1]) for block in range(4)}


def header(path: Path) -> GgufHeader:
    return read_gguf(path, path.name, with_tokens=False)


def tensors(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def unheard(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def inputs_of(path: Path) -> ImportanceMatrix:
    """As if every input had been seen, the later ones more."""
    sums = {
        tensor.name: np.linspace(1, 2, tensor.shape[0], dtype=np.float32)[None] ** 2
        for tensor in header(path).tensors
        if len(tensor.shape) == 2
    }
    return ImportanceMatrix(sums, {name: np.ones(1, np.float32) for name in sums})


def test_blocks_are_numbered_anew(tmp_path: Path) -> None:
    """What is left keeps its bytes and its order; counts and lists of the metadata follow; the size label goes."""
    model, made = write_prunable(tmp_path / "model.gguf", "qwen2"), tmp_path / "made.gguf"
    progress: list[tuple[int, int]] = []
    prune_file(
        model, made, Changes(dropped=frozenset({0, 2})), report=lambda done, total: progress.append((done, total))
    )
    before, after = tensors(model), tensors(made)
    assert header(made).integer("qwen2.block_count") == 2
    for name, tensor in after.items():
        source = name.replace("blk.1.", "blk.3.").replace("blk.0.", "blk.1.")
        assert tensor.data.tobytes() == before[source].data.tobytes(), name
    assert len(after) == len(before) - 2 * 12
    assert progress[-1][0] < progress[-1][1] == made.stat().st_size


def test_related_tensors_are_cut_together(tmp_path: Path) -> None:
    """Rows of what makes a channel or a head, columns of what carries it on, and biases; values stay as they were."""
    model, made = write_prunable(tmp_path / "model.gguf", "qwen3"), tmp_path / "made.gguf"
    channels = {block: np.arange(block, 128, 4) for block in range(4)}
    prune_file(model, made, Changes(channels=channels, groups=ONE_GROUP), report=unheard)
    before, after = tensors(model), tensors(made)
    for block in range(4):
        for name, rows, columns in (
            ("ffn_up", channels[block], slice(None)),
            ("ffn_gate", channels[block], slice(None)),
            ("ffn_down", slice(None), channels[block]),
            ("attn_q", slice(32, 64), slice(None)),
            ("attn_k", slice(16, 32), slice(None)),
            ("attn_v", slice(16, 32), slice(None)),
            ("attn_output", slice(None), slice(32, 64)),
        ):
            whole = f"blk.{block}.{name}.weight"
            assert np.array_equal(after[whole].data, before[whole].data[rows][:, columns]), whole
    found = header(made)
    keys = ("attention.head_count", "attention.head_count_kv", "attention.key_length", "feed_forward_length")
    assert [found.integer(f"qwen3.{key}") for key in keys] == [2, 1, 16, 32]


def test_biases_are_cut_with_their_rows(tmp_path: Path) -> None:
    """Of a file with biases of its channels; what was planned is as large as what is written."""
    model, made = tmp_path / "model.gguf", tmp_path / "made.gguf"
    write_random(model, RandomNetwork(blocks=2, rows=512, extra={"blk.0.ffn_up.bias": (512,)}))
    found = {"blk.0.ffn_up.bias": np.asarray([3, 5])}
    changes = Changes(channels={0: found["blk.0.ffn_up.bias"], 1: np.asarray([3, 5])})
    prune_file(model, made, changes, report=unheard)
    bias = tensors(made)["blk.0.ffn_up.bias"].data
    assert np.array_equal(bias, tensors(model)["blk.0.ffn_up.bias"].data[[3, 5]])
    assert planned_bytes(model, shape_of(header(model)), changes, allow_requantize=False) == made.stat().st_size


@pytest.mark.parametrize(("kind", "sparsity"), [("F32", TWO_OF_FOUR), ("BF16", Sparsity(0.25)), ("F16", Sparsity(0.5))])
def test_zeros_take_the_place_of_what_says_least(kind: str, sparsity: Sparsity, tmp_path: Path) -> None:
    """As many in every row, or of every four; the rest, and everything outside the blocks, stays to the bit."""
    model, made = write_prunable(tmp_path / "model.gguf", kind=kind, seed=3), tmp_path / "made.gguf"
    share = prune_file(model, made, Changes(sparsity=sparsity), importance=inputs_of(model), report=unheard)
    assert share == pytest.approx(sparsity.ratio, abs=0.01)
    assert made.stat().st_size == model.stat().st_size
    before, after = tensors(model), tensors(made)
    for name, tensor in after.items():
        old = gguf.quants.dequantize(before[name].data, before[name].tensor_type)
        new = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        is_gone = (new == 0) & (old != 0)
        assert np.array_equal(new[~is_gone], old[~is_gone])
        if name.startswith("blk.") and "norm" not in name:
            group = sparsity.group or new.shape[1]
            zeros = (new.reshape(-1, group) == 0).sum(axis=1)
            assert zeros.min() >= round(group * sparsity.ratio), name
        else:
            assert not is_gone.any()


def test_the_least_of_weight_times_input_goes() -> None:
    """A large weight of an input that is never seen goes before a small one of an input that always is."""
    weights = np.asarray([[9.0, 1.0, -3.0, 2.0], [1.0, 1.0, 1.0, 1.0]], np.float32)
    squares = np.asarray([0.0, 16.0, 1.0, 1.0], np.float32)
    assert least_important(weights, squares, TWO_OF_FOUR).tolist() == [
        [True, False, False, True],
        [True, False, True, False],
    ]
    assert least_important(weights, squares, Sparsity(0.25)).sum(axis=1).tolist() == [1, 1]
    assert (TWO_OF_FOUR.name, Sparsity(0.25).name) == ("2:4", "0.25")


def test_counts_fit_the_blocks_of_quantized_rows() -> None:
    """Multiples of the largest unit that leaves a choice; what would change nothing says what would."""
    assert [kept_channels(count, 0.75) for count in (4864, 512, 704, 11008, 100)] == [3584, 384, 512, 8192, 75]
    assert kept_channels(512, 0.001) == 64
    with pytest.raises(InvalidError, match=r"0\.99 of 512 channels are all of them") as refused:
        kept_channels(512, 0.99)
    assert refused.value.hint == "give ffn=0.88 or less"
    assert kept_groups(SHAPE, 0.5) == 1
    with pytest.raises(InvalidError, match="nothing-to-do") as refused:
        kept_groups(SHAPE, 0.9)
    assert refused.value.hint == "give heads=0.50 or less"


def test_the_most_important_stay_in_their_order() -> None:
    """Of equal ones the first; what is muted in their place is everything else."""
    assert most_important(np.asarray([1.0, 5.0, 5.0, 0.0, 7.0]), 3).tolist() == [1, 2, 4]
    muted = muted_by(Changes(dropped=frozenset({3}), channels={0: np.arange(511)}, groups={1: np.asarray([0])}), SHAPE)
    assert muted["blk.0.ffn_down.weight"] == [511]
    assert muted["blk.1.attn_output.weight"] == list(range(16, 32))
    assert len(muted["blk.3.attn_output.weight"]) == 32
    assert len(muted["blk.3.ffn_down.weight"]) == 512


def test_lists_of_a_header_lose_what_belongs_to_a_block() -> None:
    """Items go by their place; a number or a text is no list."""
    raw = b"\x09\0\0\0" + b"\x05\0\0\0" + (3).to_bytes(8, "little") + np.asarray([7, 8, 9], "<i4").tobytes()
    key = without_items(Key("heads", raw), {1})
    assert count_in(key) == 2
    assert key.raw.endswith(np.asarray([7, 9], "<i4").tobytes())
    assert count_in(number_key("a", 3)) is count_in(text_key("b", "c")) is None


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    """Other architectures with the list, all blocks, experts, unknown tensors, heads that llama.cpp would not load."""
    encoder = write_embedding_model(tmp_path / "encoder.gguf")
    with pytest.raises(InvalidError, match=r"'bert', expected one of llama, qwen2, qwen3 \(Mistral is llama\)"):
        check_can_prune(header(encoder), Changes(dropped=frozenset({0})))
    experts = header(write_expert_model(tmp_path / "experts.gguf"))
    assert check_can_prune(experts, Changes(dropped=frozenset({0}))).has_experts
    for changes in (Changes(channels=ONE_CUT), Changes(sparsity=TWO_OF_FOUR)):
        with pytest.raises(InvalidError, match="has experts"):
            check_can_prune(experts, changes)
    with pytest.raises(InvalidError, match=r"has 2 blocks, of which 2 cannot be dropped"):
        check_can_prune(experts, Changes(dropped=frozenset({0, 1})))
    odd = write_random(tmp_path / "odd.gguf", RandomNetwork(blocks=2, extra={"blk.0.attn_odd.weight": (4, 256)}))
    with pytest.raises(InvalidError, match=r"knows how tensor 'blk.0.attn_odd.weight' is cut"):
        check_can_prune(header(odd), Changes(channels=ONE_CUT))
    biased = write_random(tmp_path / "biased.gguf", RandomNetwork(blocks=2, extra={"blk.1.ffn_down.bias": (4,)}))
    with pytest.raises(InvalidError, match=r"'blk.1.ffn_down.bias' speaks even when the block is silent"):
        check_can_prune(header(biased), Changes(dropped=frozenset({0})))
    square = write_prunable(tmp_path / "square.gguf", "qwen2")
    with pytest.raises(InvalidError, match="whose heads together are as wide as their embeddings"):
        check_can_prune(header(square), Changes(groups=ONE_GROUP))
    with pytest.raises(InvalidError, match=r"rows of 'blk.0.attn_q.weight' have 64 weights, which are no groups of 7"):
        check_can_prune(header(square), Changes(sparsity=Sparsity(3 / 7, 7)))


def test_rounding_apart_has_to_be_meant(tmp_path: Path) -> None:
    """A quantized model loses blocks as it is; columns and zeros are refused, with the two ways out."""
    model, made = write_prunable(tmp_path / "model.gguf", kind="Q8_0"), tmp_path / "made.gguf"
    prune_file(model, made, Changes(dropped=frozenset({0})), report=unheard)
    assert {tensor.kind.name for tensor in header(made).tensors} == {"F32", "Q8_0"}
    with pytest.raises(RefusedError, match="is rounded to Q8_0 already") as refused:
        prune_file(model, made, Changes(channels=ONE_CUT), report=unheard)
    assert "--allow-requantize" in str(refused.value.hint)


def test_a_source_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    """The error names the file, and no unfinished one stays."""
    model = write_prunable(tmp_path / "model.gguf")
    model.write_bytes(model.read_bytes()[:-1024])
    with pytest.raises(InvalidError):
        prune_file(model, tmp_path / "made.gguf", Changes(dropped=frozenset({1})), report=unheard)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_values_are_counted(tmp_path: Path) -> None:
    """The forecast of a file is its size, whichever blocks will turn out to go."""
    model = write_prunable(tmp_path / "model.gguf")
    shape = shape_of(header(model))
    sizes = {
        planned_bytes(model, shape, Changes(dropped=frozenset({block})), allow_requantize=False) for block in range(4)
    }
    assert len(sizes) == 1
    assert math.isclose(sizes.pop(), model.stat().st_size * 0.76, rel_tol=0.1)
