"""Rounds the weights of a LiteRT program to 8 bits. Runs in the environment ``litert``."""

from __future__ import annotations

from pathlib import Path

from ai_edge_quantizer import quantizer, recipe


def round_weights(program: Path) -> None:
    """Replaces a program by one that rounds inputs as they come; its weights are rounded, each row by its own factor.

    Args:
        program: ``.tflite``; while it is rounded ``whole.tflite`` lies beside it.
    """
    whole = program.with_name("whole.tflite")
    program.rename(whole)
    rounding = quantizer.Quantizer(str(whole), recipe.dynamic_wi8_afp32())
    rounding.quantize().export_model(str(program))
    whole.unlink()
