"""What is the same of one model on every device: its memory, and what its steps read; made when asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.catalog.families import CatalogueModel
from undercroft.planning.footprints import Footprint, footprint_of
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory_vllm import card_bytes
from undercroft.planning.needs import Need
from undercroft.planning.quality import OTHER_ENGINES, RECOMMENDED
from undercroft.planning.traffic import Traffic, traffic_of

LLAMACPP, VLLM = "llama.cpp", "vllm"
QUANTIZATIONS = tuple(name for name in RECOMMENDED if name != "Q3_K_M")
FORMATS = OTHER_ENGINES[VLLM]


@dataclass(frozen=True, slots=True)
class Sketch:
    """Of a model in a quantization with so many slots.

    Args:
        workload: Of one machine.
        traffic: What its steps read.
    """

    workload: Workload
    traffic: Traffic


class Sketches:
    """Those of one model.

    Args:
        model: Of the catalogue.
        need: What is asked.
    """

    def __init__(self, model: CatalogueModel, need: Need) -> None:
        self.model, self.need = model, need
        self._made: dict[tuple[str, str, int], Sketch] = {}
        self._footprints: dict[tuple[str, int], Footprint] = {}
        self._cards: dict[tuple[str, int, int, bool], int] = {}

    def get(self, engine: str, quantization: str, slots: int) -> Sketch:
        """The sketch of a quantization with so many slots."""
        key = (engine, quantization, slots)
        found = self._made.get(key)
        if found is None:
            workload = workload_of(self.need, quantization, slots, engine)
            found = self._made[key] = Sketch(workload, traffic_of(self.model.shape, quantization, engine))
        return found

    def footprint(self, quantization: str, slots: int) -> Footprint:
        """Memory of a replica of llama.cpp."""
        found = self._footprints.get((quantization, slots))
        if found is None:
            workload = workload_of(self.need, quantization, slots)
            found = self._footprints[quantization, slots] = footprint_of(self.model.shape, workload)
        return found

    def card_bytes(self, quantization: str, slots: int, count: int, *, is_large: bool) -> int:
        """Memory of a replica of vLLM on each of so many cards, without the driver's own."""
        key = (quantization, slots, count, is_large)
        found = self._cards.get(key)
        if found is None:
            workload = workload_of(self.need, quantization, slots, VLLM)
            found = self._cards[key] = card_bytes(self.model.shape, workload, count, is_large=is_large)
        return found


def workload_of(need: Need, quantization: str, slots: int, engine: str = LLAMACPP) -> Workload:
    """How one machine runs a model for a need.

    Args:
        need: What is asked.
        quantization: Of the model.
        slots: Users at the same time on this machine.
        engine: That runs it.
    """
    return Workload(
        engine=engine,
        quantization=quantization,
        context_tokens=need.context_tokens,
        slots=slots,
        prompt_tokens=need.prompt_tokens,
        answer_tokens=need.answer_tokens,
        is_embedding=need.task != "chat",
    )
