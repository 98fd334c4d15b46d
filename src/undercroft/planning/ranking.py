"""Every model of the catalogue on every device, for one need: the cheapest that is just right first. Pure.

What does not depend on the device is computed once: licence, languages and task of a model, memory of a model in a
quantization. Only what fits is looked at for speed, and there the quantizations from the best to the fastest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from undercroft.catalog.families import CatalogueModel
from undercroft.catalog.licences import Licences
from undercroft.catalog.uses import Use
from undercroft.catalog.verdicts import judge
from undercroft.core.units import format_bytes
from undercroft.hardware.devices import Device
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.cost import Cost, Machines, cost_of
from undercroft.planning.forecasts import MemoryForecast, Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.needs import Need
from undercroft.planning.quality import RECOMMENDED
from undercroft.planning.speed import Pace, pace_of, present_tokens
from undercroft.planning.steps import decode_seconds, job_of
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.targets_of import is_computer, target_of_device
from undercroft.planning.weights import parameter_count

COUNTS = (1, 2, 4, 8)
_QUANTIZATIONS = tuple(name for name in RECOMMENDED if name != "Q3_K_M")
_ENGINE = "llama.cpp"
_HUGE = 2**50
_NOTHING = Rate(1.0, 1.0, 1.0, "not used")
_SPLIT = frozenset({"weights", "kv cache"})
_UNSUITED = ("none",)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in a quantization on machines that satisfy the need.

    Args:
        model: Of the catalogue.
        quantization: The best that satisfies it.
        device: Of the catalogue.
        count: Accelerators in one machine, or machines where the device is a whole computer.
        pace: Of one machine.
        cost: Of all.
        needs_acceptance: Somebody has to accept the licence for this use.
        spare_ratio: What of the memory stays free, of 1.
    """

    model: CatalogueModel
    quantization: str
    device: Device
    count: int
    pace: Pace
    cost: Cost
    needs_acceptance: bool
    spare_ratio: float


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


