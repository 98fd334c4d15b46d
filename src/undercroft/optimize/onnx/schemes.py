"""How an encoder in ONNX can be rounded. Data, and what settings go with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

FORM = "onnx"
_EXACT_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


@dataclass(frozen=True, slots=True)
class OnnxScheme:
    """One way to round.

    Args:
        name: As it is asked for.
        needs_texts: The ranges of what is read are taken from texts of the user's, once, and not for every batch.
    """

    name: str
    needs_texts: bool = False


# Matrices in 8 bits with a scale for each output, what is read rounded while it computes. Tables of rows stay.
INT8 = OnnxScheme("INT8")
INT8_STATIC = OnnxScheme("INT8-STATIC", needs_texts=True)
ONNX_SCHEMES = {scheme.name: scheme for scheme in (INT8, INT8_STATIC)}


def suits_signed(architecture: str, features: Collection[str]) -> bool:
    """Whether a processor multiplies unsigned inputs by signed weights exactly. Pure.

    ONNX Runtime adds such products in pairs of 16 bits on x86 without VNNI, which overflow without a word; unsigned
    weights are exact on every processor, and use no VNNI. Our engine tells it to be exact; other servers may not.

    Args:
        architecture: ``x86_64``, ``aarch64``.
        features: Its instruction sets.

    Source:
        ONNX Runtime, ``core/mlas/lib/platform.cpp`` and the guide to its quantizer, on U8S8 and saturation.
    """
    return architecture not in ("x86_64", "AMD64") or not _EXACT_SUMS.isdisjoint(features)


def onnx_scheme(name: str) -> OnnxScheme | None:
    """A scheme by its name, in any case, with ``-`` or ``_``; None where it is none of these."""
    return ONNX_SCHEMES.get(name.strip().upper().replace("_", "-"))


def problem_of_onnx(scheme: OnnxScheme, given: Sequence[str]) -> str | None:
    """What does not belong to a scheme, or is missing; None where all is well.

    Args:
        scheme: Which.
        given: Names of the settings beside it.
    """
    more = [name for name in given if name != "calibration" or not scheme.needs_texts]
    if more:
        return f"{scheme.name} takes no other settings, got {', '.join(more)}"
    if scheme.needs_texts and "calibration" not in given:
        return (
            f"{scheme.name} rounds by what texts excite in the model, and ours would not be yours: expected "
            f"calibration: {{texts: FILE}}, as an option --calibration-texts FILE; {INT8.name} needs none"
        )
    return None
