"""What ``quantization_config`` says of weights that compressed-tensors has packed. Pure.

Source: ``QuantizationScheme`` and the compressors of compressed-tensors 0.19: ``pack-quantized`` puts integers into
I32, ``…fp4-pack-quantized`` two numbers into a byte; scales, zero points and shapes are tensors of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.registry.inspection.safetensors import StoredTensor

METHOD = "compressed-tensors"
USUAL_GROUP = 128
_PACKED = ".weight_packed"
# What stands beside a weight and is none.
_BESIDE = (
    *(".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_global_scale", ".weight_g_idx"),
    *(".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale", ".k_scale", ".v_scale"),
)
# Bits of a float, values of a group → what its scheme is called.
_FLOATS_OF_FOUR_BITS = {32: "MXFP4", 16: "NVFP4"}
_WORD_BITS = {"I32": 32, "U8": 8, "I8": 8}


def name_of(config: Mapping[str, Any]) -> str | None:
    """What people call the scheme: ``W4A16``, ``W8A8``, ``FP8``, ``MXFP4A16``; ``W4A16_G64`` for groups not of 128.

    Args:
        config: A parsed ``config.json``.

    Returns:
        None where the weights are not of compressed-tensors, or of several schemes.
    """
    schemes = {_name_of_group(group) for group in _groups(config)}
    return schemes.pop() if len(schemes) == 1 else None


def count_weights(tensors: Sequence[StoredTensor], config: Mapping[str, Any]) -> int | None:
    """Weights that packed tensors stand for, and all others as they are; None where the folder is not of this kind.

    Args:
        tensors: Of all files of the model.
        config: A parsed ``config.json``.
    """
    bits = {_count(_part(group, "weights"), "num_bits") for group in _groups(config)} - {None}
    if len(bits) != 1:
        return None
    (one,) = bits
    assert one is not None  # taken out above
    total = 0
    for tensor in tensors:
        if tensor.name.endswith(_PACKED) and tensor.dtype in _WORD_BITS:
            total += tensor.elements * _WORD_BITS[tensor.dtype] // one
        elif not tensor.name.endswith(_BESIDE):
            total += tensor.elements
    return total


def _groups(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = _part(config, "quantization_config")
    if found.get("quant_method") != METHOD:
        return []
    return [group for group in _part(found, "config_groups").values() if isinstance(group, dict)]


def _name_of_group(group: Mapping[str, Any]) -> str | None:
    weights, inputs = _part(group, "weights"), _part(group, "input_activations")
    bits, size = _count(weights, "num_bits"), _count(weights, "group_size")
    kind = weights.get("type")
    if bits is None or not bits <= 8:
        return None
    read = _count(inputs, "num_bits") or 16
    if kind == "float" and bits == 4:
        found = _FLOATS_OF_FOUR_BITS.get(size or 0)
        return found and (found if read == 4 else f"{found}A{read}")
    if kind == "float":
        return "FP8" if bits == read == 8 else f"FP{bits}A{read}"
    if kind != "int":
        return None
    end = f"_G{size}" if size is not None and size != USUAL_GROUP else ""
    return f"W{bits}A{read}{end}"


def _part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _count(values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**20 else None
