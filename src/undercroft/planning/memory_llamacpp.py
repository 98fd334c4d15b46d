"""Memory of a llama.cpp replica as `undercroft.engines.llamacpp_options` starts it. Pure.

Private memory and pages of the mapped file are kept apart: the kernel may drop the latter. What the graph allocator
reserves and never writes (room for logits of a whole batch, say) takes no memory and is not counted.

Source: llama.cpp 2026-10, as named with each term; constants are measured with the wheel, ``benchmarks/sizing.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.compute_buffers import graph_buffer, work_buffer_bytes
from undercroft.planning.compute_graph import Piece
from undercroft.planning.forecasts import MemoryForecast, Term, Workload
from undercroft.planning.memory_cache import (
    Cells,
    cells,
    has_window,
    is_quantized_cache,
    layer_cache_bytes,
    layer_state_bytes,
)
from undercroft.planning.memory_weights import WeightLayout, weight_layout
from undercroft.planning.targets import Pool, Target
from undercroft.planning.weights import ShapeKey

_MIB = 1024**2
HOST = "host"

# Batch of a generating replica and snapshots of a slot, as in `undercroft.engines.llamacpp_options`.
_GENERATE_BATCH_TOKENS = 2048
_CHECKPOINTS = 4
# A turn makes two snapshots; of earlier turns one stays in so many tokens.
_CHECKPOINTS_OF_TURN, _CHECKPOINT_STEP_TOKENS = 2, 8192
# Heads of whole groups of so many values are rotated before a cache keeps them in few bits.
_ROTATED_VALUES = 64


@dataclass(frozen=True, slots=True)
class Placement:
    """Which pool holds each block; the last entry is the output layer's.

    Args:
        pools: Pool ids; one more than the network has blocks.
    """

    pools: tuple[str, ...]

    @property
    def gpu_layers(self) -> int:
        """Blocks on accelerators, the output layer counted as one."""
        return sum(pool != HOST for pool in self.pools)


def forecast_llamacpp(model: ModelShape, workload: Workload, target: Target) -> MemoryForecast:
    """Every term of a replica's memory.

    Args:
        model: Its shape.
        workload: How it is to be run; ``gpu_layers`` of -1 takes as many as fit.
        target: Where.

    Raises:
        InvalidError: ``bad-workload`` or ``unknown-quantization``.
    """
    parts = Parts(model, workload, target)
    placement = parts.decide()
    return MemoryForecast(terms=tuple(parts.terms(placement)), gpu_layers=placement.gpu_layers)


class Parts:
    """What all placements of one model and workload have in common.

    Args:
        model: Its shape.
        workload: How it is to be run.
        target: Where.
    """

    def __init__(self, model: ModelShape, workload: Workload, target: Target) -> None:
        self.model, self.workload, self.target = model, workload, target
        self.layout: WeightLayout = weight_layout(model, workload.quantization, target.features)
        self.room: Cells = cells(
            model,
            context_tokens=workload.context_tokens,
            slots=workload.slots,
            micro_batch_tokens=self._piece_tokens(),
        )
        self.cache = layer_cache_bytes(model, workload.cache_type, self.room)
        self.states = layer_state_bytes(model, self.room.slots)

    @property
    def _is_reading(self) -> bool:
        """Embeddings or ranking: nothing is generated."""
        return self.workload.is_embedding or self.model.is_encoder

    def _outputs(self) -> int:
        """Tokens of a batch that give an output: of what is embedded all, else the last one of each slot."""
        return self.workload.context_tokens if self._is_reading else self.workload.slots

    def _piece_tokens(self) -> int:
        """Prompt tokens computed in one piece; what is embedded is one piece whatever its length."""
        work = self.workload
        if self._is_reading:
            return work.context_tokens
        return min(work.micro_batch_tokens, _GENERATE_BATCH_TOKENS, work.context_tokens * work.slots)

    def decide(self) -> Placement:
        """As many blocks on accelerators as were asked for, or as fit, the last blocks first."""
        pools, wanted = self.target.accelerators, self.workload.gpu_layers
        most = self.model.layers + 1
        if not pools or wanted == 0:
            return self.placed(0)
        if wanted > 0:
            return self.placed(min(wanted, most))
        if self._fits(self.placed(most)):
            return self.placed(most)
        low, high = 0, most - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(self.placed(middle)):
                low = middle
            else:
                high = middle - 1
        return self.placed(low)

    def placed(self, count: int) -> Placement:
        """The last ``count`` blocks on the accelerators, shared out by their free memory as llama.cpp does."""
        most = self.model.layers + 1
        first = most - count
        pools = self.target.accelerators
        free = sum(pool.available_bytes for pool in pools) or 1
        ends, taken = [], 0
        for pool in pools:
            taken += pool.available_bytes
            ends.append(taken / free)
        placed = [HOST] * first
        for index in range(count):
            share = index / count
            placed.append(next((p.id for p, end in zip(pools, ends, strict=True) if share < end), pools[-1].id))
        return Placement(tuple(placed))

    def block_bytes(self) -> list[int]:
        """Weights, cache and state of each block on an accelerator; the output layer is the last."""
        layout = self.layout
        blocks = [sum(parts) for parts in zip(layout.layers, self.cache, self.states, strict=False)]
        return [*blocks, layout.output + layout.tied_output]

    def _fits(self, placement: Placement) -> bool:
        terms = self.terms(placement)
        return all(
            sum(t.size_bytes for t in terms if t.pool == pool.id) <= pool.available_bytes
            for pool in self.target.accelerators
        )

    def terms(self, placement: Placement) -> list[Term]:
        """All terms of a placement; none is empty."""
        terms = self._host_terms(placement)
        for pool in self.target.accelerators:
            if pool.id in placement.pools:
                terms += self._device_terms(placement, pool)
        return [term for term in terms if term.size_bytes > 0]

    def _host_terms(self, placement: Placement) -> list[Term]:
        layout, work = self.layout, self.workload
        here = [pool == HOST for pool in placement.pools]
        blocks, output = here[:-1], here[-1]
        mapped = layout.inputs + _chosen(layout.layers, blocks) + (layout.output if output else 0)
        mapped -= 0 if placement.gpu_layers else layout.unmapped
        repacked = _chosen(layout.repacked_layers, blocks) + (layout.repacked_output if output else 0)
        quantization = work.quantization or "as stored"
        terms = [
            Term("weights", HOST, mapped, True, f"{sum(blocks)} blocks and tables, {quantization}", _WEIGHTS),
            Term("repacked weights", HOST, repacked, False, "matrices that the CPU reads in its own order", _REPACK),
            *self._cache_terms(blocks, HOST),
            self._host_compute_term(blocks, has_output=output),
            *self._runtime_terms(),
        ]
        if work.adapters_bytes:
            terms.append(Term("adapters", HOST, work.adapters_bytes, False, "LoRA files, read whole", _ADAPTERS))
        return terms

    def _device_terms(self, placement: Placement, pool: Pool) -> list[Term]:
        layout = self.layout
        here = [place == pool.id for place in placement.pools]
        blocks, output = here[:-1], here[-1]
        weights = _chosen(layout.layers, blocks) + ((layout.output + layout.tied_output) if output else 0)
        return [
            Term("weights", pool.id, weights, False, f"{sum(here)} of {len(here)} blocks", _WEIGHTS),
            *self._cache_terms(blocks, pool.id),
            self._device_compute_term(pool, has_output=output),
            Term("device context", pool.id, pool.context_bytes, False, "taken by the driver for a process", _CONTEXT),
        ]

    def _cache_terms(self, blocks: Sequence[bool], pool: str) -> list[Term]:
        size = _chosen(self.cache, blocks)
        kind = self.workload.cache_type
        formula = f"{sum(blocks)} blocks x {self.room.slots} slots x {self.room.full:,} cells, {kind}"
        if has_window(self.model):
            formula += f"; {self.room.window:,} cells in {len(self.model.window_layers)} blocks with a window"
        state = f"{self.room.slots} slots x {self.model.recurrent_values:,} values of each recurrent block"
        return [
            Term("kv cache", pool, size, False, formula, _CACHE),
            Term("state", pool, _chosen(self.states, blocks), False, state, _RECURRENT),
        ]

    def _piece(self, *, has_output: bool) -> Piece:
        model, tokens = self.model, self._piece_tokens()
        is_rotated = is_quantized_cache(self.workload.cache_type) and model.head_dim % _ROTATED_VALUES == 0
        return Piece(
            tokens=tokens,
            outputs=self._outputs() if has_output else tokens,
            cells=tokens if model.is_encoder else self.room.full,
            window_cells=self.room.window if has_window(model) else 0,
            has_rotation=is_rotated and not model.is_encoder,
            has_logits=has_output and not model.is_encoder,
            has_pooling=has_output and self._is_reading,
        )

    def _host_compute_term(self, blocks: Sequence[bool], *, has_output: bool) -> Term:
        """What is written of the graph's buffer, and the work buffer; without blocks only rows of the tables."""
        size = self.host_compute_bytes(has_blocks=any(blocks) or not blocks, has_output=has_output)
        formula = _compute_formula(self._piece(has_output=has_output))
        return Term("compute buffers", HOST, size, False, formula, _COMPUTE)

    def host_compute_bytes(self, *, has_blocks: bool, has_output: bool) -> int:
        """What is written of the graph's buffer on the host, and the work buffer where blocks are computed there."""
        model = self.model if has_blocks else _without_blocks(ShapeKey(self.model))
        piece = self._piece(has_output=has_output)
        size = graph_buffer(model, piece).written
        if not has_blocks:
            return size
        kind, threads = self.layout.usual_type, self.target.threads
        return size + work_buffer_bytes(model, tokens=piece.tokens, weight_type=kind, threads=threads)

    def card_compute_bytes(self, *, has_output: bool) -> int:
        """All of the graph's buffer: a card has no pages that are given only when they are written."""
        return graph_buffer(self.model, self._piece(has_output=has_output)).reserved

    def _device_compute_term(self, pool: Pool, *, has_output: bool) -> Term:
        size = self.card_compute_bytes(has_output=has_output)
        formula = _compute_formula(self._piece(has_output=has_output))
        return Term("compute buffers", pool.id, size, False, formula, _COMPUTE)

    def process_bytes(self) -> int:
        """Private bytes of the program itself, wherever its layers lie: tables, outputs, snapshots, adapters."""
        snapshots = 0 if self._is_reading else self._snapshot_bytes() * self._snapshots()
        return self._private_bytes() + self._output_bytes() + snapshots + self.workload.adapters_bytes

    def _private_bytes(self) -> int:
        model = self.model
        private = RUNTIME_BYTES + model.layers * RUNTIME_BLOCK_BYTES
        private += model.vocabulary * RUNTIME_TOKEN_BYTES + merge_count(model) * RUNTIME_MERGE_BYTES
        return private + (0 if model.is_encoder else self.room.full * self.room.slots * RUNTIME_CELL_BYTES)

    def _output_bytes(self) -> int:
        """Logits, and beside them embeddings or the candidates of a sampler."""
        model = self.model
        if self._is_reading:
            return self._outputs() * (model.vocabulary + model.width) * _LOGIT_BYTES
        return self._outputs() * model.vocabulary * (_LOGIT_BYTES + _CANDIDATE_BYTES)

    def _runtime_terms(self) -> list[Term]:
        model, work = self.model, self.workload
        private, logits, merges = self._private_bytes(), self._output_bytes(), merge_count(model)
        if self._is_reading:
            text = f"logits and embeddings of {self._outputs():,} tokens, which llama.cpp keeps even where unused"
        else:
            text = f"logits and candidates of {work.slots} slots"
        terms = [
            Term("runtime", HOST, LIBRARY_BYTES, True, "program and libraries, mapped", _RUNTIME),
            Term(
                "runtime", HOST, private, False, f"process, {model.vocabulary:,} tokens and {merges:,} merges", _RUNTIME
            ),
            Term("runtime", HOST, logits, False, text, _OUTPUT),
        ]
        if not self._is_reading:
            terms.append(self._snapshots_term())
        return terms

    def _snapshots_term(self) -> Term:
        """What a slot can go back to, where a block forgets; on the host wherever the block lies."""
        kept, count = self._kept_cells(), self._snapshots()
        formula = f"{count} snapshots of {self.room.slots} slots x {kept:,} cells of windows and all recurrent states"
        return Term("state", HOST, self._snapshot_bytes() * count, False, formula, _STATE)

    def _snapshots(self) -> int:
        return min(_CHECKPOINTS, _CHECKPOINTS_OF_TURN + -(-self.room.full // _CHECKPOINT_STEP_TOKENS))

    def _kept_cells(self) -> int:
        return min(self.room.window, self.model.window_tokens) if has_window(self.model) else 0

    def _snapshot_bytes(self) -> int:
        """Of all slots, once."""
        size = sum(self.states)
        if has_window(self.model):
            windowed = sum(self.cache[layer] for layer in self.model.window_layers if layer < len(self.cache))
            size += windowed // max(self.room.window, 1) * self._kept_cells()
        return size


# Measured on the wheel 2026.10 on Linux x86-64: a process, and what it keeps of a vocabulary, fitted to the seven real
# ones that llama.cpp carries for tests (Llama 2, GPT-2, Falcon, Qwen 2, Llama 3, Command R, Gemma 4) within 1.1 MiB.
RUNTIME_BYTES = int(11.4 * _MIB)
RUNTIME_TOKEN_BYTES, RUNTIME_MERGE_BYTES = 230, 209
# Tensors and steps of graphs, by name: 2, 16 and 30 blocks of SmolLM2 135M.
RUNTIME_BLOCK_BYTES = 100 * 1024
RUNTIME_CELL_BYTES = 44
LIBRARY_BYTES = int(20.3 * _MIB)

_LOGIT_BYTES, _CANDIDATE_BYTES = 4, 12

_WEIGHTS = "llama-model-loader.cpp: tensors as the file stores them, mapped"
_REPACK = "ggml-cpu/repack.cpp: types and instruction sets"
_CACHE = "llama-kv-cache.cpp: cells padded to 256, each slot its own"
_COMPUTE = "ggml-alloc.c, step by step; ggml-cpu.c ggml_graph_plan"
_RUNTIME = "measured with benchmarks/sizing.py"
_OUTPUT = "llama-context.cpp output_reserve; common/sampling.cpp"
_RECURRENT = "llama-memory-recurrent.cpp: n_embd_r and n_embd_s of llama-hparams.cpp"
_STATE = "server-context.cpp create_checkpoint; n_ctx_checkpoints, checkpoint_min_step"
_ADAPTERS = "llama-adapter.cpp"
_CONTEXT = "the driver's own, as the device says"


@lru_cache(maxsize=512)
def _without_blocks(key: ShapeKey) -> ModelShape:
    return dataclasses.replace(key.model, layers=0, kv_heads=())


def merge_count(model: ModelShape) -> int:
    """Merges of the tokenizer: as the file says, or as is usual for a vocabulary of its size.

    Args:
        model: Its shape; ``extra["merge_count"]`` says it exactly.
    """
    if "merge_count" in model.extra:
        return int(model.extra["merge_count"])
    if model.is_encoder or model.vocabulary <= _LARGEST_PIECES or model.architecture.startswith("gemma"):
        return 0
    if model.architecture in {"llama", "mistral3", "smollm3"} and model.vocabulary > _LARGE_VOCABULARY:
        return int(_MERGES_LLAMA_3 * model.vocabulary)
    return model.vocabulary


# SentencePiece vocabularies (Llama 2, Mistral) are small, Gemma's is large; they list no merges. Llama 3 lists 280,147
# merges for 128,256 tokens, Qwen 2.5 151,387 for 151,936.
_LARGEST_PIECES, _LARGE_VOCABULARY = 33_000, 100_000
_MERGES_LLAMA_3 = 280_147 / 128_256


def _compute_formula(piece: Piece) -> str:
    return f"activations and mask of {piece.tokens:,} tokens over {piece.cells:,} cells"


def _chosen(sizes: Sequence[int], chosen: Sequence[bool]) -> int:
    return sum(size for size, is_here in zip(sizes, chosen, strict=False) if is_here)
