"""Writes tiny GGUF files with random weights: real enough for llama.cpp to load and answer, small enough to mutate."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
TOOLS_TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}{{ m.role }}: "
    "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments }}){% endfor %}"
    "{% else %}{{ m.content }}{% endif %}\n{% endfor %}assistant:"
)

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPM_PIECES = ["▁" + c for c in _LETTERS] + list("▁" + _LETTERS + '0123456789{}[]":,. ')
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_chat_model(
    path: Path,
    *,
    seed: int = 0,
    width: int = 64,
    layers: int = 2,
    context_tokens: int = 512,
    chat_template: str | None = CHAT_TEMPLATE,
    name: str = "tiny",
    licence: str | None = None,
) -> Path:
    """Writes a Llama that answers nonsense.

    Args:
        path: File to write.
        seed: Of the weights; other seeds answer other nonsense.
        width: Embedding width; a multiple of 4.
        layers: Blocks.
        context_tokens: Context that it says it was trained for.
        chat_template: Jinja text; None leaves it out.
        name: ``general.name``.
        licence: ``general.license``; None leaves it out.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    if licence is not None:
        writer.add_license(licence)
    _add_llama(writer, np.random.default_rng(seed), width, layers, context_tokens)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return _finish(writer, path)


def write_expert_model(path: Path, *, seed: int = 0, width: int = 64, layers: int = 2, experts: int = 4) -> Path:
    """Writes a Llama whose feed-forward part is a mixture of experts, of which two are used for each token."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-experts")
    writer.add_expert_count(experts)
    writer.add_expert_used_count(2)
    _add_llama(writer, np.random.default_rng(seed), width, layers, 512, experts=experts)
    return _finish(writer, path)


def write_embedding_model(
    path: Path, *, seed: int = 0, width: int = 64, layers: int = 2, context_tokens: int = 512
) -> Path:
    """Writes a BERT whose mean-pooled output is an embedding of ``width`` numbers."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny-embed")
    _add_bert(writer, np.random.default_rng(seed), width, layers, context_tokens)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    return _finish(writer, path)


def write_rerank_model(
    path: Path, *, seed: int = 0, width: int = 64, layers: int = 2, context_tokens: int = 512
) -> Path:
    """Writes a BERT with a classification head: a cross-encoder that scores a query and a document."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny-rerank")
    _add_bert(writer, rng, width, layers, context_tokens)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    _add_random(writer, rng, "cls.weight", width, width)
    _add_random(writer, rng, "cls.bias", width)
    _add_random(writer, rng, "cls.output.weight", 1, width)
    _add_random(writer, rng, "cls.output.bias", 1)
    return _finish(writer, path)


def _add_random(writer: gguf.GGUFWriter, rng: np.random.Generator, name: str, *shape: int) -> None:
    writer.add_tensor(name, (rng.standard_normal(shape) * 0.05).astype(np.float32))


def _add_ones(writer: gguf.GGUFWriter, name: str, size: int) -> None:
    writer.add_tensor(name, np.ones(size, np.float32))


def _add_shape(writer: gguf.GGUFWriter, width: int, layers: int, context_tokens: int, heads: int) -> None:
    writer.add_context_length(context_tokens)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_file_type(0)


def _add_llama(
    writer: gguf.GGUFWriter, rng: np.random.Generator, width: int, layers: int, context_tokens: int, experts: int = 0
) -> None:
    heads, kv_heads = 4, 2
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + _SPM_PIECES
    types = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256 + [_NORMAL] * len(_SPM_PIECES)
    _add_shape(writer, width, layers, context_tokens, heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(_SPM_PIECES))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    _add_random(writer, rng, "token_embd.weight", len(tokens), width)
    for block in (f"blk.{i}." for i in range(layers)):
        _add_ones(writer, block + "attn_norm.weight", width)
        _add_ones(writer, block + "ffn_norm.weight", width)
        _add_random(writer, rng, block + "attn_q.weight", width, width)
        _add_random(writer, rng, block + "attn_k.weight", width // heads * kv_heads, width)
        _add_random(writer, rng, block + "attn_v.weight", width // heads * kv_heads, width)
        _add_random(writer, rng, block + "attn_output.weight", width, width)
        stack, suffix = ((experts,), "_exps") if experts else ((), "")
        if experts:
            _add_random(writer, rng, block + "ffn_gate_inp.weight", experts, width)
        _add_random(writer, rng, f"{block}ffn_gate{suffix}.weight", *stack, 2 * width, width)
        _add_random(writer, rng, f"{block}ffn_up{suffix}.weight", *stack, 2 * width, width)
        _add_random(writer, rng, f"{block}ffn_down{suffix}.weight", *stack, width, 2 * width)
    _add_ones(writer, "output_norm.weight", width)
    _add_random(writer, rng, "output.weight", len(tokens), width)


def _add_bert(writer: gguf.GGUFWriter, rng: np.random.Generator, width: int, layers: int, context_tokens: int) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special = len(tokens)
    # llama.cpp's WordPiece vocabulary marks the beginning of a word, where Hugging Face's marks its continuation.
    tokens += ["▁" + c for c in _LETTERS + "0123456789.,?!"] + list(_LETTERS + "0123456789")
    _add_shape(writer, width, layers, context_tokens, 4)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL] * special + [_NORMAL] * (len(tokens) - special))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    _add_random(writer, rng, "token_embd.weight", len(tokens), width)
    _add_random(writer, rng, "token_types.weight", 2, width)
    _add_random(writer, rng, "position_embd.weight", context_tokens, width)
    _add_norm(writer, "token_embd_norm", width)
    for block in (f"blk.{i}." for i in range(layers)):
        for part, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_output", width, width),
            ("ffn_up", 2 * width, width),
            ("ffn_down", width, 2 * width),
        ):
            _add_random(writer, rng, f"{block}{part}.weight", rows, columns)
            _add_random(writer, rng, f"{block}{part}.bias", rows)
        _add_norm(writer, block + "attn_output_norm", width)
        _add_norm(writer, block + "layer_output_norm", width)


def _add_norm(writer: gguf.GGUFWriter, name: str, width: int) -> None:
    _add_ones(writer, name + ".weight", width)
    writer.add_tensor(name + ".bias", np.zeros(width, np.float32))


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
