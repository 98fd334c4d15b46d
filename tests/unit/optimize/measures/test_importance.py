"""The importance matrix is that of llama.cpp's own tool."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.importance import collect_importance
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.quantization.importance import read_importance, write_importance

REFERENCE = Path(__file__).parents[3] / "vectors/llama/experts-imatrix.gguf"
READING = Reading(window_tokens=256, threads=1)


def test_it_is_what_llama_imatrix_writes(models: dict[str, Path], tmp_path: Path) -> None:
    """llama-imatrix of the same release, -c 256, wrote the reference for this model of experts and this text."""
    found = collect_importance(models["experts"], [BIRDS], READING, datasets=["birds"])
    write_importance(tmp_path / "importance.gguf", found)
    ours, theirs = read_importance(tmp_path / "importance.gguf"), read_importance(REFERENCE)
    assert set(ours.sums) == set(theirs.sums)
    assert (ours.chunks, ours.chunk_tokens, ours.datasets) == (7, 256, ("birds",))
    for name, sums in theirs.sums.items():
        # A processor that rounds otherwise may send a token to another expert.
        tolerance = 0.02 if "_exps" in name else 0.001
        assert ours.counts[name] == pytest.approx(theirs.counts[name], rel=tolerance), name
        assert np.allclose(ours.sums[name], sums, rtol=5 * tolerance, atol=tolerance), name


def test_the_same_texts_give_the_same_matrix(models: dict[str, Path]) -> None:
    """Bit for bit, and whatever pieces the text came in."""
    whole = collect_importance(models["chat"], [BIRDS + "\n" + BIRDS], READING)
    parts = collect_importance(models["chat"], [BIRDS, BIRDS], READING)
    assert whole.chunks == parts.chunks > 7
    for name, sums in whole.sums.items():
        assert np.array_equal(sums, parts.sums[name])


def test_a_short_text_is_better_than_none(models: dict[str, Path]) -> None:
    """Less than a window is read as it is; less than 16 tokens are refused."""
    assert collect_importance(models["chat"], [BIRDS[:60]], READING).chunks == 1
    with pytest.raises(InvalidError, match="at least 16") as refused:
        collect_importance(models["chat"], ["a bird"], READING)
    assert refused.value.code == "text-too-short"


def test_an_encoder_is_read_between_its_marks(models: dict[str, Path]) -> None:
    """What reaches its first block is its embeddings, normalized: of a text of letters between beginning and end."""
    letters = "abcdefghijklmnopqrst"
    found = collect_importance(models["encoder"], [" ".join(letters)], READING)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(models["encoder"]).tensors}
    ids = [2, *(5 + number for number in range(len(letters))), 3]
    whole = tensors["token_embd.weight"][ids] + tensors["position_embd.weight"][: len(ids)]
    whole = whole + tensors["token_types.weight"][0]
    normal = (whole - whole.mean(axis=1, keepdims=True)) / whole.std(axis=1, keepdims=True)
    assert found.sums["blk.0.attn_q.weight"][0] == pytest.approx((normal**2).sum(axis=0), rel=1e-4)
    assert found.counts["blk.1.ffn_down.weight"].tolist() == [len(ids)]
