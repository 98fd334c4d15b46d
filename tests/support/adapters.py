"""Writes tiny LoRA adapters for the models of `tests.support.ggufs`."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_adapter(path: Path, *, seed: int = 1, width: int = 64, rank: int = 4, scale: float = 1.0) -> Path:
    """Writes a LoRA on the first block's query projection, strong enough to change answers.

    Args:
        path: File to write.
        seed: Of the weights.
        width: Embedding width of the base model.
        rank: Of the two matrices.
        scale: Of the weights; larger ones change more.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for name in ("attn_q", "attn_output"):
        writer.add_tensor(
            f"blk.0.{name}.weight.lora_a", (rng.standard_normal((rank, width)) * scale).astype(np.float32)
        )
        writer.add_tensor(
            f"blk.0.{name}.weight.lora_b", (rng.standard_normal((width, rank)) * scale).astype(np.float32)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
