"""What a model's own files say about it. What they do not say stays unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What a LoRA adapter is; read from its file.

    Args:
        rank: Of the matrices that it adds; the largest where they differ.
        alpha: What it was trained with; its changes are scaled by alpha / rank. 0: they are not scaled.
        changes: Kinds of matrices of the base that it changes: ``attn_q``, ``ffn_down``; of PEFT's ``q_proj``.
        changed_tensors: How many matrices of the base; count.
        has_half_precision: Whether a matrix of it is F16; llama.cpp keeps it so, and large activations overflow.
        is_rank_stabilized: Its changes are scaled by alpha / √rank (rsLoRA).
    """

    rank: int
    alpha: float
    changes: tuple[str, ...]
    changed_tensors: int
    has_half_precision: bool
    is_rank_stabilized: bool = False

    @property
    def scale(self) -> float:
        """What its changes are multiplied by."""
        if not self.alpha:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.is_rank_stabilized else self.rank)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Read from the files at import; text that they do not say is ``unknown``, a number None, a list empty.

    Args:
        architecture: As the file calls it: ``llama``, ``qwen2``, ``BertModel``.
        task: ``generate``, ``embed``, ``rerank`` or ``classify``; None where neither architecture nor pooling tells.
        parameters: Elements of all tensors; count.
        context_tokens: Longest context that it was made for.
        layers: Blocks; count.
        embedding_length: Width between the blocks; values.
        heads: Query heads of the widest block; count.
        kv_heads: Key/value heads of the widest block; count.
        head_dim: Width of one key head; values.
        vocabulary_tokens: Tokens of its vocabulary; count.
        quantization: Kind of most weights: ``Q4_K_M``, ``F16``, ``BF16``.
        bits_per_weight: Size of the tensors in bits, per element.
        licence: SPDX-like identifier in lower case: ``apache-2.0``; where the files name several, all of them,
            joined by ``AND``.
        languages: As the files name them: ``en``, ``th``.
        base_models: What it was made from, as the files name it.
        title: Its own name for itself.
        chat_template: Jinja text; None where it has none.
        other_templates: Name and Jinja text of further chat templates.
        adapter: Of a LoRA adapter, which changes a base model and is none by itself; else None.
    """

    architecture: str = UNKNOWN
    task: str | None = None
    parameters: int | None = None
    context_tokens: int | None = None
    layers: int | None = None
    embedding_length: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary_tokens: int | None = None
    quantization: str = UNKNOWN
    bits_per_weight: float | None = None
    licence: str = UNKNOWN
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    title: str = UNKNOWN
    chat_template: str | None = None
    other_templates: Mapping[str, str] = field(default_factory=dict)
    adapter: AdapterFacts | None = None

    @property
    def kind(self) -> Literal["model", "adapter"]:
        """What it is: a model, or an adapter, which needs one."""
        return "model" if self.adapter is None else "adapter"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``adapter`` only where it is one."""
        plain = {**asdict(self), "languages": list(self.languages), "base_models": list(self.base_models)}
        if self.adapter is None:
            del plain["adapter"]
        else:
            plain["adapter"]["changes"] = list(self.adapter.changes)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelFacts:
        """Reads what `to_dict` gave; fields that another version wrote and this one does not know are left out."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        for name in ("languages", "base_models"):
            values[name] = tuple(values.get(name, ()))
        if values.get("adapter") is not None:
            adapter = values["adapter"]
            values["adapter"] = AdapterFacts(
                **{f.name: adapter[f.name] for f in fields(AdapterFacts) if f.name != "changes" and f.name in adapter},
                changes=tuple(adapter["changes"]),
            )
        return cls(**values)
