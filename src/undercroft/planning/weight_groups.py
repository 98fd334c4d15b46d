"""The tensors of a network that no file holds yet, equal blocks together: most blocks of a network are alike. Pure.

A mix of llama.cpp has a few kinds of blocks, so sums over them are made of a few blocks and not of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.planning.quantization import TypeChooser, kinds_of
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
        patterns: Of each span the first one whose tensors have the same kinds and shapes.
    """

    tensors: tuple[TensorShape, ...]
    kinds: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    patterns: tuple[int, ...]


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
    tensors, kinds = template.tensors, template.kinds
    chooser = TypeChooser(quantization, kinds, key.model)
    # Of blocks of one pattern only tensors that go by their order can differ.
    ordered = {
        pattern: [
            place for place, kind in enumerate(kinds[slice(*template.spans[pattern])]) if chooser.goes_by_order(kind)
        ]
        for pattern in set(template.patterns)
    }
    alike: dict[object, tuple[list[int], dict[int, tuple[str, int]]]] = {}
    for index, ((begin, _), pattern) in enumerate(zip(template.spans, template.patterns, strict=True)):
        places = [begin + place for place in ordered[pattern]]
        types = [chooser.stored_as(tensors[place], kinds[place]) for place in places]
        own = alike.setdefault((pattern, tuple(types)), ([], dict(zip(places, types, strict=True))))
        own[0].append(index)
    found = []
    for spans, types_of in alike.values():
        begin, end = template.spans[spans[0]]
        stored = [
            StoredTensor(
                tensors[place].name,
                tensors[place].shape,
                *(types_of.get(place) or chooser.stored_as(tensors[place], kinds[place])),
            )
            for place in range(begin, end)
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
    spans, kinds = tuple(pairwise(begins)), kinds_of(ordered)
    described = [(kind, tensor.shape) for kind, tensor in zip(kinds, ordered, strict=True)]
    first: dict[object, int] = {}
    patterns = tuple(first.setdefault(tuple(described[begin:end]), index) for index, (begin, end) in enumerate(spans))
    return _Template(ordered, kinds, spans, patterns)
