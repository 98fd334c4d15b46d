"""Builds GGUF files byte by byte, so that each part can be wrong on purpose."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

U8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10
_FORMS = {U8: "<B", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}


def text(value: str | bytes) -> bytes:
    """A string after its length."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    """A value after its type; an array is given as ``(kind of its items, items)``."""
    return struct.pack("<I", kind) + _plain(kind, content)


def _plain(kind: int, content: Any) -> bytes:
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        item_kind, items = content
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(_plain(item_kind, item) for item in items)
    return struct.pack(_FORMS[kind], content)


@dataclass
class RawTensor:
    """A tensor's entry; None computes what is right."""

    name: str | bytes
    shape: tuple[int, ...]
    kind: int = 0
    offset: int | None = None
    dimensions: int | None = None
    size_bytes: int | None = None


@dataclass
class RawGguf:
    """A small Llama that is in order until something in it is changed."""

    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    key_count: int | None = None
    tensor_count: int | None = None
    keys: list[tuple[str | bytes, bytes]] = field(default_factory=list)
    tensors: list[RawTensor] = field(default_factory=list)
    data: bytes | None = None

    def set(self, key: str, kind: int, content: Any) -> None:
        """Gives a key another value, or adds it."""
        self.set_raw(key, value(kind, content))

    def set_raw(self, key: str, raw: bytes) -> None:
        """Gives a key these bytes, its type included."""
        if any(name == key for name, _ in self.keys):
            self.keys = [(name, raw if name == key else old) for name, old in self.keys]
        else:
            self.keys.append((key, raw))

    def drop(self, key: str) -> None:
        """Takes a key out."""
        self.keys = [(name, old) for name, old in self.keys if name != key]

    def tensor(self, name: str) -> RawTensor:
        """One tensor, to be changed."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def build(self) -> bytes:
        """The file."""
        head = self.magic + struct.pack("<I", self.version)
        head += struct.pack("<Q", self.tensor_count if self.tensor_count is not None else len(self.tensors))
        head += struct.pack("<Q", self.key_count if self.key_count is not None else len(self.keys))
        head += b"".join(text(key) + raw for key, raw in self.keys)
        offset = 0
        for tensor in self.tensors:
            count = tensor.dimensions if tensor.dimensions is not None else len(tensor.shape)
            head += text(tensor.name) + struct.pack("<I", count)
            head += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            head += struct.pack("<IQ", tensor.kind, tensor.offset if tensor.offset is not None else offset)
            offset += -(-_size_bytes(tensor) // 32) * 32
        padding = -len(head) % 32
        return head + bytes(padding) + (self.data if self.data is not None else bytes(offset))


def _size_bytes(tensor: RawTensor) -> int:
    if tensor.size_bytes is not None:
        return tensor.size_bytes
    elements = 1
    for size in tensor.shape:
        elements *= size
    return elements * 4


def sound() -> RawGguf:
    """A Llama of one block that everything accepts."""
    made = RawGguf()
    made.set("general.architecture", STRING, "llama")
    made.set("llama.block_count", U32, 1)
    made.set("llama.context_length", U32, 64)
    made.set("llama.embedding_length", U32, 8)
    made.set("llama.feed_forward_length", U32, 16)
    made.set("llama.attention.head_count", U32, 2)
    made.set("llama.attention.head_count_kv", U32, 1)
    made.set("llama.attention.layer_norm_rms_epsilon", F32, 1e-5)
    made.set("llama.rope.dimension_count", U32, 4)
    made.set("tokenizer.ggml.model", STRING, "llama")
    made.set("tokenizer.ggml.tokens", ARRAY, (STRING, ["<unk>", "<s>", "</s>", "<0x0A>", "a"]))
    made.set("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * 5))
    made.set("tokenizer.ggml.token_type", ARRAY, (I32, [2, 3, 3, 6, 1]))
    made.set("tokenizer.ggml.eos_token_id", U32, 2)
    shapes = {
        "token_embd.weight": (8, 5),
        "output_norm.weight": (8,),
        "blk.0.attn_norm.weight": (8,),
        "blk.0.attn_q.weight": (8, 8),
        "blk.0.attn_k.weight": (8, 4),
        "blk.0.attn_v.weight": (8, 4),
        "blk.0.attn_output.weight": (8, 8),
        "blk.0.ffn_norm.weight": (8,),
        "blk.0.ffn_gate.weight": (8, 16),
        "blk.0.ffn_up.weight": (8, 16),
        "blk.0.ffn_down.weight": (16, 8),
    }
    made.tensors = [RawTensor(name, shape) for name, shape in shapes.items()]
    return made
