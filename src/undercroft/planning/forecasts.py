"""What a forecast says: every term by itself, with its formula's name and source, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from undercroft.planning.targets import Rate


@dataclass(frozen=True, slots=True)
class Workload:
    """How a model is to be run.

    Args:
        engine: ``llama.cpp``, ``vllm`` or ``onnxruntime``.
        quantization: ``Q4_K_M``, ``F16`` …; empty takes the file's own.
        context_tokens: Of one slot, prompt and answer together.
        slots: Requests computed at the same time.
        cache_type: Of keys and values.
        micro_batch_tokens: Prompt tokens computed in one piece.
        gpu_layers: Layers on accelerators; -1 is as many as fit, 0 none.
        prompt_tokens: Of a typical request, for time to first token.
        answer_tokens: Of a typical request.
        adapters_bytes: Of LoRAs loaded beside the model; their files.
        adapter_slots: vllm: LoRAs that it computes with in one step; count.
        adapter_rank: vllm: rank that each of them has room for.
        is_embedding: Embeddings or ranking: a prompt is computed in one piece and nothing is generated.
    """

    engine: str = "llama.cpp"
    quantization: str = ""
    context_tokens: int = 4096
    slots: int = 1
    cache_type: str = "f16"
    micro_batch_tokens: int = 512
    gpu_layers: int = -1
    prompt_tokens: int = 512
    answer_tokens: int = 256
    adapters_bytes: int = 0
    adapter_slots: int = 0
    adapter_rank: int = 0
    is_embedding: bool = False


TermName = Literal[
    "weights",
    "repacked weights",
    "kv cache",
    "compute buffers",
    "runtime",
    "device context",
    "adapters",
    "state",
    "paging reserve",
]


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the memory.

    Args:
        name: What takes it.
        pool: Id of the pool it lies in.
        size_bytes: Bytes.
        is_file: Pages of a mapped file that the kernel may drop; they count against nothing but speed.
        formula: How it was computed, with the numbers: ``2 x 28 layers x 4 KV heads x 128 x 2 bytes x 32,768 tokens``.
        source: Where the formula comes from.
    """

    name: TermName
    pool: str
    size_bytes: int
    is_file: bool
    formula: str
    source: str


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Memory by terms.

    Args:
        terms: All of them.
        gpu_layers: Layers on accelerators, as decided.
        margin_bytes: How far a measurement may lie above, by pool; from calibration or the default error.
        most_bytes: That an engine takes of a pool at most, where it leaves a part of it to others.
    """

    terms: tuple[Term, ...]
    gpu_layers: int
    margin_bytes: Mapping[str, int] = field(default_factory=dict)
    most_bytes: Mapping[str, int] = field(default_factory=dict)

    def in_pool(self, pool: str, *, with_files: bool = True) -> int:
        """Bytes in one pool; without pages that the kernel may drop where ``with_files`` is false."""
        return sum(t.size_bytes for t in self.terms if t.pool == pool and (with_files or not t.is_file))


@dataclass(frozen=True, slots=True)
class SpeedForecast:
    """Rates and times; each with a range.

    Args:
        decode: Tokens a second of one user alone.
        decode_all: Tokens a second of all slots together.
        decode_user: Tokens a second of each when all slots are busy.
        prefill: Prompt tokens a second.
        first_token: Seconds to the first token of a typical prompt.
        load: Seconds from a cold disk to ready.
        explanation: Line by line, how each came about and from what source.
    """

    decode: Rate
    decode_all: Rate
    decode_user: Rate
    prefill: Rate
    first_token: Rate
    load: Rate
    explanation: tuple[str, ...] = ()
