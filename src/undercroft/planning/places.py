"""One device of the catalogue, with the counts of it that may be bought, tried with one model after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from undercroft.catalog.families import CatalogueModel
from undercroft.core.units import format_bytes
from undercroft.hardware.devices import Device
from undercroft.planning.assumptions import Assumptions, for_model
from undercroft.planning.cost import Cost, Machines, cost_of
from undercroft.planning.footprints import Footprint, footprint_of
from undercroft.planning.forecasts import Workload
from undercroft.planning.needs import Need
from undercroft.planning.quality import RECOMMENDED
from undercroft.planning.speed import Pace, pace_of, present_tokens
from undercroft.planning.steps import Job, Part, decode_seconds, job_of
from undercroft.planning.targets import Target
from undercroft.planning.targets_of import is_computer, target_of_device
from undercroft.planning.traffic import Traffic, traffic_of

COUNTS = (1, 2, 4, 8)
QUANTIZATIONS = tuple(name for name in RECOMMENDED if name != "Q3_K_M")
_ENGINE = "llama.cpp"
# A sentence, or the quantization and count that did not fit: most of those are never read.
_Why = str | tuple[str, int]


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
class Sketch:
    """What is the same on every device, of a model in a quantization with so many slots.

    Args:
        workload: Of one machine.
        footprint: Its memory.
        traffic: What its steps read.
    """

    workload: Workload
    footprint: Footprint
    traffic: Traffic


class Sketches:
    """Those of one model; each is made when it is first asked for.

    Args:
        model: Of the catalogue.
        need: What is asked.
    """

    def __init__(self, model: CatalogueModel, need: Need) -> None:
        self.model, self.need = model, need
        self._made: dict[tuple[str, int], Sketch] = {}

    def get(self, quantization: str, slots: int) -> Sketch:
        """The sketch of a quantization with so many slots."""
        key = (quantization, slots)
        if key not in self._made:
            workload = workload_of(self.need, quantization, slots)
            footprint = footprint_of(self.model.shape, workload)
            self._made[key] = Sketch(workload, footprint, traffic_of(self.model.shape, quantization))
        return self._made[key]


def workload_of(need: Need, quantization: str, slots: int) -> Workload:
    """How one machine runs a model for a need.

    Args:
        need: What is asked.
        quantization: Of the model.
        slots: Users at the same time on this machine.
    """
    return Workload(
        engine=_ENGINE,
        quantization=quantization,
        context_tokens=need.context_tokens,
        slots=slots,
        prompt_tokens=need.prompt_tokens,
        answer_tokens=need.answer_tokens,
        is_embedding=need.task != "chat",
    )


class Place:
    """One device with the counts of it that may be bought.

    Args:
        device: Of the catalogue.
        need: What is asked.
        assumed: For the cost.
    """

    def __init__(self, device: Device, need: Need, assumed: Assumptions) -> None:
        self.device, self.need, self.assumed = device, need, assumed
        self.is_computer = is_computer(device)
        host_price = assumed.host_usd
        counts = COUNTS[:1] if self.is_computer else COUNTS
        made = {count: target_of_device(device, count, host_price_usd=host_price) for count in counts}
        self.targets: dict[int, Target] = {count: made.get(count, made[1]) for count in COUNTS}
        self._parts: tuple[Part, ...] = ()
        self.reasons = self._unsuited()
        self.counts = [count for count in COUNTS if not self._too_much(count)]

    def _unsuited(self) -> list[tuple[str, str]]:
        """Why no count of it will do, whatever the model."""
        reasons = []
        if self.device.engines.get(_ENGINE, "none") == "none":
            reasons.append(("engine", f"{_ENGINE} does not run on it"))
        if self.need.vendor and self.device.vendor != self.need.vendor:
            reasons.append(("vendor", f"made by {self.device.vendor}"))
        return reasons + self._too_much(1)

    def _too_much(self, count: int) -> list[tuple[str, str]]:
        need, machines = self.need, self.machines(count)
        reasons = []
        if need.budget_usd is not None and machines.price_usd is None:
            reasons.append(("price not known", _why_unpriced(self.device)))
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

    def try_model(self, sketches: Sketches, *, needs_acceptance: bool) -> Candidate | list[tuple[str, str]]:
        """The cheapest that does, or why nothing does: all reasons, each a kind and a sentence.

        Args:
            sketches: Of the model.
            needs_acceptance: Somebody has to accept its licence for this use.
        """
        failed: dict[str, _Why] = {}
        model = sketches.model
        for count in self._different(self.counts or COUNTS[:1]):
            target = self.targets[count]
            for quantization in self._worth_trying(sketches, count, failed):
                sketch = sketches.get(quantization, self._slots(count))
                too_slow = self._too_slow(sketches, sketch)
                if too_slow:
                    failed["tokens a second"] = too_slow
                    continue
                pace = pace_of(model.shape, sketch.workload, target, _layers(model, target))
                slow = self._slow(pace)
                if not slow and not self.reasons:
                    work, active = sketch.workload, sketch.traffic.active_elements
                    assumed = for_model(self.assumed, active, is_embedding=work.is_embedding)
                    cost = cost_of(self.machines(count), pace, work, self.need.users, assumed)
                    spare = round(1 - self._used(sketches, quantization, count), 3)
                    return Candidate(model, quantization, self.device, count, pace, cost, needs_acceptance, spare)
                failed.update(slow)
                if self.reasons:
                    break
        said = [(kind, why if isinstance(why, str) else self._lacking(sketches, *why)) for kind, why in failed.items()]
        return [*self.reasons, *said]

    def _different(self, counts: Sequence[int]) -> list[int]:
        """Counts without those of whole computers that leave each with as many users as fewer of them."""
        if not self.is_computer:
            return list(counts)
        return list({self._slots(count): count for count in reversed(counts)}.values())[::-1]

    def _slots(self, count: int) -> int:
        return -(-self.need.users // count) if self.is_computer else self.need.users

    def _worth_trying(self, sketches: Sketches, count: int, failed: dict[str, _Why]) -> Iterator[str]:
        """Quantizations that fit, the best first; of more cards only those that did not fit on fewer."""
        for quantization in QUANTIZATIONS:
            used = self._used(sketches, quantization, count)
            if used > 1:
                failed["memory"] = (quantization, count)
            elif self.is_computer or count == 1 or self._used(sketches, quantization, count // 2) > 1:
                failed.pop("memory", None)
                yield quantization

    def _lacking(self, sketches: Sketches, quantization: str, count: int) -> str:
        """By how much a quantization does not fit."""
        target = self.targets[count]
        room = (target.accelerators[0] if target.accelerators else target.host).available_bytes
        short = format_bytes((self._used(sketches, quantization, count) - 1) * room)
        return f"{quantization} lacks {short} of {format_bytes(room)}"

    def _used(self, sketches: Sketches, quantization: str, count: int) -> float:
        """Share of the fullest memory that it takes; above 1 it does not fit."""
        footprint, target = sketches.get(quantization, self._slots(count)).footprint, self.targets[count]
        if not target.accelerators:
            return footprint.processor / target.host.available_bytes
        card = target.accelerators[0]
        if card.kind != "gpu":
            return (footprint.fullest_card(1, card.context_bytes) + footprint.host) / card.available_bytes
        on_card = footprint.fullest_card(len(target.accelerators), card.context_bytes) / card.available_bytes
        return max(on_card, footprint.host / target.host.available_bytes)

    def _too_slow(self, sketches: Sketches, sketch: Sketch) -> str:
        """What each user gets, where that is too little; looked at first, because it fails most."""
        wanted = self.need.tokens_per_second
        if wanted is None or sketch.workload.is_embedding:
            return ""
        job = self._job(sketches, sketch)
        got = 1 / decode_seconds(job, sketch.workload.slots, present_tokens(sketch.workload))
        return f"{got:.2g} a second for each user, {wanted:g} are needed" if got < wanted else ""

    def _job(self, sketches: Sketches, sketch: Sketch) -> Job:
        """A model placed whole on one; layers that equal cards share out take as long as on one of them."""
        shape, target = sketches.model.shape, self.targets[1]
        if not self._parts:
            self._parts = job_of(shape, sketch.workload, target, _layers(sketches.model, target)).parts
        return Job(shape, sketch.workload, sketch.traffic, self._parts, target.link_bandwidth)

    def _slow(self, pace: Pace) -> dict[str, str]:
        longest = self.need.first_token_seconds
        if longest is not None and pace.first_token > longest:
            return {"first token": f"after {pace.first_token:.2g} s, {longest:g} s are wanted"}
        return {}


def _why_unpriced(device: Device) -> str:
    """Why a device has no price to compare with a budget."""
    if device.price is not None:
        return "it is rented only"
    return device.unpriced or "the catalogue has no list price of it"


def _layers(model: CatalogueModel, target: Target) -> int:
    return model.shape.layers + 1 if target.accelerators else 0