@dataclass(frozen=True, slots=True)
class _Footprint:
    """Memory of one model in one quantization, wherever it runs.

    Args:
        card_split: Bytes that several cards share out.
        card_fixed: Bytes that each card takes.
        card_host: Bytes of the host beside cards.
        processor: Bytes on a machine without cards.
        blocks: That are shared out; count.
    """

    card_split: int
    card_fixed: int
    card_host: int
    processor: int
    blocks: int

    def on_card(self, count: int, context_bytes: int) -> int:
        """Bytes of the fullest of so many cards."""
        most = -(-self.blocks // count) / self.blocks
        return int(self.card_split * most) + self.card_fixed + context_bytes


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
    """
    assumptions = assumed or Assumptions()
    places = [_Place(device, need, assumptions) for device in devices]
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for model in models:
        out, needs_acceptance = _unsuited_model(model, licences, need)
        if out:
            rejections.append(Rejection(model.name, "", tuple(out)))
            continue
        footprints: dict[tuple[str, int], _Footprint] = {}
        for place in places:
            found = place.try_model(model, footprints, needs_acceptance=needs_acceptance)
            if isinstance(found, Candidate):
                candidates.append(found)
            else:
                rejections.append(Rejection(model.name, place.device.id, tuple(found)))
    return Ranking(tuple(sorted(candidates, key=_order)), tuple(rejections), len(models), len(places))


def _order(candidate: Candidate) -> tuple[float, int, int, str, str]:
    price = candidate.cost.price if candidate.cost.price is not None else float("inf")
    quality = _QUANTIZATIONS.index(candidate.quantization)
    return (price, -_parameters(candidate.model), quality, candidate.model.name, candidate.device.id)


def _parameters(model: CatalogueModel) -> int:
    return model.shape.parameters or parameter_count(model.shape)


def _unsuited_model(model: CatalogueModel, licences: Licences, need: Need) -> tuple[list[tuple[str, str]], bool]:
    """Why a model is out on every device, and whether its licence has to be accepted."""
    reasons: list[tuple[str, str]] = []
    if model.task != need.task:
        reasons.append(("task", f"it is for {model.task}, not for {need.task}"))
    missing = [language for language in need.languages if model.language_support(language) == "none"]
    if missing:
        reasons.append(("language", f"its maker does not name {', '.join(missing)}"))
    verdict = judge(licences.get(model.licence), Use(need.purpose), written=model.licence)
    if verdict.outcome == "refused-use":
        reasons.append(("licence", verdict.summary))
    if model.shape.context_tokens < need.context_tokens:
        words = f"made for {model.shape.context_tokens:,} tokens, {need.context_tokens:,} are needed"
        reasons.append(("context", words))
    if need.parameters and _parameters(model) < need.parameters:
        reasons.append(("size", f"{_parameters(model) / 1e9:.1f} B parameters"))
    return reasons, verdict.outcome == "needs-acceptance"


class _Place:
    """One device with the counts of it that may be bought."""

    def __init__(self, device: Device, need: Need, assumed: Assumptions) -> None:
        self.device, self.need, self.assumed = device, need, assumed
        self.is_computer = is_computer(device)
        host_price = assumed.host_price or None
        self.targets: dict[int, Target] = {}
        for count in COUNTS:
            cards = 1 if self.is_computer else count
            self.targets[count] = target_of_device(device, cards, host_price_usd=host_price)
        self.reasons = self._unsuited()
        self.counts = [count for count in COUNTS if not self._too_much(count)]

    def _unsuited(self) -> list[tuple[str, str]]:
        """Why no count of it will do, whatever the model."""
        reasons = []
        maturity = self.device.engines.get(_ENGINE, "none")
        if maturity in _UNSUITED:
            reasons.append(("engine", f"{_ENGINE} does not run on it"))
        if self.need.vendor and self.device.vendor != self.need.vendor:
            reasons.append(("vendor", f"made by {self.device.vendor}"))
        return reasons + self._too_much(1)

    def _too_much(self, count: int) -> list[tuple[str, str]]:
        need, machines = self.need, self.machines(count)
        reasons = []
        if need.budget_usd is not None and machines.price_usd is None:
            reasons.append(("price not known", "the catalogue has no list price of it"))
        elif need.budget_usd is not None and machines.price_usd is not None:
            total = machines.price_usd * machines.count
            if total > need.budget_usd:
                reasons.append(("budget", f"costs {total:,.0f} USD with its host, {need.budget_usd:,.0f} are there"))
        if need.power_watts is not None and machines.watts * machines.count > need.power_watts:
            reasons.append(("power", f"takes {machines.watts * machines.count:,.0f} W"))
        return reasons

    def machines(self, count: int) -> Machines:
        """What is bought."""
        target = self.targets[count]
        rent = self.device.rent.usd if self.device.rent is not None else None
        cards = 1 if self.is_computer else count
        return Machines(
            count=count if self.is_computer else 1,
            price_usd=target.price_usd,
            watts=target.watts,
            idle_watts=target.idle_watts,
            rent_usd_per_hour=None if rent is None else rent * cards,
        )

    def try_model(
        self, model: CatalogueModel, footprints: dict[tuple[str, int], _Footprint], *, needs_acceptance: bool
    ) -> Candidate | list[tuple[str, str]]:
        """The cheapest that does, or why nothing does."""
        failed: dict[str, str] = {}
        for count in self.counts or COUNTS[:1]:
            slots = -(-self.need.users // count) if self.is_computer else self.need.users
            target = self.targets[count]
            for quantization in self._worth_trying(model, count, slots, footprints, failed):
                workload = _workload(self.need, quantization, slots)
                too_slow = self._too_slow(model, workload, target)
                if too_slow:
                    failed["tokens a second"] = too_slow
                    continue
                pace = pace_of(model.shape, workload, target, _layers(model, target))
                slow = self._slow(pace)
                if not slow and not self.reasons:
                    cost = cost_of(self.machines(count), pace, workload, self.need.users, self.assumed)
                    spare = round(1 - self._used(model, quantization, count, slots, footprints), 3)
                    return Candidate(model, quantization, self.device, count, pace, cost, needs_acceptance, spare)
                failed.update(slow)
                if self.reasons:
                    break
        return [*self.reasons, *failed.items()]

    def _worth_trying(
        self,
        model: CatalogueModel,
        count: int,
        slots: int,
        footprints: dict[tuple[str, int], _Footprint],
        failed: dict[str, str],
    ) -> Iterator[str]:
        """Quantizations that fit, the best first; of more cards only those that did not fit on fewer."""
        for quantization in _QUANTIZATIONS:
            used = self._used(model, quantization, count, slots, footprints)
            if used > 1:
                room = self._room(count)
                short = format_bytes((used - 1) * room)
                failed["memory"] = f"{quantization} lacks {short} of {format_bytes(room)}"
            elif self.is_computer or count == 1 or self._used(model, quantization, count // 2, slots, footprints) > 1:
                failed.pop("memory", None)
                yield quantization

    def _room(self, count: int) -> int:
        target = self.targets[count]
        return (target.accelerators[0] if target.accelerators else target.host).available_bytes

    def _used(
        self,
        model: CatalogueModel,
        quantization: str,
        count: int,
        slots: int,
        footprints: dict[tuple[str, int], _Footprint],
    ) -> float:
        """Share of the fullest memory that it takes; above 1 it does not fit."""
        key = (quantization, slots)
        if key not in footprints:
            footprints[key] = footprint_of(model, _workload(self.need, quantization, slots))
        footprint, target = footprints[key], self.targets[count]
        if not target.accelerators:
            return footprint.processor / target.host.available_bytes
        card = target.accelerators[0]
        if card.kind != "gpu":
            shared = footprint.on_card(1, card.context_bytes) + footprint.card_host
            return shared / card.available_bytes
        on_card = footprint.on_card(len(target.accelerators), card.context_bytes) / card.available_bytes
        return max(on_card, footprint.card_host / target.host.available_bytes)

    def _too_slow(self, model: CatalogueModel, workload: Workload, target: Target) -> str:
        """What each user gets, where that is too little; looked at first, because it fails most."""
        wanted = self.need.tokens_per_second
        if wanted is None or workload.is_embedding:
            return ""
        job = job_of(model.shape, workload, target, _layers(model, target))
        got = 1 / decode_seconds(job, workload.slots, present_tokens(workload))
        return f"{got:.2g} a second for each user" if got < wanted else ""

    def _slow(self, pace: Pace) -> dict[str, str]:
        longest = self.need.first_token_seconds
        if longest is not None and pace.first_token > longest:
            return {"first token": f"after {pace.first_token:.2g} s"}
        return {}


@lru_cache(maxsize=1024)
def _workload(need: Need, quantization: str, slots: int) -> Workload:
    return Workload(
        engine=_ENGINE,
        quantization=quantization,
        context_tokens=need.context_tokens,
        slots=slots,
        prompt_tokens=need.prompt_tokens,
        answer_tokens=need.answer_tokens,
        is_embedding=need.task != "chat",
    )


def _layers(model: CatalogueModel, target: Target) -> int:
    return model.shape.layers + 1 if target.accelerators else 0


def footprint_of(model: CatalogueModel, workload: Workload) -> _Footprint:
    """Memory of a model in a quantization, on any card and on any processor."""
    layers = model.shape.layers + 1
    on_card = forecast_memory(model.shape, replace(workload, gpu_layers=layers), _WITH_CARD)
    on_processor = forecast_memory(model.shape, replace(workload, gpu_layers=0), _WITHOUT_CARD)
    split = sum(t.size_bytes for t in on_card.terms if t.pool == "gpu0" and t.name in _SPLIT)
    return _Footprint(
        card_split=split,
        card_fixed=on_card.in_pool("gpu0") - split,
        card_host=_stays(on_card),
        processor=_stays(on_processor),
        blocks=layers,
    )


def _stays(memory: MemoryForecast) -> int:
    """Bytes of the host that have to stay: without the file's pages of matrices that were rearranged."""
    files = memory.in_pool("host") - memory.in_pool("host", with_files=False)
    repacked = sum(t.size_bytes for t in memory.terms if t.name == "repacked weights")
    return memory.in_pool("host", with_files=False) + max(0, files - repacked)


_HOST = Pool("host", "host", "cpu", _HUGE, _HUGE, _NOTHING)
_CARD = Pool("gpu0", "card", "gpu", _HUGE, _HUGE, _NOTHING)
_WITH_CARD = Target("card", _HOST, (_CARD,), _NOTHING)
_WITHOUT_CARD = Target("processor", _HOST, (), _NOTHING)


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
