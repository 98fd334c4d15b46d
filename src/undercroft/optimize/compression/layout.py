"""Which tensors of a published model become smaller, and what each becomes: names, shapes, bytes of the file. Pure.

Source: the compressors of compressed-tensors 0.19, the writer of safetensors 0.8.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.schemes import GROUP_SIZES, CompressedScheme
from undercroft.registry.inspection.safetensors import DTYPES, StoredTensor

_MATRIX = re.compile(r"(?:^|\.)layers\.\d+\..+\.weight")
_TABLE, _OUTPUT = "embed_tokens.weight", "lm_head.weight"
_ALIGNMENT_BYTES = 8
# The order in which types stand in a file; larger ones go first.
_ORDER = (
    *("BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"),
    *("I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"),
)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}

Planned = tuple[str, str, tuple[int, ...]]


def matrices(tensors: Sequence[StoredTensor], model: str) -> list[StoredTensor]:
    """The matrices of the blocks: all that gets fewer bits.

    Args:
        tensors: Of all files of the model.
        model: Its name, for errors.

    Raises:
        InvalidError: ``unknown-layout``: there are none, or a block holds a mixture of experts.
    """
    experts = next((one.name for one in tensors if ".experts." in one.name or len(one.shape) > 2), None)
    if experts is not None:
        raise InvalidError(
            "unknown-layout",
            f"model {model!r} holds experts or convolutions ({experts[:80]}), which were not tried with these schemes",
            hint=f"undercroft optimize convert {model}, then quantize the GGUF",
        )
    found = [one for one in tensors if len(one.shape) == 2 and _MATRIX.search(one.name)]
    if not found:
        raise InvalidError(
            "unknown-layout",
            f"model {model!r} has no matrices in layers.0, layers.1 …: expected blocks as Llama and its relatives "
            "name them",
            hint=f"undercroft optimize convert {model}, then quantize the GGUF",
        )
    return found


def choose_group_size(
    scheme: CompressedScheme, columns: Iterable[int], wanted: int | None, *, model: str
) -> int | None:
    """How many weights of a row share a scale.

    Args:
        scheme: Which.
        columns: Widths of the matrices; values of a row.
        wanted: As asked; None takes the largest that divides.
        model: Its name, for errors.

    Returns:
        None where a whole row shares one.

    Raises:
        InvalidError: ``group-size``: it does not divide every row; the nearest that does is named.
    """
    if scheme.group_size == 0:
        return None
    widths = sorted(set(columns))
    dividing = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
    if scheme.group_size is not None:
        if all(width % scheme.group_size == 0 for width in widths):
            return scheme.group_size
        raise _undivided(scheme, widths, scheme.group_size, model, "fp8 and w8a8 have no groups")
    if wanted is None and dividing:
        return dividing[0]
    if wanted is not None and wanted in dividing:
        return wanted
    size = wanted if wanted is not None else GROUP_SIZES[-1]
    if not dividing:
        raise _undivided(scheme, widths, size, model, "fp8 and w8a8 have no groups")
    near = min(dividing, key=lambda one: (abs(one - size), -one))
    raise _undivided(scheme, widths, size, model, f"--group-size {near}, the nearest that does")


def _undivided(scheme: CompressedScheme, widths: Sequence[int], size: int, model: str, hint: str) -> InvalidError:
    wrong = ", ".join(f"{width:,}" for width in widths if width % size)
    return InvalidError(
        "group-size",
        f"{scheme.name} of model {model!r}: groups of {size} do not divide rows of {wrong} weights",
        hint=hint,
    )


def planned(
    tensors: Sequence[StoredTensor],
    scheme: CompressedScheme,
    group_size: int | None,
    *,
    chosen: Sequence[StoredTensor],
    is_tied: bool,
) -> list[Planned]:
    """Name, type and shape of every tensor of the result.

    Args:
        tensors: Of the source.
        scheme: Which.
        group_size: From `choose_group_size`.
        chosen: From `matrices`.
        is_tied: The output layer is the table of the tokens; written once.
    """
    names = {one.name for one in chosen}
    has_table = any(one.name.endswith(_TABLE) for one in tensors)
    made: list[Planned] = []
    for one in tensors:
        if one.name in names:
            made += _packed(one, scheme, group_size)
        elif not (is_tied and has_table and one.name == _OUTPUT):
            made.append((one.name, one.dtype, one.shape))
    return made


def _packed(tensor: StoredTensor, scheme: CompressedScheme, group_size: int | None) -> list[Planned]:
    rows, columns = tensor.shape
    name, kind = tensor.name, tensor.dtype
    groups = columns // group_size if group_size else 1
    if scheme.packing == "int4":
        return [
            (f"{name}_packed", "I32", (rows, math.ceil(columns * 4 / 32))),
            (f"{name}_scale", kind, (rows, groups)),
            (f"{name}_shape", "I64", (2,)),
        ]
    if scheme.packing == "int8":
        return [(name, "I8", (rows, columns)), (f"{name}_scale", kind, (rows, 1))]
    if scheme.packing == "fp8":
        return [(name, "F8_E4M3", (rows, columns)), (f"{name}_scale", kind, (rows, 1))]
    if scheme.packing == "mxfp4":
        return [(f"{name}_packed", "U8", (rows, columns // 2)), (f"{name}_scale", "U8", (rows, groups))]
    return [
        (f"{name}_packed", "U8", (rows, columns // 2)),
        (f"{name}_scale", "F8_E4M3", (rows, groups)),
        (f"{name}_global_scale", "F32", (1,)),
    ]


def file_bytes(tensors: Sequence[Planned]) -> int:
    """Bytes of one safetensors file that holds them, its header included."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, kind, shape in sorted(tensors, key=lambda one: (-_RANK[one[1]], one[0])):
        end = at + math.prod(shape) * DTYPES[kind] // 8
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    written = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + math.ceil(written / _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES + at
