"""Models of any shape with random weights, written in the types of a quantization in seconds.

Blocks are random bytes whose scales are sane, so that activations neither die nor explode; no quantizer is needed. The
vocabulary has as many tokens and merges as the real model's, because an engine keeps all of them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from undercroft.catalog.shapes import LatentAttention, ModelShape, StoredTensor
from undercroft.planning.memory_weights import stored_tensors
from undercroft.planning.quantization import BLOCKS

_CHUNK_BYTES = 8 * 1024 * 1024
_ALIGNMENT = 32
_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
_BYTE_TOKENS = 256
# Type → offsets of its half-precision scales in a block, and the value that makes weights about 0.02.
_SCALES: dict[str, tuple[tuple[int, ...], float]] = {
    "Q8_0": ((0,), 2.7e-4),
    "Q5_0": ((0,), 2.2e-3),
    "Q5_1": ((0, 2), 1.1e-3),
    "Q4_0": ((0,), 4.3e-3),
    "Q4_1": ((0, 2), 2.2e-3),
    "Q6_K": ((208,), 1.5e-5),
    "Q5_K": ((0, 2), 4e-5),
    "Q4_K": ((0, 2), 8e-5),
    "Q3_K": ((108,), 5e-4),
    "Q2_K": ((80, 82), 1e-3),
    "IQ4_NL": ((0,), 2.9e-4),
    "IQ4_XS": ((0,), 1.5e-5),
    "IQ3_S": ((0,), 2e-4),
    "IQ3_XXS": ((0,), 2e-4),
    "IQ2_S": ((0,), 2e-4),
    "IQ2_XS": ((0,), 2e-4),
}


def write(path: Path, model: ModelShape, quantization: str, *, seed: int = 20_261_121) -> int:
    """Writes a file that llama.cpp loads.

    Args:
        path: Where to.
        model: Its shape; an architecture of `ARCHITECTURES`.
        quantization: A mix of llama.cpp's.
        seed: Of the weights and the vocabulary.

    Returns:
        Bytes of the file.
    """
    writer = gguf.GGUFWriter(path, model.architecture)
    _write_shape(writer, model)
    _write_vocabulary(writer, model, seed)
    tensors = stored_tensors(model, quantization)
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType[tensor.type_name]
        elements, size_bytes = BLOCKS[tensor.type_name]
        rows = tuple(reversed(tensor.shape[1:]))
        width = tensor.shape[0] // elements * size_bytes
        writer.add_tensor_info(tensor.name, (*rows, width), np.dtype(np.uint8), tensor.size_bytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    generator = np.random.default_rng(seed)
    patterns: dict[str, NDArray[np.uint8]] = {}
    for tensor in tensors:
        for piece in _content(tensor, patterns, generator):
            file.write(piece)
        file.write(b"\0" * (-tensor.size_bytes % _ALIGNMENT))
    writer.close()
    return path.stat().st_size


def _content(
    tensor: StoredTensor, patterns: dict[str, NDArray[np.uint8]], generator: np.random.Generator
) -> Iterator[memoryview]:
    """The bytes of a tensor in pieces; tensors of one type repeat one random pattern, each from another place."""
    if tensor.type_name == "F32":
        yield memoryview(_singles(tensor)).cast("B")
        return
    if tensor.type_name not in patterns:
        patterns[tensor.type_name] = _pattern(tensor.type_name, generator)
    block = BLOCKS[tensor.type_name][1]
    pattern = patterns[tensor.type_name]
    begin = int(generator.integers(0, len(pattern) // block)) * block
    left = tensor.size_bytes
    while left:
        piece = pattern[begin : begin + left]
        yield memoryview(piece)
        left, begin = left - len(piece), 0


def _singles(tensor: StoredTensor) -> NDArray[np.float32]:
    count = tensor.size_bytes // 4
    if tensor.name.endswith(".bias"):
        return np.zeros(count, np.float32)
    if len(tensor.shape) == 1:
        return np.ones(count, np.float32)
    return np.random.default_rng(count).standard_normal(count, dtype=np.float32) * np.float32(0.02)


def _pattern(type_name: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    """About 8 MB of whole blocks."""
    if type_name == "F16":
        values = generator.standard_normal(_CHUNK_BYTES // 2, dtype=np.float32) * np.float32(0.02)
        return values.astype(np.float16).view(np.uint8)
    if type_name == "BF16":
        values = generator.standard_normal(_CHUNK_BYTES // 2, dtype=np.float32) * np.float32(0.02)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    size_bytes = BLOCKS[type_name][1]
    blocks = generator.integers(0, 256, (_CHUNK_BYTES // size_bytes, size_bytes), dtype=np.uint8)
    offsets, scale = _SCALES[type_name]
    for offset in offsets:
        blocks[:, offset : offset + 2] = np.array([scale], np.float16).view(np.uint8)
    return blocks.reshape(-1)


def _write_shape(writer: gguf.GGUFWriter, model: ModelShape) -> None:
    writer.add_name("random")
    writer.add_license("apache-2.0")
    writer.add_context_length(model.position_rows or model.context_tokens)
    writer.add_embedding_length(model.width)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.feed_forward or 1)
    writer.add_head_count(model.heads)
    kv_heads = set(model.kv_heads)
    writer.add_head_count_kv(kv_heads.pop() if len(kv_heads) == 1 else list(model.kv_heads))
    writer.add_vocab_size(model.vocabulary)
    if model.is_encoder:
        writer.add_layer_norm_eps(1e-12)
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.MEAN)
        return
    writer.add_layer_norm_rms_eps(1e-5)
    if model.latent is None:
        writer.add_key_length(model.head_dim)
        writer.add_value_length(model.value_head_dim)
        writer.add_rope_dimension_count(model.head_dim)
    else:
        _write_latent(writer, model.latent)
    if model.window_tokens:
        writer.add_sliding_window(model.window_tokens)
    if model.experts is not None:
        _write_experts(writer, model)
    if model.architecture.startswith("granite"):
        writer.add_logit_scale(1.0)


def _write_latent(writer: gguf.GGUFWriter, latent: LatentAttention) -> None:
    writer.add_kv_lora_rank(latent.kv_rank)
    if latent.query_rank:
        writer.add_q_lora_rank(latent.query_rank)
    writer.add_key_length(latent.kv_rank + latent.rope_dim)
    writer.add_value_length(latent.kv_rank)
    writer.add_key_length_mla(latent.nope_dim + latent.rope_dim)
    writer.add_value_length_mla(latent.value_dim)
    writer.add_rope_dimension_count(latent.rope_dim)


def _write_experts(writer: gguf.GGUFWriter, model: ModelShape) -> None:
    experts = model.experts
    assert experts is not None
    if model.architecture == "deepseek2":
        writer.add_leading_dense_block_count(experts.dense_layers)
        writer.add_expert_shared_count(experts.shared)
        writer.add_expert_weights_scale(1.0)
    writer.add_expert_count(experts.count)
    writer.add_expert_used_count(experts.used)
    writer.add_expert_feed_forward_length(experts.feed_forward)
    if experts.shared_feed_forward:
        writer.add_expert_shared_feed_forward_length(experts.shared_feed_forward)


def _write_vocabulary(writer: gguf.GGUFWriter, model: ModelShape, seed: int) -> None:
    if model.is_encoder:
        _write_words(writer, model, seed)
    elif model.vocabulary > LARGEST_PIECES and not model.architecture.startswith("gemma"):
        _write_merges(writer, model, seed)
    else:
        _write_pieces(writer, model, seed)


# Smaller vocabularies are mostly SentencePiece (Llama 2, Mistral); larger ones merge bytes (Llama 3, Qwen).
LARGEST_PIECES = 33_000


@lru_cache(maxsize=4)
def _words(seed: int, count: int) -> tuple[str, ...]:
    """Random words, none twice; mean length as in real vocabularies, about six letters."""
    source, seen = random.Random(seed), dict[str, None]()
    while len(seen) < count:
        length = source.choice((2, 3, 4, 5, 6, 7, 8, 9, 11))
        seen["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=length))] = None
    return tuple(seen)


def _write_pieces(writer: gguf.GGUFWriter, model: ModelShape, seed: int) -> None:
    known = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(_BYTE_TOKENS)), "▁"]
    count = model.vocabulary - len(known)
    tokens = [*known, *("▁" + word for word in _words(seed, count))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types([2, 3, 3, *[6] * _BYTE_TOKENS, *[1] * (count + 1)])
    _write_specials(writer, 1, 2)


def _write_merges(writer: gguf.GGUFWriter, model: ModelShape, seed: int) -> None:
    letters = [chr(code) for code in gguf_bytes()]
    count = model.vocabulary - len(letters) - 1
    words = _words(seed, count)
    # One way to come to each word, then another, as Llama 3 lists several for each.
    ways = (f"{word[:cut]} {word[cut:]}" for cut in range(1, 8) for word in words if len(word) > cut)
    merges = list(itertools.islice(ways, int(model.extra.get("merge_count", count))))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if model.architecture == "llama" else "qwen2")
    writer.add_token_list([*letters, *words, "<|end|>"])
    writer.add_token_types([*[1] * (model.vocabulary - 1), 3])
    writer.add_token_merges(merges)
    _write_specials(writer, model.vocabulary - 1, model.vocabulary - 1)


def _write_words(writer: gguf.GGUFWriter, model: ModelShape, seed: int) -> None:
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = _words(seed, model.vocabulary - len(known))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*known, *("▁" + word for word in words)])
    writer.add_token_types([*[3] * len(known), *[1] * (model.vocabulary - len(known))])
    writer.add_token_type_count(int(model.extra.get("token_type_count", 2)))
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_eos_token_id(3)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)


def _write_specials(writer: gguf.GGUFWriter, begin: int, end: int) -> None:
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_chat_template(_TEMPLATE)


def gguf_bytes() -> list[int]:
    """Code points that stand for the 256 bytes in a byte-level vocabulary (GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return plain + [256 + number for number in range(_BYTE_TOKENS - len(plain))]
