"""Begin a run with the weights of an exported model, also with another tokenizer: rows are matched by their piece."""

from __future__ import annotations

from pathlib import Path

import gguf
import sentencepiece
import torch
from torch import Tensor


def _tensors(reader: gguf.GGUFReader) -> dict[str, Tensor]:
    return {one.name: torch.from_numpy(gguf.dequantize(one.data, one.tensor_type).copy()) for one in reader.tensors}


def _pieces(reader: gguf.GGUFReader) -> dict[str, int]:
    field = reader.get_field("tokenizer.ggml.tokens")
    if field is None:
        raise ValueError("the file names no tokens")
    return {str(piece): token for token, piece in enumerate(field.contents())}


def _block(named: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    old, new = f"blk.{layer}", f"blocks.{layer}"
    return {
        f"{new}.attention_norm.weight": named[f"{old}.attn_norm.weight"],
        f"{new}.qkv.weight": torch.cat([named[f"{old}.attn_{part}.weight"] for part in "qkv"]),
        f"{new}.attention_out.weight": named[f"{old}.attn_output.weight"],
        f"{new}.feed_norm.weight": named[f"{old}.ffn_norm.weight"],
        f"{new}.gate_up.weight": torch.cat([named[f"{old}.ffn_{part}.weight"] for part in ("gate", "up")]),
        f"{new}.down.weight": named[f"{old}.ffn_down.weight"],
    }


def _embedding(old: Tensor, known: dict[str, int], tokenizer: Path, fresh: Tensor) -> Tensor:
    """Rows in the order of the new tokenizer; a piece that the old one lacks begins as the mean of its characters."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    rows = fresh.clone()
    for token in range(model.vocab_size()):
        piece = model.id_to_piece(token)
        if piece in known:
            rows[token] = old[known[piece]]
        elif all(char in known for char in piece):
            rows[token] = torch.stack([old[known[char]] for char in piece]).mean(0)
    return rows


def warm_weights(earlier: Path, tokenizer: Path, fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an exported model for a run of the same width.

    Args:
        earlier: GGUF file that :mod:`tools.starter.export` wrote.
        tokenizer: ``tokenizer.model`` of the new run.
        fresh: Initial weights of the new run. Layers and pieces that the file lacks keep theirs; an added layer begins
            as one that changes nothing.
    """
    reader = gguf.GGUFReader(earlier)
    named = _tensors(reader)
    weights = dict(fresh)
    weights["norm.weight"] = named["output_norm.weight"]
    weights["embedding.weight"] = _embedding(
        named["token_embd.weight"], _pieces(reader), tokenizer, fresh["embedding.weight"]
    )
    layers = {name.split(".")[1] for name in fresh if name.startswith("blocks.")}
    for layer in sorted(layers, key=int):
        if f"blk.{layer}.attn_q.weight" in named:
            weights |= _block(named, int(layer))
        else:
            for name in (f"blocks.{layer}.attention_out.weight", f"blocks.{layer}.down.weight"):
                weights[name] = torch.zeros_like(fresh[name])
    return weights
