"""Whether a well-formed GGUF file is a LoRA adapter that llama.cpp can load, and whether it fits a base model.

A LoRA changes a matrix of its base by the product of two small ones, ``lora_a`` and ``lora_b``. llama.cpp refuses a
pair that does not fit only when the engine starts, and leaves changed norms out without a word; here both are a
sentence before one is started.

Source: ``llama-adapter.cpp`` and ``convert_lora_to_gguf.py`` of llama.cpp, 2026-10.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from undercroft.registry.facts import AdapterFacts, ModelFacts
from undercroft.registry.inspection.gguf import GgufHeader, Tensor
from undercroft.registry.inspection.gguf_model import (
    base_models_of_header,
    check_architecture,
    licence_of_header,
    quantization_of,
    title_of_header,
)
from undercroft.registry.inspection.gguf_types import ValueType
from undercroft.registry.inspection.reading import refuse

TYPE = "adapter"
_PAIRED = re.compile(r"(?P<base>.+)\.lora_(?P<part>[ab])")
_BLOCK = re.compile(r"blk\.\d+\.(?P<matrix>.+)\.weight")
_EMBEDDING = "token_embd.weight"
_RANK_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Pair:
    """The two matrices that change one of the base's.

    Args:
        a: Shape of ``lora_a``, innermost first.
        b: Shape of ``lora_b``.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]


def is_adapter(header: GgufHeader) -> bool:
    """Whether a file says that it is an adapter."""
    return header.text("general.type") == TYPE


def inspect_adapter(headers: Sequence[GgufHeader]) -> ModelFacts:
    """Checks that a file is a LoRA, and reads its facts.

    Args:
        headers: Of one file.

    Raises:
        InvalidError: ``bad-gguf``.
    """
    header = headers[0]
    if len(headers) > 1 or (header.integer("split.count") or 1) > 1:
        _fail(header, "it is an adapter in several parts, expected one file")
    architecture = check_architecture(header)
    kind = header.text("adapter.type")
    if kind != "lora":
        _fail(header, f"it is an adapter of the type {kind!r}, expected 'lora'"[:200])
    if "adapter.alora.invocation_tokens" in header.values:
        _fail(header, "it is an activated LoRA, which begins in the middle of a prompt; expected a plain LoRA")
    pairs = pairs_of(header)
    alpha = _alpha(header)
    ranks = {name: _rank(header, name, pair) for name, pair in pairs.items()}
    return ModelFacts(
        architecture=architecture,
        parameters=sum(tensor.elements for tensor in header.tensors),
        quantization=quantization_of(headers),
        bits_per_weight=_bits_per_weight(header.tensors),
        licence=licence_of_header(header),
        base_models=base_models_of_header(header),
        title=title_of_header(header),
        adapter=AdapterFacts(
            rank=max(ranks.values()),
            alpha=alpha,
            changes=_changed(pairs),
            changed_tensors=len(pairs),
            has_half_precision=any(tensor.kind.name == "F16" for tensor in header.tensors),
        ),
    )


def pairs_of(header: GgufHeader) -> dict[str, Pair]:
    """The matrices of the base that an adapter changes, by name, each with its pair.

    Raises:
        InvalidError: ``bad-gguf``: it has none, half of one, or something that llama.cpp would leave out.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in header.tensors:
        match = _PAIRED.fullmatch(tensor.name)
        if match is None:
            _fail(
                header,
                f"it changes the tensor {tensor.name!r} without a pair lora_a and lora_b, and llama.cpp would leave "
                "that change out; merge the adapter into its base instead",
            )
        found.setdefault(match["base"], {})[match["part"]] = tensor.shape
    if not found:
        _fail(header, "it holds no tensors")
    for name, parts in found.items():
        if len(parts) != 2:
            _fail(header, f"tensor {name!r} has only one of lora_a and lora_b")
    return {name: Pair(parts["a"], parts["b"]) for name, parts in found.items()}


def find_misfit(
    pairs: Mapping[str, Pair], *, architecture: str, base: Mapping[str, tuple[int, ...]], base_architecture: str
) -> str | None:
    """Why an adapter cannot belong to a base; None where it can. Pure.

    Args:
        pairs: What the adapter changes.
        architecture: That the adapter was made for.
        base: Shapes of the base's tensors by name, innermost first.
        base_architecture: Of the base.
    """
    if architecture != base_architecture:
        return f"it was made for a model of the architecture {architecture!r}, this is {base_architecture!r}"
    for name, pair in pairs.items():
        shape = base.get(name)
        if shape is None:
            return f"it changes the tensor {name!r}, which this model does not have"
        changed = _changed_shape(name, pair)
        if changed != shape:
            return f"it changes the tensor {name!r} as {_shown(changed)}, this model has it as {_shown(shape)}"
    return None


def _changed_shape(name: str, pair: Pair) -> tuple[int, ...]:
    """Shape of the matrix that a pair changes: product of the two, or for the token table of what is looked up."""
    if name == _EMBEDDING:
        return (pair.b[1], pair.a[1])
    return (pair.a[0], pair.b[1], *pair.a[2:])


def _rank(header: GgufHeader, name: str, pair: Pair) -> int:
    inner = pair.a[0] if name == _EMBEDDING else pair.a[1] if len(pair.a) > 1 else 0
    is_paired = 2 <= len(pair.a) <= 3 and len(pair.a) == len(pair.b) and pair.a[2:] == pair.b[2:]
    if not is_paired or inner != pair.b[0]:
        _fail(header, f"tensor {name!r} has lora_a {_shown(pair.a)} and lora_b {_shown(pair.b)}, which do not multiply")
    if inner > _RANK_LIMIT:
        _fail(header, f"tensor {name!r} has the rank {inner:,}, expected at most {_RANK_LIMIT:,}")
    return inner


def _alpha(header: GgufHeader) -> float:
    found = header.values.get("adapter.lora.alpha")
    # llama.cpp stops its process where this has another type, and scales by 1 where it is 0 or not there.
    if found is None:
        return 0.0
    if found.kind is not ValueType.FLOAT32 or not isinstance(found.value, float):
        _fail(header, f"adapter.lora.alpha has type {found.kind.name}, expected FLOAT32")
    if not math.isfinite(found.value) or found.value < 0:
        _fail(header, f"adapter.lora.alpha is {found.value}, expected a number from 0 up")
    return found.value


def _changed(pairs: Mapping[str, Pair]) -> tuple[str, ...]:
    """Kinds of matrices: ``attn_q``, ``ffn_down``; most often changed first."""
    counted: Counter[str] = Counter()
    for name in pairs:
        match = _BLOCK.fullmatch(name)
        counted[match["matrix"] if match else name.removesuffix(".weight")] += 1
    return tuple(sorted(counted, key=lambda matrix: (-counted[matrix], matrix)))


def _bits_per_weight(tensors: Sequence[Tensor]) -> float:
    return round(sum(t.size_bytes for t in tensors) * 8 / sum(t.elements for t in tensors), 2)


def _shown(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


def _fail(header: GgufHeader, problem: str) -> NoReturn:
    refuse("bad-gguf", "GGUF file", header.name, problem)
