"""The quantization schemes of llama.cpp: how a whole model is made smaller, by the names that people know.

A scheme is a mixture: it names a type for most tensors, and rules (`undercroft.optimize.quantization.mixtures`) give
some of them more bits, a few fewer.

Source: ``QUANT_OPTIONS`` in ``tools/quantize/quantize.cpp`` and ``enum llama_ftype`` of llama.cpp, b11549. Q1_0 and
Q2_0 are left out: they are for models that were trained in them. MXFP4 and NVFP4 of a model without experts are our
own: llama.cpp has the types, and no rule which tensors get them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.gguf_types import TENSOR_TYPES, TensorType

TYPES: dict[str, TensorType] = {kind.name: kind for kind in TENSOR_TYPES.values()}
TYPE_NUMBERS: dict[str, int] = {kind.name: number for number, kind in TENSOR_TYPES.items()}
# What llama.cpp has no rules for.
OWN_SCHEMES = frozenset({"MXFP4", "NVFP4"})
# Floating-point numbers of four bits: E2M1, blocks with a scale of their own.
FOUR_BIT_FLOATS = frozenset({"MXFP4", "NVFP4"})
UNQUANTIZED = frozenset({"F32", "F16", "BF16"})

# Without a matrix these are garbage, wherever they are used but for the embeddings.
NEEDING_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to quantize a model.

    Args:
        name: As ``llama-quantize`` calls it, such as ``Q4_K_M``.
        file_type: What ``general.file_type`` of the result says.
        base: Type of the tensors that no rule names.
    """

    name: str
    file_type: int
    base: str

    @property
    def base_bits(self) -> float:
        """Bits a weight of the base type, scales included; what a model comes to depends on its tensors."""
        kind = TYPES[self.base]
        return kind.block_bytes * 8 / kind.block

    @property
    def warning(self) -> str:
        """What has to be known before a model is made so; empty where nothing is special."""
        if self.base not in FOUR_BIT_FLOATS:
            return ""
        return (
            f"{self.name} is for processors with arithmetic of its own for four-bit floats. Elsewhere it gains nothing "
            "over Q4_K_M of about the same size, and loses more: accuracy may go, so measure it before it serves."
        )

    @property
    def needs_importance(self) -> bool:
        """Whether every model needs an importance matrix for it; others may, for the tensors of their shape."""
        return self.base in NEEDING_IMPORTANCE or self.name == "Q2_K_S"


SCHEMES: dict[str, Scheme] = {
    name: Scheme(name, file_type, base)
    for name, file_type, base in (
        ("F32", 0, "F32"),
        ("F16", 1, "F16"),
        ("BF16", 32, "BF16"),
        ("Q8_0", 7, "Q8_0"),
        ("Q6_K", 18, "Q6_K"),
        ("Q5_K_M", 17, "Q5_K"),
        ("Q5_K_S", 16, "Q5_K"),
        ("Q5_1", 9, "Q5_1"),
        ("Q5_0", 8, "Q5_0"),
        ("Q4_K_M", 15, "Q4_K"),
        ("Q4_K_S", 14, "Q4_K"),
        ("Q4_1", 3, "Q4_1"),
        ("Q4_0", 2, "Q4_0"),
        ("IQ4_NL", 25, "IQ4_NL"),
        ("IQ4_XS", 30, "IQ4_XS"),
        ("MXFP4_MOE", 38, "MXFP4"),
        ("MXFP4", 38, "MXFP4"),
        ("NVFP4", 39, "NVFP4"),
        ("Q3_K_L", 13, "Q3_K"),
        ("Q3_K_M", 12, "Q3_K"),
        ("Q3_K_S", 11, "Q3_K"),
        ("IQ3_M", 27, "IQ3_S"),
        ("IQ3_S", 26, "IQ3_S"),
        ("IQ3_XS", 22, "IQ3_S"),
        ("IQ3_XXS", 23, "IQ3_XXS"),
        ("Q2_K", 10, "Q2_K"),
        ("Q2_K_S", 21, "Q2_K"),
        ("IQ2_M", 29, "IQ2_S"),
        ("IQ2_S", 28, "IQ2_XS"),
        ("IQ2_XS", 20, "IQ2_XS"),
        ("IQ2_XXS", 19, "IQ2_XXS"),
        ("TQ2_0", 37, "TQ2_0"),
        ("TQ1_0", 36, "TQ1_0"),
        ("IQ1_M", 31, "IQ1_M"),
        ("IQ1_S", 24, "IQ1_S"),
    )
}
_ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}


def scheme_named(name: str) -> Scheme:
    """A scheme by its name, in any case; ``Q4_K`` is ``Q4_K_M``, as for ``llama-quantize``.

    Raises:
        InvalidError: ``unknown-scheme``, with the nearest names.
    """
    wanted = name.strip().upper().replace("-", "_")
    found = SCHEMES.get(_ALIASES.get(wanted, wanted))
    if found is not None:
        return found
    near = difflib.get_close_matches(wanted, [*SCHEMES, *_ALIASES], n=3, cutoff=0.5) or ["Q4_K_M", "Q8_0"]
    raise InvalidError(
        "unknown-scheme",
        f"{name!r} is no quantization scheme, expected one of {', '.join(SCHEMES)}",
        hint=f"write {near[0]}" + (f", or {' or '.join(near[1:])}" if near[1:] else ""),
    )
