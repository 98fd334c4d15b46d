"""Where llama.cpp keeps each weight: mapped from the file, repacked into private memory, or on an accelerator. Pure.

Source: ``ggml_repack_get_optimal_repack_type`` of ``ggml-cpu/repack.cpp`` and ``select_weight_buft`` of
``llama-model-loader.cpp`` in llama.cpp, 2026-10. A repacked matrix is a second copy: the file's pages stay mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.planning.quantization import quantized
from undercroft.planning.weight_groups import Group, groups_of
from undercroft.planning.weights import ShapeKey, block_of, tensor_shapes

# Type → instruction sets, of each group any one alone is enough, and rows that must be divisible by.
_REPACKED: dict[str, tuple[tuple[frozenset[str], int], ...]] = {
    "Q4_0": ((frozenset({"avx2"}), 8), (frozenset({"neon", "dotprod"}), 4)),
    "Q4_K": ((frozenset({"avx2"}), 8), (frozenset({"neon", "dotprod"}), 8)),
    "Q5_K": ((frozenset({"neon", "dotprod"}), 8),),
    "Q6_K": ((frozenset({"neon", "dotprod"}), 8),),
    "Q8_0": ((frozenset({"neon", "dotprod"}), 4),),
    "IQ4_NL": ((frozenset({"avx2"}), 8), (frozenset({"neon", "dotprod"}), 4)),
    "MXFP4": ((frozenset({"avx2"}), 8), (frozenset({"neon", "dotprod"}), 4)),
}
# Read by row or added, not multiplied with: never repacked, and kept on the host.
_INPUTS = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")
_INPUT_PREFIXES = ("token_embd_norm.",)
_REPACKING = frozenset({"avx2", "neon", "dotprod"})
# What an x86 server has, assumed where the host is not known.
_USUAL_FEATURES = frozenset({"avx2"})


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """Bytes of the weights by where they are used.

    Args:
        inputs: Embedding tables; always on the host.
        layers: Of each block, as stored.
        output: Output layer and its norm, as stored; with tied embeddings the norm alone.
        repacked_layers: Of each block, what the CPU would repack.
        repacked_output: Of the output layer, what the CPU would repack.
        tied_output: Bytes of the embedding table where it is the output layer as well; an accelerator holds a copy.
        unmapped: Bytes at the file's ends that lie beyond every matrix that is read from the file, where all blocks are
            on the host; their pages are given back after loading.
        usual_type: Type of most bytes in the blocks.
    """

    inputs: int
    layers: tuple[int, ...]
    output: int
    repacked_layers: tuple[int, ...]
    repacked_output: int
    tied_output: int
    unmapped: int
    usual_type: str

    @property
    def total(self) -> int:
        """Bytes of all tensors, as stored."""
        return self.inputs + sum(self.layers) + self.output

    @property
    def repacked(self) -> int:
        """Bytes that a host without accelerators repacks."""
        return sum(self.repacked_layers) + self.repacked_output


def stored_tensors(model: ModelShape, quantization: str = "") -> tuple[StoredTensor, ...]:
    """The tensors with their types: the file's own, or as a quantizer would write them.

    Args:
        model: Its shape.
        quantization: A mix of llama.cpp's; empty takes the file's own, or F16 where there is no file.

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    return _stored(ShapeKey(model), quantization)


def weight_layout(model: ModelShape, quantization: str, features: frozenset[str]) -> WeightLayout:
    """Bytes by block.

    Args:
        model: Its shape.
        quantization: As for `stored_tensors`.
        features: Instruction sets of the host; empty is not known, and an x86 server with AVX2 is assumed.

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    return _layout(ShapeKey(model), quantization, (features or _USUAL_FEATURES) & _REPACKING)


@lru_cache(maxsize=1024)
def _stored(key: ShapeKey, quantization: str) -> tuple[StoredTensor, ...]:
    model = key.model
    if model.tensors and not quantization:
        return model.tensors
    stored = quantized(tensor_shapes(model), quantization or "F16", model)
    return tuple([stored[index] for index in _file_order(key)])


@lru_cache(maxsize=512)
def _file_order(key: ShapeKey) -> tuple[int, ...]:
    """As llama.cpp's quantizer writes them: tables first, then block by block, each by name."""
    names = [tensor.name for tensor in tensor_shapes(key.model)]
    return tuple(sorted(range(len(names)), key=lambda index: (block_of(names[index]), names[index])))


def _unmapped(tensors: Sequence[StoredTensor], repacked: Sequence[bool]) -> int:
    """Bytes before the first and behind the last tensor that is used in the file's own pages."""
    total = sum(tensor.size_bytes for tensor in tensors)
    first, last, offset = total, 0, 0
    for tensor, is_copied in zip(tensors, repacked, strict=True):
        end = offset + tensor.size_bytes
        if not is_copied or tensor.name in _INPUTS:
            first, last = min(first, offset), max(last, end)
        offset = end
    return total - (last - first) if last else total


