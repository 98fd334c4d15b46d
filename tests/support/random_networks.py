"""Models with random weights in the shapes of real architectures, made to be quantized and not to be run.

Columns, names and numbers of blocks are those that a quantizer looks at; rows are few, so that a model of 80 blocks
takes a megabyte. Seeded, with a generator that gives the same numbers everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from undercroft.optimize.quantization.importance import ImportanceMatrix

Shape = tuple[int, ...]

_TYPES = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
}


@dataclass(frozen=True, slots=True)
class RandomNetwork:
    """What to make.

    Args:
        architecture: ``general.architecture``.
        blocks: Count.
        width: Columns of most matrices.
        feed_forward: Columns of the matrix that comes back from the feed-forward part.
        heads: Query heads; count.
        kv_heads: Key/value heads; count.
        experts: Count; 0 for a dense model.
        is_tied: Whether input and output embeddings are one tensor.
        is_fused: Whether queries, keys and values are one matrix.
        kind: Of the matrices: F32, F16, BF16, Q8_0.
        rows: Of each matrix.
        extra: Further tensors; name → sizes, outermost first.
    """

    architecture: str = "llama"
    blocks: int = 16
    width: int = 256
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 2
    experts: int = 0
    is_tied: bool = False
    is_fused: bool = False
    kind: str = "F16"
    rows: int = 4
    extra: Mapping[str, Shape] = field(default_factory=dict)

    def matrices(self) -> Iterator[tuple[str, Shape]]:
        """Names and sizes, outermost first."""
        yield "token_embd.weight", (2 * self.rows, self.width)
        if not self.is_tied:
            yield "output.weight", (2 * self.rows, self.width)
        stack = (self.experts,) if self.experts else ()
        suffix = "_exps" if self.experts else ""
        for block in range(self.blocks):
            names = ("attn_qkv",) if self.is_fused else ("attn_q", "attn_k", "attn_v")
            for name in (*names, "attn_output"):
                yield f"blk.{block}.{name}.weight", (self.rows, self.width)
            if self.experts:
                yield f"blk.{block}.ffn_gate_inp.weight", (self.experts, self.width)
            for name in ("ffn_gate", "ffn_up"):
                yield f"blk.{block}.{name}{suffix}.weight", (*stack, self.rows, self.width)
            yield f"blk.{block}.ffn_down{suffix}.weight", (*stack, self.rows, self.feed_forward)
        yield from self.extra.items()


def write_random(path: Path, network: RandomNetwork, *, seed: int = 1) -> Path:
    """Writes a model.

    Args:
        path: Where to.
        network: What.
        seed: Of the weights.
    """
    writer = gguf.GGUFWriter(path, network.architecture)
    writer.add_name("random")
    writer.add_context_length(64)
    writer.add_embedding_length(network.width)
    writer.add_block_count(network.blocks)
    writer.add_feed_forward_length(network.feed_forward)
    writer.add_head_count(network.heads)
    writer.add_head_count_kv(network.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(True)
    if network.experts:
        writer.add_expert_count(network.experts)
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "a", "b"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    random = np.random.Generator(np.random.PCG64(seed))
    for name, shape in network.matrices():
        values = _values(random, shape)
        is_plain = "ffn_gate_inp" in name or len(shape) == 1
        kind = gguf.GGMLQuantizationType.F32 if is_plain else _TYPES[network.kind]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for block in range(network.blocks):
        writer.add_tensor(f"blk.{block}.attn_norm.weight", np.ones(network.width, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(network.width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_importance(network: RandomNetwork, *, seed: int = 2) -> ImportanceMatrix:
    """A matrix for a model's blocks, as if a few hundred tokens had been seen; one expert saw none."""
    random = np.random.Generator(np.random.PCG64(seed))
    sums, counts = {}, {}
    for name, shape in network.matrices():
        if not name.startswith("blk.") or "ffn_gate_inp" in name or len(shape) < 2:
            continue
        stack = shape[0] if len(shape) == 3 else 1
        seen = np.floor(random.random(stack) * 300 + 100).astype(np.float32)
        if stack > 2:
            seen[2] = 0
        # Multiplied and not raised to the fourth: how a power is rounded depends on the processor.
        squares = np.square(random.random((stack, shape[-1])).astype(np.float32))
        sums[name] = squares * squares * seen[:, None]
        counts[name] = seen
    return ImportanceMatrix(sums, counts, datasets=("random.txt",), chunks=4, chunk_tokens=100, name="matrix.gguf")


def _values(random: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    # Uniform numbers only: they are the same on every platform, which those of other distributions need not be.
    total = sum(random.random(shape) for _ in range(6)) - 3.0
    return (total * shape[-1] ** -0.5).astype(np.float32)
