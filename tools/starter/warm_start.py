"""Begin a run with the weights of an exported model, also with another tokenizer or in a larger network.

Rows of the embedding are matched by their piece. A network that is wider, has more heads or a larger feed-forward
begins as nearly the same function: what is new reads at random and writes nothing, so it learns from the first step on.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import sentencepiece
import torch
from torch import Tensor

# New values of an embedding, beside those of a fresh one: small, so that the grown network begins as the old one.
_NEW_VALUES = 0.1


def _tensors(reader: gguf.GGUFReader) -> dict[str, Tensor]:
    return {one.name: torch.from_numpy(gguf.dequantize(one.data, one.tensor_type).copy()) for one in reader.tensors}


def _pieces(reader: gguf.GGUFReader) -> dict[str, int]:
    field = reader.get_field("tokenizer.ggml.tokens")
    if field is None:
        raise ValueError("the file names no tokens")
    return {str(piece): token for token, piece in enumerate(field.contents())}


def _placed(old: Tensor, fresh: Tensor, *, rows: float, columns: float) -> Tensor:
    """A matrix in the corner of a larger one; new rows and columns are the fresh ones, times a factor each."""
    weights = fresh.clone()
    weights[old.shape[0] :] *= rows
    weights[:, old.shape[1] :] *= columns
    weights[: old.shape[0], : old.shape[1]] = old
    return weights


def _gains(old: Tensor, fresh: Tensor) -> Tensor:
    """A norm's gains. Added values are nearly zero, so the root mean square falls as widths grow."""
    weights = torch.full_like(fresh, float(old.mean()))
    weights[: len(old)] = old
    return weights * (len(old) / len(fresh)) ** 0.5


def _block(named: dict[str, Tensor], layer: int, fresh: dict[str, Tensor], kv_width: int) -> dict[str, Tensor]:
    old, new = f"blk.{layer}", f"blocks.{layer}"
    width = len(fresh["norm.weight"])
    # What reads the residual stream keeps its fresh weights where it is new; what writes to it begins with nothing.
    queries = torch.split(fresh[f"{new}.qkv.weight"], [width, kv_width, kv_width])
    gates = fresh[f"{new}.gate_up.weight"].chunk(2)
    reads_heads = zip("qkv", queries, strict=True)
    reads_feed = zip(("gate", "up"), gates, strict=True)
    read = {"rows": 1.0, "columns": 1.0}
    write = {"rows": 0.0, "columns": 0.0}
    return {
        f"{new}.attention_norm.weight": _gains(named[f"{old}.attn_norm.weight"], fresh[f"{new}.attention_norm.weight"]),
        f"{new}.qkv.weight": torch.cat(
            [_placed(named[f"{old}.attn_{part}.weight"], matrix, **read) for part, matrix in reads_heads]
        ),
        f"{new}.attention_out.weight": _placed(
            named[f"{old}.attn_output.weight"], fresh[f"{new}.attention_out.weight"], **write
        ),
        f"{new}.feed_norm.weight": _gains(named[f"{old}.ffn_norm.weight"], fresh[f"{new}.feed_norm.weight"]),
        f"{new}.gate_up.weight": torch.cat(
            [_placed(named[f"{old}.ffn_{part}.weight"], matrix, **read) for part, matrix in reads_feed]
        ),
        f"{new}.down.weight": _placed(named[f"{old}.ffn_down.weight"], fresh[f"{new}.down.weight"], **write),
    }


def _embedding(old: Tensor, known: dict[str, int], tokenizer: Path, fresh: Tensor) -> Tensor:
    """Rows in the order of the new tokenizer; a piece that the old one lacks begins as the mean of its characters."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    rows = fresh.clone()
    rows[:, old.shape[1] :] *= _NEW_VALUES
    width = old.shape[1]
    for token in range(model.vocab_size()):
        piece = model.id_to_piece(token)
        if piece in known:
            rows[token, :width] = old[known[piece]]
        elif all(char in known for char in piece):
            rows[token, :width] = torch.stack([old[known[char]] for char in piece]).mean(0)
    return rows


def warm_weights(earlier: Path, tokenizer: Path, fresh: dict[str, Tensor], kv_width: int) -> dict[str, Tensor]:
    """The weights of an exported model for a run of the same width or a larger one.

    Args:
        earlier: GGUF file that :mod:`tools.starter.export` wrote.
        tokenizer: ``tokenizer.model`` of the new run.
        fresh: Initial weights of the new run. Layers and pieces that the file lacks keep theirs; an added layer begins
            as one that changes nothing. Heads have the width of the file's; groups of queries are as large.
        kv_width: Values of all key heads of the new run together.
    """
    reader = gguf.GGUFReader(earlier)
    named = _tensors(reader)
    weights = dict(fresh)
    weights["norm.weight"] = _gains(named["output_norm.weight"], fresh["norm.weight"])
    weights["embedding.weight"] = _embedding(
        named["token_embd.weight"], _pieces(reader), tokenizer, fresh["embedding.weight"]
    )
    layers = {name.split(".")[1] for name in fresh if name.startswith("blocks.")}
    for layer in sorted(layers, key=int):
        if f"blk.{layer}.attn_q.weight" in named:
            weights |= _block(named, int(layer), fresh, kv_width)
        else:
            for name in (f"blocks.{layer}.attention_out.weight", f"blocks.{layer}.down.weight"):
                weights[name] = torch.zeros_like(fresh[name])
    return weights