def _usual_type(tensors: Sequence[StoredTensor]) -> str:
    sums: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name.startswith("blk."):
            sums[tensor.type_name] = sums.get(tensor.type_name, 0) + tensor.size_bytes
    return max(sums, key=lambda name: sums[name], default="F16")


@lru_cache(maxsize=4096)
def _layout(key: ShapeKey, quantization: str, features: frozenset[str]) -> WeightLayout:
    if not key.model.tensors:
        return _layout_of_groups(key.model, groups_of(key.model, quantization or "F16"), features)
    return layout_of_tensors(key.model, _stored(key, quantization), features)


def layout_of_tensors(model: ModelShape, tensors: Sequence[StoredTensor], features: frozenset[str]) -> WeightLayout:
    """Bytes by block of the tensors that a file holds, in its order.

    Args:
        model: Its shape.
        tensors: All of them.
        features: Instruction sets of the host.
    """
    layers, repacked = [0] * model.layers, [0] * model.layers
    inputs = output = repacked_output = 0
    copied = [is_repacked(tensor, features) for tensor in tensors]
    for tensor, is_copied in zip(tensors, copied, strict=True):
        block = block_of(tensor.name)
        if 0 <= block < model.layers:
            layers[block] += tensor.size_bytes
            if is_copied:
                repacked[block] += tensor.size_bytes
        elif tensor.name in _INPUTS or tensor.name.startswith(_INPUT_PREFIXES):
            inputs += tensor.size_bytes
        else:
            output += tensor.size_bytes
            repacked_output += tensor.size_bytes if is_copied else 0
    tied = _tied_table(model, tensors)
    if tied is not None and is_repacked(tied, features):
        repacked_output += tied.size_bytes
    return WeightLayout(
        inputs=inputs,
        layers=tuple(layers),
        output=output,
        repacked_layers=tuple(repacked),
        repacked_output=repacked_output,
        tied_output=tied.size_bytes if tied is not None else 0,
        unmapped=_unmapped(tensors, copied),
        usual_type=_usual_type(tensors),
    )


def _layout_of_groups(model: ModelShape, groups: Sequence[Group], features: frozenset[str]) -> WeightLayout:
    """The same of a network whose equal blocks are together."""
    tables, *blocks = groups
    head = layout_of_tensors(model, tables.tensors, features)
    layers, repacked = [0] * model.layers, [0] * model.layers
    sums: dict[str, int] = {}
    for group in blocks:
        size = sum(tensor.size_bytes for tensor in group.tensors)
        copied = sum(tensor.size_bytes for tensor in group.tensors if is_repacked(tensor, features))
        for block in group.blocks:
            layers[block], repacked[block] = size, copied
        for tensor in group.tensors:
            sums[tensor.type_name] = sums.get(tensor.type_name, 0) + tensor.size_bytes * len(group.blocks)
    return replace(
        head,
        layers=tuple(layers),
        repacked_layers=tuple(repacked),
        unmapped=_unmapped_ends(tables, blocks, features),
        usual_type=max(sums, key=lambda name: sums[name], default="F16"),
    )


def _unmapped_ends(tables: Group, blocks: Sequence[Group], features: frozenset[str]) -> int:
    """What `_unmapped` finds, looked for from both ends of the file."""
    by_block = {block: group for group in blocks for block in group.blocks}
    spans = [tables.tensors, *(by_block[block].tensors for block in sorted(by_block))]
    before, is_used = _leading(spans, features)
    if not is_used:
        return before
    after, _ = _leading([span[::-1] for span in reversed(spans)], features)
    return before + after


def _leading(spans: Iterable[Sequence[StoredTensor]], features: frozenset[str]) -> tuple[int, bool]:
    """Bytes before the first tensor that is used in the file's own pages, and whether there is one."""
    size = 0
    for tensor in chain.from_iterable(spans):
        if tensor.name in _INPUTS or not is_repacked(tensor, features):
            return size, True
        size += tensor.size_bytes
    return size, False


def is_repacked(tensor: StoredTensor, features: frozenset[str]) -> bool:
    """Whether the CPU keeps a second copy of a matrix, in the order in which its instructions read it.

    Args:
        tensor: Of a block, or the output layer.
        features: Instruction sets of the host.
    """
    rows = _repacked_rows(tensor.type_name, features)
    if not rows or not tensor.name.endswith(".weight"):
        return False
    is_matrix = len(tensor.shape) == 2 or (len(tensor.shape) == 3 and "_exps." in tensor.name)
    return is_matrix and any(tensor.shape[1] % count == 0 for count in rows)


@lru_cache(maxsize=1024)
def _repacked_rows(type_name: str, features: frozenset[str]) -> tuple[int, ...]:
    """By which rows must be divisible for each order that this host would choose; empty for a type that it leaves."""
    return tuple(rows for needs, rows in _REPACKED.get(type_name, ()) if needs <= features)


def _tied_table(model: ModelShape, tensors: Sequence[StoredTensor]) -> StoredTensor | None:
    """The embedding table where it is the output layer, too."""
    if model.is_encoder or any(tensor.name == "output.weight" for tensor in tensors):
        return None
    return next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
