from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from benchmarks.random_model import Shape, write

TINY = Shape(width=64, blocks=2, heads=4, kv_heads=2, feed_forward=128, vocabulary=320, context_tokens=128)


def test_file_has_the_shape_that_was_asked_for(tmp_path: Path) -> None:
    """Blocks, heads and the number of weights are those of the shape; nothing half-written stays."""
    path = tmp_path / "tiny.gguf"
    write(path, TINY)
    reader = gguf.GGUFReader(path)
    weights = sum(int(tensor.n_elements) for tensor in reader.tensors if len(tensor.shape) == 2)
    assert weights == TINY.parameters
    assert reader.fields["llama.block_count"].contents() == 2
    assert reader.fields["llama.attention.head_count_kv"].contents() == 2
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == TINY.vocabulary
    assert {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) == 2} == {
        gguf.GGMLQuantizationType.Q8_0
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.gguf"]


def test_everybody_gets_the_same_file(tmp_path: Path) -> None:
    """The weights are seeded."""
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    write(one, TINY)
    write(other, TINY)
    assert one.read_bytes() == other.read_bytes()


def test_default_is_as_large_as_a_small_real_model() -> None:
    """Between 0.1 and 0.5 billion weights, so that a token takes milliseconds, as in real use."""
    assert 100_000_000 <= Shape().parameters <= 500_000_000
    assert Shape().parameters / 1e9 == pytest.approx(0.213, abs=0.001)
