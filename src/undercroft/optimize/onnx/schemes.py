"""How an encoder in ONNX can be rounded. Data."""

from __future__ import annotations

from dataclasses import dataclass

FORM = "onnx"


@dataclass(frozen=True, slots=True)
class OnnxScheme:
    """One way to round.

    Args:
        name: As it is asked for.
    """

    name: str


# Matrices in 8 bits with a scale for each output, what is read rounded while it computes. Tables of rows stay.
INT8 = OnnxScheme("INT8")
ONNX_SCHEMES = {INT8.name: INT8}
