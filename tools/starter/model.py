"""The network: a small Llama (RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings).

Rotary pairs are neighbouring values, as llama.cpp's Llama graph expects, so weights are exported without permutation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; all are counts of values unless named otherwise."""

    vocabulary: int = 4096
    width: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 512
    context_tokens: int = 1024
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Values per attention head."""
        return self.width // self.heads


def rotary_table(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each of shape ``(context_tokens, head_width / 2)``."""
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    angles = torch.outer(torch.arange(shape.context_tokens, dtype=torch.float32), shape.rope_base**-exponents)
    return angles.cos(), angles.sin()


def rotate(values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last axis; ``values`` is ``(batch, heads, tokens, head_width)``."""
    pairs = torch.view_as_complex(values.float().reshape(*values.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.complex(cosines, sines)).flatten(-2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention with grouped queries.

    Written out because torch's fused CPU kernel took a third of a training step at these sizes.

    Args:
        query: ``(batch, kv_heads, groups * tokens, head_width)``, the query heads of a group one after another.
        key: ``(batch, kv_heads, tokens, head_width)``.
        value: Like ``key``.
    """
    tokens, head_width = key.shape[-2:]
    future = torch.full((tokens, tokens), float("-inf"), dtype=key.dtype).triu(1).repeat(query.shape[-2] // tokens, 1)
    scores = (query * head_width**-0.5) @ key.transpose(-1, -2) + future
    mixed: Tensor = scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return mixed


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, shape: Shape, dropout_ratio: float) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.qkv = nn.Linear(shape.width, shape.width + 2 * kv_width, bias=False)
        self.attention_out = nn.Linear(shape.width, shape.width, bias=False)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.gate_up = nn.Linear(shape.width, 2 * shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)
        self.dropout = nn.Dropout(dropout_ratio)

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Map ``(batch, tokens, width)`` to the same shape."""
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden), cosines, sines))
        gate, up = self.gate_up(self.feed_norm(hidden)).chunk(2, dim=-1)
        result: Tensor = hidden + self.dropout(self.down(functional.silu(gate) * up))
        return result

    def _attend(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        shape, (batch, tokens, _) = self.shape, hidden.shape
        kv_width, groups = shape.kv_heads * shape.head_width, shape.heads // shape.kv_heads
        query, key, value = self.qkv(hidden).split((shape.width, kv_width, kv_width), dim=-1)
        query = rotate(query.view(batch, tokens, shape.heads, -1).transpose(1, 2), cosines, sines)
        key = rotate(key.view(batch, tokens, shape.kv_heads, -1).transpose(1, 2), cosines, sines)
        value = value.view(batch, tokens, shape.kv_heads, -1).transpose(1, 2)
        grouped = query.reshape(batch, shape.kv_heads, groups * tokens, -1).to(value.dtype)
        mixed = attend(grouped, key.to(value.dtype), value)
        heads = mixed.view(batch, shape.heads, tokens, -1).transpose(1, 2)
        result: Tensor = self.attention_out(heads.reshape(batch, tokens, -1))
        return result


class TicketModel(nn.Module):
    """Token ids to hidden states; the output layer is the embedding table itself."""

    def __init__(self, shape: Shape, dropout_ratio: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, dropout_ratio) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        cosines, sines = rotary_table(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                is_residual = name.endswith(("attention_out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * self.shape.layers) ** 0.5 if is_residual else 0.04)

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states ``(batch, tokens, width)`` of right-padded ids ``(batch, tokens)``."""
        tokens = ids.shape[1]
        cosines, sines = self.get_buffer("cosines")[:tokens], self.get_buffer("sines")[:tokens]
        hidden = self.embedding(ids)
        for block in self.blocks:
            hidden = block(hidden, cosines, sines)
        result: Tensor = self.norm(hidden)
        return result

    def loss(self, ids: Tensor, targets: Tensor, token_weights: Tensor) -> Tensor:
        """Weighted mean cross-entropy of the answer tokens.

        Args:
            ids: Right-padded inputs, ``(batch, tokens)``.
            targets: The next token where it belongs to an answer, else -1; same shape.
            token_weights: How much each token of the vocabulary counts as a target, ``(vocabulary,)``.
        """
        hidden = self(ids)[targets >= 0]
        logits = functional.linear(hidden, self.embedding.weight).float()
        return functional.cross_entropy(logits, targets[targets >= 0], token_weights)
