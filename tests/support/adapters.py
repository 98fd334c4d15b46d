"""Writes tiny LoRA adapters: GGUFs for the models of `tests.support.ggufs`, PEFT's folders for published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.folders import write_folder
from tests.support.raw_safetensors import build, entry


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


def write_published(folder: Path, *, width: int = 64, layers: int = 2) -> Path:
    """A published model whose files have the matrices that an adapter can change, all zero.

    Args:
        folder: Is made.
        width: Between the blocks, and of all heads together.
        layers: Blocks.
    """
    write_folder(folder, hidden_size=width, num_hidden_layers=layers, intermediate_size=128)
    parts = {"self_attn.q_proj": (width, width), "self_attn.v_proj": (width // 2, width)}
    shapes = {f"model.layers.{n}.{part}.weight": shape for n in range(layers) for part, shape in parts.items()}
    write_tensors(folder / "model.safetensors", {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return folder


def write_peft(
    folder: Path,
    *,
    seed: int = 1,
    width: int = 64,
    queries: int | None = None,
    rank: int = 4,
    blocks: int = 2,
    scale: float = 1.0,
    **config: Any,
) -> Path:
    """PEFT's folder of a LoRA on query and value projections of `write_published`'s model.

    Args:
        folder: Is made.
        seed: Of the weights.
        width: Of the base.
        queries: Of all query heads of the base together, twice that of the value heads; None takes the width.
        rank: Of the two matrices.
        blocks: Of the base that it changes, the first ones.
        scale: Of the weights; larger ones change more.
        config: More for, or in place of, what ``adapter_config.json`` says.
    """
    folder.mkdir(parents=True)
    said = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "org/base",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "init_lora_weights": True,
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    tensors = peft_tensors(seed=seed, width=width, queries=queries or width, rank=rank, blocks=blocks)
    scaled = {name: np.float32(scale) * values for name, values in tensors.items()}
    write_tensors(folder / "adapter_model.safetensors", scaled)
    return folder


def peft_tensors(*, seed: int, width: int, queries: int, rank: int, blocks: int) -> dict[str, NDArray[np.float32]]:
    """The matrices of such a LoRA, under PEFT's names."""
    rng = np.random.default_rng(seed)
    found = {}
    for block in range(blocks):
        for part, rows in (("q_proj", queries), ("v_proj", queries // 2)):
            layer = f"base_model.model.model.layers.{block}.self_attn.{part}"
            found[f"{layer}.lora_A.weight"] = rng.standard_normal((rank, width)).astype(np.float32)
            found[f"{layer}.lora_B.weight"] = rng.standard_normal((rows, rank)).astype(np.float32)
    return found


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """A safetensors file with these numbers."""
    header, data = {}, b""
    for name, values in tensors.items():
        raw = values.tobytes()
        header[name] = entry("F32", list(values.shape), len(data), len(data) + len(raw))
        data += raw
    path.write_bytes(build(header, 0) + data)
