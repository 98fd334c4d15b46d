"""The schemes for published models (safetensors) that vLLM reads, by the names that people know.

Weights of the blocks' matrices get fewer bits; tables, output layer, norms and biases stay as they are.

Source: presets of compressed-tensors 0.19; group sizes of the Marlin kernels of vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["gptq", "awq", "smoothing", "rounding"]
Packing = Literal["int4", "int8", "fp8", "mxfp4", "nvfp4"]
# Largest first: larger groups take fewer bytes.
GROUP_SIZES = (128, 64, 32)
FORM = "safetensors"


@dataclass(frozen=True, slots=True)
class CompressedScheme:
    """One way to make a published model smaller.

    Args:
        name: What a person writes.
        preset: What compressed-tensors calls the result.
        method: How the numbers are found: ``rounding`` looks at the weights alone, the others at texts, too.
        packing: What a weight becomes.
        group_size: Weights that share a scale, where the scheme fixes it; 0 where a whole row does; None where it can
            be chosen among `GROUP_SIZES`.
        largest_nats: Largest mean divergence from the source that passes, nats a token.
        purpose: Where it is fast, in a few words.
    """

    name: str
    preset: str
    method: Method
    packing: Packing
    group_size: int | None
    largest_nats: float
    purpose: str

    @property
    def needs_texts(self) -> bool:
        """Whether it has to read texts of its user's."""
        return self.method != "rounding"

    @property
    def is_float4(self) -> bool:
        """Whether a weight becomes a floating-point number of four bits."""
        return self.packing in ("mxfp4", "nvfp4")

    @property
    def warning(self) -> str:
        """What has to be known before a model is made so; empty where nothing is special."""
        if self.is_float4:
            return (
                f"{self.name} keeps floats of four bits, for GPUs with arithmetic of their own for them (Blackwell). "
                "Elsewhere it gains nothing over gptq-w4a16 of about the same size, and loses more: accuracy may go, "
                "so measure it before it serves."
            )
        if self.packing == "fp8":
            return (
                f"{self.name} rounds what is read between the layers, too, for GPUs that calculate in it (Ada, Hopper "
                "and later): accuracy may go, so measure it before it serves."
            )
        return ""


COMPRESSED: dict[str, CompressedScheme] = {
    scheme.name: scheme
    for scheme in (
        CompressedScheme("gptq-w4a16", "W4A16", "gptq", "int4", None, 0.5, "smallest, on most GPUs"),
        CompressedScheme("awq-w4a16", "W4A16", "awq", "int4", None, 0.5, "smallest, on most GPUs"),
        CompressedScheme("w8a8", "W8A8", "smoothing", "int8", 0, 0.1, "fast on GPUs from Turing on, and on CPUs"),
        CompressedScheme("fp8", "FP8_DYNAMIC", "rounding", "fp8", 0, 0.1, "fast on GPUs from Ada on"),
        CompressedScheme("mxfp4a16", "MXFP4A16", "rounding", "mxfp4", 32, 0.7, "GPUs with four-bit floats"),
        CompressedScheme("nvfp4a16", "NVFP4A16", "rounding", "nvfp4", 16, 0.6, "GPUs with four-bit floats"),
    )
}
ALIASES = {"gptq": "gptq-w4a16", "awq": "awq-w4a16", "fp8-dynamic": "fp8"}


def compressed_scheme(name: str) -> CompressedScheme | None:
    """A scheme by its name, in any case, with ``-`` or ``_``; None where it is none of these."""
    wanted = name.strip().lower().replace("_", "-")
    return COMPRESSED.get(ALIASES.get(wanted, wanted))
