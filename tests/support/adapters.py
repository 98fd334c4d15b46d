"""Writes tiny LoRA adapters for the models of `tests.support.ggufs`."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import DTypeLike


def write_adapter(
    path: Path,
    *,
    seed: int = 1,
    width: int = 64,
    rank: int = 4,
    scale: float = 1.0,
    alpha: float | None = None,
    architecture: str = "llama",
    block: int = 0,
    dtype: DTypeLike = np.float32,
    licence: str | None = None,
) -> Path:
    """Writes a LoRA on one block's query and output projections, strong enough to change answers.

    Args:
        path: File to write.
        seed: Of the weights.
        width: Embedding width of the base model.
        rank: Of the two matrices.
        scale: Of the weights; larger ones change more.
        alpha: As it says it was trained with; None takes the rank.
        architecture: As it says its base has.
        block: Of the base.
        dtype: Of the weights.
        licence: ``general.license``; None leaves it out.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    if licence is not None:
        writer.add_license(licence)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank if alpha is None else alpha))
    for name in ("attn_q", "attn_output"):
        tensor = f"blk.{block}.{name}.weight"
        writer.add_tensor(f"{tensor}.lora_a", (rng.standard_normal((rank, width)) * scale).astype(dtype))
        writer.add_tensor(f"{tensor}.lora_b", (rng.standard_normal((width, rank)) * scale).astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
