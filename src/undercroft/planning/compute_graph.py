"""The tensors that llama.cpp computes for one piece of a prompt, in its order, by the shape of the network. Pure.

Blocks take turns, so a few of them show what all of them need. Attention is fused (flash attention, llama.cpp's choice
on every processor and card that can do it), so no table of scores is kept.

Source: ``build_inp_embd``, ``build_qkv``, ``build_attn``, ``build_ffn``, ``build_moe_ffn`` and ``build_pooling`` of
``llama-graph.cpp`` and the graphs of ``src/models`` in llama.cpp, 2026-10; compared with what the engine says to
reserve, see ``docs/guide/memory-forecast.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.catalog.shapes import LatentAttention, ModelShape
from undercroft.planning.graph_allocator import Graph, Node
from undercroft.planning.weights import FUSED_GATE, FUSED_QKV

_FLOAT_BYTES, _HALF_BYTES, _INDEX_BYTES = 4, 2, 8
# From here on every further block takes the places of the one before it.
_BLOCKS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """What is computed together.

    Args:
        tokens: Of the prompt.
        outputs: Tokens that the output layer is computed for.
        cells: Of one slot's cache, which the mask spans.
        window_cells: The same of blocks with a sliding window; 0 for none.
        has_rotation: Keys and values are rotated before they are stored in few bits.
        has_logits: The output layer is computed here.
        has_pooling: All tokens of a text become one vector.
    """

    tokens: int
    outputs: int
    cells: int
    window_cells: int = 0
    has_rotation: bool = False
    has_logits: bool = True
    has_pooling: bool = False


def graph_of(model: ModelShape, piece: Piece) -> Graph:
    """The graph of a network that lies in one memory.

    Args:
        model: Its shape.
        piece: What is computed.
    """
    builder = _Builder(model, piece)
    builder.build()
    return builder.graph


class _Builder:
    """Adds the tensors one by one; ``cur`` is what the next step reads."""

    def __init__(self, model: ModelShape, piece: Piece) -> None:
        self.model, self.piece, self.graph = model, piece, Graph()
        self.rows = piece.tokens
        self.mask = self.graph.given(_HALF_BYTES * piece.tokens * piece.cells)
        if piece.window_cells:
            self.graph.given(_HALF_BYTES * piece.tokens * piece.window_cells)

    def new(self, width: int, *sources: Node) -> Node:
        """Single-precision values of every token."""
        return self.graph.computed(_FLOAT_BYTES * self.rows * width, *sources)

    def norm(self, cur: Node) -> Node:
        """A norm and its weights; with a mean (LayerNorm) it needs a place of its own."""
        graph = self.graph
        if self.model.is_encoder:
            return graph.changed(graph.changed(graph.computed(cur.size_bytes, cur)))
        return graph.changed(graph.changed(cur))

    def build(self) -> None:
        cur = self._embedded()
        layers = range(self.model.layers)
        shown = [*layers[: _BLOCKS_SHOWN - 1], layers[-1]] if len(layers) > _BLOCKS_SHOWN else [*layers]
        for layer in shown:
            cur = self._block(layer, cur, is_last=layer == layers[-1])
        if not self.model.is_encoder:
            cur = self.norm(cur)
        if self.piece.has_logits:
            self.new(self.model.vocabulary, cur)
        if self.piece.has_pooling:
            self.new(1, self.new(self.model.width, cur))

    def _embedded(self) -> Node:
        """Rows of the embedding table; beside them a branch for pictures and one for both, which texts never take."""
        graph, size = self.graph, _FLOAT_BYTES * self.rows * self.model.width
        graph.given(size, is_written=False)
        given = graph.given(size, is_written=False)
        cur = graph.computed(size)
        rows = graph.computed(size, is_written=False)
        graph.computed(size, given, is_written=False)
        graph.computed(0, rows)
        if self.model.position_rows:
            cur = graph.changed(graph.computed(size), graph.changed(cur))
        return self.norm(cur) if self.model.is_encoder else cur

    def _block(self, layer: int, inputs: Node, *, is_last: bool) -> Node:
        model, graph = self.model, self.graph
        normed = inputs if model.is_encoder else self.norm(inputs)
        if model.latent is not None:
            cur = self._latent(model.latent, normed)
        elif layer in model.recurrent_layers and not model.kv_heads[layer]:
            cur = self._recurrent(normed)
        else:
            cur = self._attention(layer, normed)
        if is_last:
            self.rows = self.piece.outputs
            cur, inputs = self.new(model.width, cur), self.new(model.width, inputs)
        if model.is_encoder:
            inputs = self.norm(graph.changed(cur, inputs))
            return self.norm(graph.changed(self._feed_forward(inputs), inputs))
        inputs = graph.changed(cur, inputs)
        normed = self.norm(inputs)
        has_experts = model.experts is not None and layer >= model.experts.dense_layers
        cur = self._experts(normed) if has_experts else self._feed_forward(normed)
        return graph.changed(cur, inputs)

    def _attention(self, layer: int, normed: Node) -> Node:
        model, graph = self.model, self.graph
        heads = model.kv_heads[layer]
        widths = (model.heads * model.head_dim, heads * model.head_dim, heads * model.value_head_dim)
        if model.architecture in FUSED_QKV:
            fused = self.new(sum(widths), normed)
            query, value, key = self.new(widths[0], fused), fused, self.new(widths[1], fused)
        elif model.is_encoder:
            query, key, value = (graph.changed(self.new(width, normed)) for width in widths)
        else:
            query = graph.changed(self.new(widths[0], normed))
            value, key = self.new(widths[2], normed), graph.changed(self.new(widths[1], normed))
        if self.piece.has_rotation:
            query, value, key = (graph.computed(node.size_bytes, node) for node in (query, value, key))
        if model.is_encoder:
            key = graph.computed(key.size_bytes // 2, key)
            value = graph.computed(value.size_bytes // 2, value)
            cur = self.new(model.heads * model.value_head_dim, query, key, value, self.mask)
        else:
            graph.computed(0, key)
            graph.computed(0, value)
            cur = self.new(model.heads * model.value_head_dim, query, self.mask)
        if self.piece.has_rotation:
            cur = graph.computed(cur.size_bytes, cur)
        return self.new(model.width, cur)

    def _latent(self, latent: LatentAttention, normed: Node) -> Node:
        """Queries are brought to the width of the compressed row, which stands for keys and values of all heads."""
        model, graph, heads = self.model, self.graph, self.model.heads
        query = normed
        if latent.query_rank:
            query = self.norm(self.new(latent.query_rank, normed))
        query = self.new(heads * (latent.nope_dim + latent.rope_dim), query)
        absorbed, rotated = self.new(heads * latent.kv_rank, query), self.new(heads * latent.rope_dim, query)
        query = self.new(heads * (latent.kv_rank + latent.rope_dim), absorbed, rotated)
        row = self.new(latent.kv_rank + latent.rope_dim, normed)
        compressed = graph.changed(self.new(latent.kv_rank, row))
        key = self.new(latent.kv_rank + latent.rope_dim, compressed, self.new(latent.rope_dim, row))
        graph.computed(0, key)
        cur = self.new(heads * latent.kv_rank, query, self.mask)
        cur = self.new(heads * latent.value_dim, cur)
        return self.new(model.width, self.new(heads * latent.value_dim, cur))

    def _recurrent(self, normed: Node) -> Node:
        """Mamba's kind: one wide projection, a short convolution, the scan, a gate; nearly so in its relatives."""
        model, extra = self.model, self.model.extra
        inner = int(extra.get("ssm.inner_size", model.width))
        mixed = inner + int(2 * extra.get("ssm.group_count", 0) * extra.get("ssm.state_size", 0))
        projected = self.new(inner + mixed + int(extra.get("ssm.time_step_rank", 0)), normed)
        scanned = self.new(inner, self.new(mixed, self.new(mixed, projected)))
        return self.new(model.width, self.new(inner, scanned, projected))

    def _feed_forward(self, normed: Node, width: int = 0) -> Node:
        model, graph = self.model, self.graph
        width = width or model.feed_forward
        if model.architecture in FUSED_GATE:
            inner = self.new(width, self.new(2 * width, normed))
        elif model.is_gated:
            inner = self.new(width, self.new(width, normed), self.new(width, normed))
        else:
            inner = graph.changed(graph.changed(self.new(width, normed)))
        return self.new(model.width, inner)

    def _experts(self, normed: Node) -> Node:
        model, graph, experts = self.model, self.graph, self.model.experts
        assert experts is not None
        used = experts.used
        chances = graph.changed(self.new(experts.count, normed))
        chosen = self.new(experts.count, graph.changed(chances) if model.extra.get("expert_bias") else chances)
        weights = self.new(used, chances, chosen)
        weights = graph.changed(weights, graph.changed(self.new(1, weights)))
        gate, up = (self.new(used * experts.feed_forward, normed, chosen) for _ in range(2))
        inner = self.new(used * experts.feed_forward, gate, up)
        down = graph.changed(self.new(used * model.width, inner, chosen), weights)
        cur = self.new(model.width, down)
        for _ in range(used - 2):
            cur = graph.changed(cur, down)
        if experts.shared_feed_forward:
            cur = graph.changed(cur, self._feed_forward(normed, experts.shared_feed_forward))
        return cur
