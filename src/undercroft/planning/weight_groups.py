"""The tensors of a network that no file holds yet, equal blocks together: most blocks of a network are alike. Pure.

A mix of llama.cpp has a few kinds of blocks, so sums over them are made of a few blocks and not of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.planning.quantization import kinds_of, quantized_types
from undercroft.planning.weights import ShapeKey, TensorShape, block_of, tensor_shapes

TABLES = -1


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks with the same tensors in the same types.

    Args:
        tensors: Of the first of them, in the order of a file.
        blocks: Their indices; `TABLES` alone for what belongs to no block.
    """

    tensors: tuple[StoredTensor, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Template:
    """What is the same of a network in every mix.

    Args:
        tensors: In the order of its blocks, the tables first.
        kinds: Of each.
        spans: Begin and end of the tables, then of each block.
        shapes: Of the tensors of each span.
    """

    tensors: tuple[TensorShape, ...]
    kinds: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]


def groups_of(model: ModelShape, quantization: str) -> tuple[Group, ...]:
    """The groups of a network in a mix, by their first block; the tables come first.

    Args:
        model: Its shape, without tensors of a file.
        quantization: A mix of llama.cpp.

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    return _groups(ShapeKey(model), quantization)


@lru_cache(maxsize=1024)
def _groups(key: ShapeKey, quantization: str) -> tuple[Group, ...]:
    template = _template(key)
    types = quantized_types(template.tensors, template.kinds, quantization, key.model)
    alike: dict[object, list[int]] = {}
    for index, (begin, end) in enumerate(template.spans):
        alike.setdefault((template.shapes[index], tuple(types[begin:end])), []).append(index)
    found = []
    for spans in alike.values():
        begin, end = template.spans[spans[0]]
        stored = [
            StoredTensor(tensor.name, tensor.shape, *types[index])
            for index, tensor in enumerate(template.tensors[begin:end], begin)
        ]
        found.append(Group(tuple(sorted(stored, key=lambda tensor: tensor.name)), tuple(span - 1 for span in spans)))
    return tuple(found)


@lru_cache(maxsize=512)
def _template(key: ShapeKey) -> _Template:
    every = tensor_shapes(key.model)
    ordered = tuple(sorted(every, key=lambda tensor: block_of(tensor.name)))  # stable: the order within a block stays
    begins = [0] * (key.model.layers + 2)
    for tensor in ordered:
        begins[block_of(tensor.name) + 2] += 1
    for index in range(1, len(begins)):
        begins[index] += begins[index - 1]
    spans = tuple(pairwise(begins))
    shapes = tuple(tuple(tensor.shape for tensor in ordered[begin:end]) for begin, end in spans)
    return _Template(ordered, kinds_of(ordered), spans, shapes)
