"""The importance matrix is read and written as llama.cpp does, and refused where it belongs to another model."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.random_networks import RandomNetwork, random_importance, write_random
from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.importance import ImportanceMatrix, read_importance, write_importance

_NETWORK = RandomNetwork(blocks=2, experts=4)


def _ones(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ones(shape, np.float32)


def test_a_matrix_survives_its_file(tmp_path: Path) -> None:
    """Sums, counts, names of texts and sizes of pieces."""
    matrix = random_importance(_NETWORK)
    write_importance(tmp_path / "matrix.gguf", matrix)
    found = read_importance(tmp_path / "matrix.gguf")
    assert found.sums.keys() == matrix.sums.keys()
    for name in matrix.sums:
        assert np.array_equal(found.sums[name], matrix.sums[name])
        assert np.array_equal(found.counts[name], matrix.counts[name])
    assert (found.datasets, found.chunks, found.chunk_tokens) == (("random.txt",), 4, 100)


def test_the_file_is_in_order_for_the_owners_of_the_format(tmp_path: Path) -> None:
    """ggml-org's own reader finds the same names and shapes."""
    write_importance(tmp_path / "matrix.gguf", random_importance(_NETWORK))
    reader = gguf.GGUFReader(tmp_path / "matrix.gguf")
    tensors = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert tensors["blk.0.attn_q.weight.in_sum2"] == [256, 1]
    assert tensors["blk.1.ffn_down_exps.weight.counts"] == [1, 4]
    assert reader.fields["general.type"].contents() == "imatrix"


def test_a_weight_is_the_mean_square_of_an_input() -> None:
    """An expert that saw nothing treats all alike."""
    sums = np.array([[2.0, 8.0], [3.0, 3.0]], np.float32)
    matrix = ImportanceMatrix({"a": sums}, {"a": np.array([2.0, 0.0], np.float32)})
    weights = matrix.weights("a")
    assert weights is not None
    assert weights.tolist() == [[1.0, 4.0], [1.0, 1.0]]
    assert matrix.weights("b") is None


@pytest.mark.parametrize(
    ("sums", "counts", "problem"),
    [
        ({}, {}, "nothing of any tensor"),
        ({"a": _ones(1, 4)}, {}, "only one"),
        ({"a": _ones(1, 4)}, {"a": _ones(2)}, "shape"),
        ({"a": -_ones(1, 4)}, {"a": _ones(1)}, "negative"),
        ({"a": _ones(1, 4) * np.inf}, {"a": _ones(1)}, "infinite"),
    ],
)
def test_numbers_that_cannot_be_are_refused(sums: dict[str, object], counts: dict[str, object], problem: str) -> None:
    """Some of them would end the process inside the library."""
    with pytest.raises(InvalidError, match=problem):
        ImportanceMatrix(sums, counts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "tensor"),
    [
        ({"blk.0.attn_q.weight": (512, 4)}, "blk.0.attn_q.weight"),
        ({"blk.0.attn_k.weight": (256, 4)}, "blk.0.attn_q.weight"),
    ],
)
def test_a_matrix_of_another_model_is_refused_by_a_tensors_name(
    shapes: dict[str, tuple[int, ...]], tensor: str
) -> None:
    """Another width, and another set of tensors."""
    matrix = ImportanceMatrix({"blk.0.attn_q.weight": _ones(1, 256)}, {"blk.0.attn_q.weight": _ones(1)})
    with pytest.raises(InvalidError, match=tensor) as caught:
        matrix.check_fits(shapes)
    assert caught.value.code == "importance-does-not-fit"


def test_another_kind_of_file_is_no_matrix(tmp_path: Path) -> None:
    """A model is refused for what it is."""
    model = write_random(tmp_path / "model.gguf", RandomNetwork(blocks=1))
    with pytest.raises(InvalidError, match="type 'imatrix'"):
        read_importance(model)
