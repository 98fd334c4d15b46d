"""Tiny models of the architectures that can be pruned, with blocks or channels that say nothing where wanted."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.ggufs import write_chat_model

Floats = NDArray[np.float32]

_KINDS = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
}
_STRENGTH = 8.0  # of the weights: those of the plain model are so small that no block matters


def write_prunable(
    path: Path,
    architecture: str = "llama",
    *,
    kind: str = "F16",
    layers: int = 4,
    width: int = 64,
    silent_block: int | None = None,
    silent_channels: int = 0,
    silent_group: int | None = None,
    seed: int = 0,
) -> Path:
    """Writes a model.

    Args:
        path: Where to.
        architecture: ``llama``, ``qwen2`` (with biases) or ``qwen3`` (with norms of heads).
        kind: Of its matrices.
        layers: Blocks; count.
        width: Of its embeddings; values. It has 4 heads, 2 key/value heads and twice as many channels.
        silent_block: Block that passes on what it gets.
        silent_channels: In each block so many of the feed-forward part say nothing, every second from the first on.
        silent_group: Key/value head that says nothing, in each block.
        seed: Of the weights.
    """
    plain = write_chat_model(path.with_suffix(".plain"), seed=seed, width=width, layers=layers)
    reader = gguf.GGUFReader(plain)
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        name = field.name.replace("llama.", f"{architecture}.") if field.name.startswith("llama.") else field.name
        if name == "general.architecture" or name.startswith("GGUF."):
            continue
        item = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=item)
    for tensor in reader.tensors:
        values = np.array(tensor.data, np.float32)
        if tensor.name.startswith("blk.") and values.ndim == 2:
            values = _silenced(tensor.name, values * _STRENGTH, silent_block, silent_channels, silent_group)
        type_ = _KINDS[kind] if values.ndim == 2 else _KINDS["F32"]
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, type_), raw_dtype=type_)
    for name, values in _extra(architecture, layers, width, seed):
        writer.add_tensor(name, values)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    plain.unlink()
    return path


def _silenced(name: str, values: Floats, block: int | None, channels: int, group: int | None) -> Floats:
    is_output = name.endswith(("attn_output.weight", "ffn_down.weight"))
    if is_output and name.startswith(f"blk.{block}."):
        return np.zeros_like(values)
    if name.endswith("ffn_down.weight"):
        values[:, : 2 * channels : 2] = 0
    if name.endswith("attn_output.weight") and group is not None:
        half = values.shape[1] // 2
        values[:, group * half : (group + 1) * half] = 0
    return values


def _extra(architecture: str, layers: int, width: int, seed: int) -> list[tuple[str, Floats]]:
    rng = np.random.default_rng(seed + 1)
    if architecture == "qwen2":
        sizes = {"attn_q": width, "attn_k": width // 2, "attn_v": width // 2}
        return [
            (f"blk.{block}.{name}.bias", rng.standard_normal(size).astype(np.float32))
            for block in range(layers)
            for name, size in sizes.items()
        ]
    if architecture == "qwen3":
        return [
            (f"blk.{block}.{name}.weight", (1 + 0.1 * rng.standard_normal(width // 4)).astype(np.float32))
            for block in range(layers)
            for name in ("attn_q_norm", "attn_k_norm")
        ]
    return []
