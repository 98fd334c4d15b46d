"""Every model of the catalogue on every device, for one need: the cheapest that is just right first. Pure.

What does not depend on the device is computed once: licence, languages and task of a model, memory of a model in a
quantization with an engine. Only what fits is looked at for speed, and there the quantizations from the best to the
fastest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from undercroft.catalog.families import CatalogueModel
from undercroft.catalog.licences import Licences
from undercroft.hardware.devices import Device
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.needs import Need, in_dollars
from undercroft.planning.places import Candidate, Place
from undercroft.planning.sketches import QUANTIZATIONS, Sketches
from undercroft.planning.suitability import parameters_of, unsuited

# The best first; formats of vLLM stand beside the quantization that loses about as much.
_QUALITY = {"BF16": -1, "F16": -1, **{name: index for index, name in enumerate(QUANTIZATIONS)}}
_QUALITY |= {"FP8": _QUALITY["Q8_0"], "AWQ": _QUALITY["Q4_K_M"]}

__all__ = ["Candidate", "Ranking", "Rejection", "cheapest_per_machine", "rank", "reasons_of"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A model on a device that does not satisfy the need.

    Args:
        model: Name of the model.
        device: Id of the device; empty where the model is out on every one.
        reasons: All that failed, the first one first; each a kind and a sentence.
    """

    model: str
    device: str
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """All of it.

    Args:
        candidates: The lowest price first; of one price the larger model, then the better quantization; without a
            list price last.
        rejections: Every other pair.
        models: Looked at; count.
        devices: Looked at; count.
    """

    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    models: int
    devices: int

    def grouped(self) -> list[tuple[str, int, int]]:
        """Kind of reason, pairs for which it was the first, pairs for which it was one of several; most first."""
        first: dict[str, int] = {}
        any_: dict[str, int] = {}
        for rejection in self.rejections:
            pairs = 1 if rejection.device else self.devices
            first[rejection.reasons[0][0]] = first.get(rejection.reasons[0][0], 0) + pairs
            for kind in dict.fromkeys(kind for kind, _ in rejection.reasons):
                any_[kind] = any_.get(kind, 0) + pairs
        return sorted(((k, first.get(k, 0), n) for k, n in any_.items()), key=lambda row: (-row[1], -row[2], row[0]))


def rank(
    models: Sequence[CatalogueModel],
    devices: Iterable[Device],
    licences: Licences,
    need: Need,
    assumed: Assumptions | None = None,
) -> Ranking:
    """Ranks everything.

    Args:
        models: Of the catalogue.
        devices: Of the catalogue.
        licences: Facts of all of them.
        need: What is asked.
        assumed: For the cost; None takes the defaults.

    Raises:
        InvalidError: ``unknown-currency``: of the budget.
    """
    assumptions = assumed or Assumptions()
    wanted = in_dollars(need, assumptions)
    places = [Place(device, wanted, assumptions) for device in devices]
    with _without_looking_for_cycles():
        candidates, rejections = _tried(models, places, licences, wanted)
        return Ranking(tuple(sorted(candidates, key=_order)), tuple(rejections), len(models), len(places))


@contextmanager
def _without_looking_for_cycles() -> Iterator[None]:
    """Everything that a ranking makes is kept and has no cycles, so looking for some is time for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _tried(
    models: Sequence[CatalogueModel], places: Sequence[Place], licences: Licences, wanted: Need
) -> tuple[list[Candidate], list[Rejection]]:
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for model in models:
        out, needs_acceptance = unsuited(model, licences, wanted)
        if out:
            rejections.append(Rejection(model.name, "", tuple(out)))
            continue
        sketches = Sketches(model, wanted)
        for place in places:
            found = place.try_model(sketches, needs_acceptance=needs_acceptance)
            if isinstance(found, Candidate):
                candidates.append(found)
            else:
                rejections.append(Rejection(model.name, place.device.id, tuple(found)))
    return candidates, rejections


def _order(candidate: Candidate) -> tuple[float, int, int, str, str]:
    price = candidate.price if candidate.price is not None else float("inf")
    quality = _QUALITY[candidate.quantization]
    return (price, -parameters_of(candidate.model), quality, candidate.model.name, candidate.device.id)


def cheapest_per_machine(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """So many of each device, the first ones; what else runs on it is left out."""
    seen: dict[str, int] = {}
    kept = []
    for candidate in candidates:
        key = candidate.device.id
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= most:
            kept.append(candidate)
    return kept


def reasons_of(rejections: Sequence[Rejection], devices: Mapping[str, Device]) -> list[str]:
    """A line for each rejection: model, device, all reasons."""
    lines = []
    for rejection in rejections:
        where = devices[rejection.device].name if rejection.device else "every device"
        lines.append(
            f"{rejection.model} on {where}: " + "; ".join(f"{kind}: {words}" for kind, words in rejection.reasons)
        )
    return lines
