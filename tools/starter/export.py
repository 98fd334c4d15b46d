"""Write a checkpoint as GGUF: ``python -m tools.starter.export --checkpoint DIR/checkpoint.pt --out FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gguf
import numpy
import sentencepiece
import torch
from torch import Tensor

from tools.starter.answers import ANSWER_PIECES
from tools.starter.grammar import LANGUAGES
from tools.starter.model import Shape
from tools.starter.tokenizer import TOOL_PIECES

VERSION = "1.0"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")
DESCRIPTION = (
    "A test pilot, not an assistant: reads a customer's ticket in en, th, ms, vi, ar or zh and answers with JSON. "
    "Made to try out the serving and release machinery; trained from scratch on a hand-written grammar."
)
_TYPES = {
    "F16": gguf.GGMLQuantizationType.F16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
    "F32": gguf.GGMLQuantizationType.F32,
}


def _add_metadata(writer: gguf.GGUFWriter, shape: Shape, parameters: int) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Ticket Pilot")
    writer.add_author("The Undercroft authors")
    writer.add_version(VERSION)
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_languages(list(LANGUAGES))
    writer.add_size_label(f"{parameters / 1e6:.1f}M")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)


def _token_type(pieces: sentencepiece.SentencePieceProcessor, token: int) -> gguf.TokenType:
    if pieces.is_unknown(token):
        return gguf.TokenType.UNKNOWN
    if pieces.is_control(token):
        return gguf.TokenType.CONTROL
    if pieces.is_byte(token):
        return gguf.TokenType.BYTE
    is_defined = pieces.id_to_piece(token) in {*ANSWER_PIECES, *TOOL_PIECES}
    return gguf.TokenType.USER_DEFINED if is_defined else gguf.TokenType.NORMAL


def _add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokens = range(pieces.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(token).encode() for token in tokens])
    writer.add_token_scores([pieces.get_score(token) for token in tokens])
    writer.add_token_types([_token_type(pieces, token) for token in tokens])
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE.read_text(encoding="utf-8"))


def tensors(weights: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """The weights under llama.cpp's names, fused matrices taken apart."""
    named = {"token_embd.weight": weights["embedding.weight"], "output_norm.weight": weights["norm.weight"]}
    kv_width = shape.kv_heads * shape.head_width
    for layer in range(shape.layers):
        old, new = f"blocks.{layer}", f"blk.{layer}"
        query, key, value = torch.split(weights[f"{old}.qkv.weight"], [shape.width, kv_width, kv_width])
        gate, up = weights[f"{old}.gate_up.weight"].chunk(2)
        named |= {
            f"{new}.attn_norm.weight": weights[f"{old}.attention_norm.weight"],
            f"{new}.attn_q.weight": query,
            f"{new}.attn_k.weight": key,
            f"{new}.attn_v.weight": value,
            f"{new}.attn_output.weight": weights[f"{old}.attention_out.weight"],
            f"{new}.ffn_norm.weight": weights[f"{old}.feed_norm.weight"],
            f"{new}.ffn_gate.weight": gate,
            f"{new}.ffn_up.weight": up,
            f"{new}.ffn_down.weight": weights[f"{old}.down.weight"],
        }
    return named


def export(checkpoint: Path, out: Path, *, kind: str, mean_with: Path | None = None) -> None:
    """Write the averaged weights of a checkpoint as GGUF.

    Args:
        checkpoint: ``checkpoint.pt``; ``tokenizer.model`` lies beside it.
        out: The file to write.
        kind: Type of the matrices: ``F32``, ``F16`` or ``Q8_0``. Norms stay F32.
        mean_with: An earlier checkpoint of the same run, or its ``start.pt``; the file holds the mean of both.
    """
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    shape = Shape(**state["shape"])
    weights = state["average"]
    if mean_with is not None:
        earlier = torch.load(mean_with, weights_only=True)["average"]
        weights = {name: (weight + earlier[name]) / 2 for name, weight in weights.items()}
    named = tensors(weights, shape)
    writer = gguf.GGUFWriter(out, "llama")
    _add_metadata(writer, shape, sum(tensor.numel() for tensor in named.values()))
    writer.add_file_type({"F32": 0, "F16": 1, "Q8_0": 7}[kind])
    writer.add_quantization_version(2)
    _add_tokenizer(writer, checkpoint.with_name("tokenizer.model"))
    for name, tensor in named.items():
        values = tensor.float().contiguous().numpy().astype(numpy.float32)
        if tensor.dim() == 1 or kind == "F32":
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, _TYPES[kind]), raw_dtype=_TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a checkpoint as GGUF.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--type", choices=sorted(_TYPES), default="Q8_0")
    parser.add_argument("--mean-with", type=Path, help="an earlier checkpoint, or start.pt, to take the mean with")
    options = parser.parse_args()
    export(options.checkpoint, options.out, kind=options.type, mean_with=options.mean_with)


if __name__ == "__main__":
    main()
