"""Models that were harmed on purpose: they load, and answer worse."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

_BLOCK_BYTES, _SCALE_BYTES = 34, 2


def damage(source: Path, target: Path, *, strength: float, seed: int = 1) -> Path:
    """Adds noise to the Q8_0 weights of a model's blocks.

    Args:
        source: A GGUF file whose blocks are Q8_0.
        target: File to write.
        strength: Standard deviation of the noise, in steps of the quantization; 127 is the largest weight of a block.
        seed: Of the noise.
    """
    raw = np.fromfile(source, np.uint8)
    chance = np.random.default_rng(seed)
    for tensor in gguf.GGUFReader(source).tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0 and tensor.name.startswith("blk."):
            begin = int(tensor.data_offset)
            blocks = raw[begin : begin + int(tensor.n_bytes)].reshape(-1, _BLOCK_BYTES)
            weights = blocks[:, _SCALE_BYTES:].view(np.int8).astype(float)
            noisy = np.round(weights + chance.normal(0.0, strength, weights.shape))
            blocks[:, _SCALE_BYTES:] = np.clip(noisy, -127, 127).astype(np.int8).view(np.uint8)
    raw.tofile(target)
    return target
