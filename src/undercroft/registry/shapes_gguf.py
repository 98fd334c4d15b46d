"""The shape of a network from the header of its GGUF file: what its keys say, and what its tensors show.

Source: ``load_arch_hparams`` in ``src/models/*.cpp`` and ``llama-hparams.h`` of llama.cpp, 2026-10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from undercroft.catalog.entries import windowed
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape, StoredTensor, problem_of_experts
from undercroft.registry.inspection.gguf import GgufHeader
from undercroft.registry.inspection.gguf_model import ENCODERS
from undercroft.registry.inspection.reading import refuse

_LAYERS_LIMIT = 1024
_COUNT_LIMIT = 2**40
_BLOCK = re.compile(r"blk\.(\d{1,9})\.")
_KEYS = re.compile(r"blk\.(\d{1,9})\.attn_k\.weight")
# Tensors of blocks that keep a state in place of keys and values.
_RECURRENT_PARTS = (".ssm_", ".shortconv.", ".time_mix_")
# Every n-th block sees everything where the file has a window and says no pattern: the engine's own constants.
_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gemma-embedding": 6, "cohere2": 4, "gpt-oss": 2}
_PATTERNS |= {"exaone4": 4, "olmo2": 4}
_DEFAULT_WINDOWS = {"gemma2": 4096}
# One matrix holds the gate and the projection beside it.
_FUSED_GATE = frozenset({"phi3", "chatglm", "glm4"})

Shapes = Mapping[str, tuple[int, ...]]


def shape_of_gguf(headers: Sequence[GgufHeader]) -> ModelShape:
    """Reads a shape.

    Args:
        headers: One file, or all parts of a split one in order.

    Raises:
        InvalidError: ``bad-gguf``: a size that every network has is missing or cannot be.
    """
    return _Keys(headers).shape()


class _Keys:
    """Metadata and tensors of one model, by their names without the architecture."""

    def __init__(self, headers: Sequence[GgufHeader]) -> None:
        self._header = headers[0]
        self._tensors = [tensor for header in headers for tensor in header.tensors]
        self._shapes: Shapes = {tensor.name: tensor.shape for tensor in self._tensors}
        self.architecture = self._header.text("general.architecture") or self._fail("it does not say its architecture")
        self.layers = self._needed("block_count")
        if self.layers > _LAYERS_LIMIT:
            self._fail(f"it says to have {self.layers:,} blocks, expected at most {_LAYERS_LIMIT:,}")

    def shape(self) -> ModelShape:
        width = self._needed("embedding_length")
        heads = max(self._each("attention.head_count", 0)) or 1
        latent = self._latent()
        head_dim = self._number("attention.key_length") or width // heads
        value_dim = self._number("attention.value_length") or width // heads
        if latent is not None:
            head_dim, value_dim = latent.nope_dim + latent.rope_dim, latent.value_dim
        experts = self._experts()
        window, window_layers = self._window()
        recurrent = self._recurrent_layers()
        kv_heads = self._kv_heads(heads, recurrent)
        self._check_heads(heads, kv_heads, width)
        is_encoder = self.architecture in ENCODERS or self._flag("attention.causal") is False
        positions = self._shapes.get("position_embd.weight")
        return ModelShape(
            architecture=self.architecture,
            layers=self.layers,
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_head_dim=value_dim,
            feed_forward=self._feed_forward(experts),
            vocabulary=self._vocabulary(),
            context_tokens=self._needed("context_length"),
            is_tied="output.weight" not in self._shapes,
            is_gated=self.architecture in _FUSED_GATE or any(".ffn_gate" in name for name in self._shapes),
            has_attention_bias=self._has("attn_q.bias") or self._has("attn_qkv.bias"),
            has_query_key_norm=self._has("attn_q_norm.weight"),
            window_tokens=window,
            window_layers=window_layers,
            experts=experts,
            latent=latent,
            is_encoder=is_encoder,
            position_rows=positions[-1] if positions is not None else 0,
            recurrent_layers=recurrent,
            recurrent_values=self._recurrent_values(width, heads) if recurrent else 0,
            parameters=sum(tensor.elements for tensor in self._tensors),
            tensors=tuple(StoredTensor(t.name, t.shape, t.kind.name, t.size_bytes) for t in self._tensors),
            extra=self._extra(),
        )

    def _fail(self, problem: str) -> NoReturn:
        refuse("bad-gguf", "GGUF file", self._header.name, problem)

    def _number(self, key: str) -> int:
        """An integer, the largest of a list of them, or 0 where there is none."""
        array = self._header.array(f"{self.architecture}.{key}")
        if array is not None:
            return self._count(key, max((item for item in array.items or () if isinstance(item, int)), default=0))
        return self._count(key, self._header.integer(f"{self.architecture}.{key}") or 0)

    def _count(self, key: str, number: int) -> int:
        if not 0 <= number < _COUNT_LIMIT:
            self._fail(f"{self.architecture}.{key} is {number:,}, expected a count")
        return number

    def _needed(self, key: str) -> int:
        found = self._number(key)
        if found < 1:
            self._fail(f"it does not say its {self.architecture}.{key}")
        return found

    def _check_heads(self, heads: int, kv_heads: Sequence[int], width: int) -> None:
        if not self._number("attention.key_length") and heads > width:
            self._fail(f"{heads:,} attention heads cannot share a width of {width:,}")
        if max(kv_heads) > heads:
            self._fail(f"{heads:,} attention heads cannot share {max(kv_heads):,} key/value heads")

    def _flag(self, key: str) -> bool | None:
        found = self._header.values.get(f"{self.architecture}.{key}")
        return found.value if found is not None and isinstance(found.value, bool) else None

    def _each(self, key: str, default: int) -> tuple[int, ...]:
        """One number a block, however the file says it."""
        array = self._header.array(f"{self.architecture}.{key}")
        if array is None:
            return (self._number(key) or default,) * self.layers
        items = [item for item in array.items or () if isinstance(item, int) and item >= 0]
        if len(items) < self.layers:
            self._fail(f"{self.architecture}.{key} holds {len(items):,} counts, expected {self.layers:,}")
        return tuple(items[: self.layers])

    def _kv_heads(self, heads: int, recurrent: frozenset[int]) -> tuple[int, ...]:
        """Of each block; a recurrent one keeps a cache only where it has keys of its own beside its state."""
        counts = self._each("attention.head_count_kv", heads)
        with_keys = {int(found[1]) for name in self._shapes if (found := _KEYS.match(name))}
        return tuple(
            0 if layer in recurrent and layer not in with_keys else count for layer, count in enumerate(counts)
        )

    def _recurrent_layers(self) -> frozenset[int]:
        return frozenset(
            int(found[1])
            for name in self._shapes
            if any(part in name for part in _RECURRENT_PARTS) and (found := _BLOCK.match(name))
        )

    def _recurrent_values(self, width: int, heads: int) -> int:
        """As ``n_embd_r`` and ``n_embd_s`` of the engine count them."""
        if head := self._number("wkv.head_size"):
            return self._number("token_shift_count") * width + width * head
        if length := self._number("shortconv.l_cache"):
            return width * (length - 1)
        kernel = max(self._number("ssm.conv_kernel") - 1, 0)
        if head := self._number("kda.head_dim"):
            return 3 * kernel * heads * head + head * head * heads
        inner, state = self._number("ssm.inner_size"), self._number("ssm.state_size")
        return kernel * (inner + 2 * self._number("ssm.group_count") * state) + state * inner

    def _has(self, suffix: str) -> bool:
        """Whether a block has a tensor; the first block of a mixed network need not."""
        return any(name.endswith("." + suffix) and _BLOCK.match(name) for name in self._shapes)

    def _first(self, suffix: str) -> tuple[int, ...] | None:
        return next((shape for name, shape in self._shapes.items() if name.endswith("." + suffix)), None)

    def _vocabulary(self) -> int:
        table = self._shapes.get("token_embd.weight")
        tokens = self._header.array("tokenizer.ggml.tokens")
        found = table[-1] if table is not None else self._number("vocab_size") or (tokens.count if tokens else 0)
        return found or self._fail("it has no embedding table and does not say its vocabulary")

    def _feed_forward(self, experts: Experts | None) -> int:
        if experts is not None and self._first("ffn_up.weight") is None:
            return 0
        return self._number("feed_forward_length")

    def _experts(self) -> Experts | None:
        count, inner = self._number("expert_count"), self._first("ffn_up_exps.weight")
        if not count:
            return None
        used = self._number("expert_used_count")
        if (problem := problem_of_experts(count, used)) is not None:
            self._fail(problem)
        shared = self._first("ffn_up_shexp.weight")
        with_experts = [int(m[1]) for name in self._shapes if "_exps." in name and (m := _BLOCK.match(name))]
        return Experts(
            count=count,
            used=used,
            feed_forward=inner[1] if inner is not None and len(inner) > 1 else self._number("feed_forward_length"),
            shared=self._number("expert_shared_count") or int(shared is not None),
            shared_feed_forward=shared[1] if shared is not None and len(shared) > 1 else 0,
            dense_layers=min(with_experts, default=0),
        )

    def _latent(self) -> LatentAttention | None:
        rank = self._number("attention.kv_lora_rank")
        if not rank:
            return None
        rope = self._number("rope.dimension_count")
        key = self._number("attention.key_length_mla") or self._number("attention.key_length")
        return LatentAttention(
            kv_rank=rank,
            rope_dim=rope,
            query_rank=self._number("attention.q_lora_rank"),
            nope_dim=max(key - rope, 0),
            value_dim=self._number("attention.value_length_mla") or self._number("attention.value_length"),
        )

    def _window(self) -> tuple[int, frozenset[int]]:
        window = self._number("attention.sliding_window") or _DEFAULT_WINDOWS.get(self.architecture, 0)
        if not window or window >= self._needed("context_length"):
            return 0, frozenset()
        pattern = self._header.array(f"{self.architecture}.attention.sliding_window_pattern")
        if pattern is not None:
            flags = [bool(item) for item in (pattern.items or ())[: self.layers]]
            return window, frozenset(layer for layer, is_windowed in enumerate(flags) if is_windowed)
        every = self._number("attention.sliding_window_pattern") or _PATTERNS.get(self.architecture, 0)
        return window, windowed(self.layers, every)

    def _extra(self) -> dict[str, float]:
        extra: dict[str, float] = {}
        types = self._shapes.get("token_types.weight")
        if types is not None:
            extra["token_type_count"] = types[1] if len(types) > 1 else 1
        if self._has("exp_probs_b.bias"):
            extra["expert_bias"] = 1
        merges = self._header.array("tokenizer.ggml.merges")
        if merges is not None:
            extra["merge_count"] = merges.count
        for key in ("ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"):
            if number := self._number(key):
                extra[key] = number
        return extra
