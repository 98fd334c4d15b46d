"""How large a buffer a graph of tensors takes when tensors whose work is done make room for later ones. Pure.

It does what ggml's allocator does, step by step, so that it comes to the same bytes: where a free block is large
enough, the smallest such block is taken; what is computed element by element takes its input's place; a tensor is free
again after the last step that reads it. One that nothing reads is never free again.

Source: ``ggml_gallocr_alloc_graph_impl``, ``ggml_dyn_tallocr_alloc`` and ``…_free_bytes`` of ``ggml-alloc.c`` in
llama.cpp, 2026-10.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field

_ALIGNMENT_BYTES = 64


@dataclass(eq=False, slots=True)
class Node:
    """One tensor of a graph; views of it count as itself.

    Args:
        size_bytes: Of its values.
        sources: Tensors that it is computed from; weights are not among them, because they lie elsewhere.
        is_in_place: It may take the place of a source of its size that nothing else reads.
        is_written: Its values are really computed; the graph has branches that are only kept ready.
        readers: Uses as a source; counted by `Graph`.
        offset: In the buffer; -1 until it has a place.
    """

    size_bytes: int
    sources: tuple[Node, ...] = ()
    is_in_place: bool = False
    is_written: bool = True
    readers: int = 0
    offset: int = -1


@dataclass(frozen=True, slots=True)
class BufferSize:
    """What a graph takes.

    Args:
        reserved: Bytes of the buffer.
        written: Bytes of it that are ever written; a host gives memory to no others.
    """

    reserved: int
    written: int


@dataclass(slots=True)
class Graph:
    """Tensors in the order in which they are computed; inputs are there from the beginning."""

    inputs: list[Node] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def given(self, size_bytes: int, *, is_written: bool = True) -> Node:
        """An input: positions, a mask.

        Args:
            size_bytes: Of its values.
            is_written: False for an input of a branch that is only kept ready.
        """
        node = Node(size_bytes, is_written=is_written)
        self.inputs.append(node)
        return node

    def computed(self, size_bytes: int, *sources: Node, is_written: bool = True) -> Node:
        """A tensor with a place of its own: a product of matrices, say.

        Args:
            size_bytes: Of its values.
            sources: Tensors that it is computed from.
            is_written: False in a branch that is only kept ready.
        """
        return self._add(Node(size_bytes, sources, is_written=is_written))

    def changed(self, *sources: Node) -> Node:
        """A tensor computed element by element, in the place of a source where it can: a sum, a norm, a rotation.

        Args:
            sources: Tensors that it is computed from; it has the size of the first.
        """
        return self._add(Node(sources[0].size_bytes, sources, is_in_place=True))

    def _add(self, node: Node) -> Node:
        for source in node.sources:
            source.readers += 1
        self.nodes.append(node)
        return node

    def buffer_size(self) -> BufferSize:
        """Gives every tensor its place. To be asked once, when all tensors are there."""
        arena = _Arena()
        for node in self.inputs:
            node.offset = arena.take(node.size_bytes)
        for node in self.nodes:
            taken = next((source for source in node.sources if _gives_its_place(source, node)), None)
            node.offset = arena.take(node.size_bytes) if taken is None else taken.offset
            for source in node.sources:
                source.readers -= 1
                if source.readers == 0 and source is not taken:
                    arena.give(source.offset, source.size_bytes)
        return BufferSize(arena.end, _covered(node for node in (*self.inputs, *self.nodes) if node.is_written))


def _gives_its_place(source: Node, node: Node) -> bool:
    return node.is_in_place and source.readers == 1 and source.size_bytes == node.size_bytes


def _covered(nodes: Iterable[Node]) -> int:
    """Bytes that lie under at least one of the tensors."""
    total, end = 0, 0
    for begin, size in sorted((node.offset, node.size_bytes) for node in nodes):
        total += max(0, begin + size - max(begin, end))
        end = max(end, begin + size)
    return total


@dataclass(slots=True)
class _Arena:
    """Free blocks, ``(offset, bytes)`` in order; from ``top`` on everything is free."""

    blocks: list[tuple[int, int]] = field(default_factory=list)
    top: int = 0
    end: int = 0

    def take(self, size_bytes: int) -> int:
        size = _aligned(size_bytes)
        fitting = [block for block in self.blocks if block[1] >= size]
        if not fitting:
            offset, self.top = self.top, self.top + size
            self.end = max(self.end, self.top)
            return offset
        best = min(fitting, key=lambda block: (block[1], -block[0]))
        self.blocks.remove(best)
        if best[1] > size:
            insort(self.blocks, (best[0] + size, best[1] - size))
        return best[0]

    def give(self, offset: int, size_bytes: int) -> None:
        end = offset + _aligned(size_bytes)
        for block in [block for block in self.blocks if block[0] + block[1] == offset or block[0] == end]:
            self.blocks.remove(block)
            offset, end = min(offset, block[0]), max(end, block[0] + block[1])
        if end == self.top:
            self.top = offset
        else:
            insort(self.blocks, (offset, end - offset))


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
