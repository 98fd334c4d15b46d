"""One device of the catalogue, with the counts of it that may be bought, tried with one model after the other. Pure.

With each count llama.cpp is tried first, from the best quantization down; where it does not do and the device runs
vLLM well, vLLM: it shares every layer among cards, computes many requests at a time faster and keeps more for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from undercroft.catalog.families import CatalogueModel
from undercroft.core.units import format_bytes
from undercroft.hardware.devices import Device
from undercroft.planning.assumptions import Assumptions, CloudPrice, cloud_price, with_cloud
from undercroft.planning.cost import Cost, Machines, cost_of, price_of
from undercroft.planning.memory_vllm import HOST_BYTES, is_large, share_of, sharing
from undercroft.planning.needs import Need
from undercroft.planning.sketches import FORMATS, LLAMACPP, QUANTIZATIONS, VLLM, Sketch, Sketches
from undercroft.planning.speed import Pace, first_token_seconds, pace_of_job, present_tokens
from undercroft.planning.step_lines import StepLine, step_line
from undercroft.planning.steps import Job, Part, decode_seconds, job_of
from undercroft.planning.targets import Target
from undercroft.planning.targets_of import is_computer, target_of_device

COUNTS = (1, 2, 4, 8)
_FIRST_SHARED = 2
# The format of vLLM that is multiplied in numbers of its own, so that a step is no line over what is read.
_FAST_NUMBERS = "FP8"
# What of the formats of vLLM a device multiplies: numbers that it has to know, and makers whose cards have kernels.
_NUMBERS_OF_FORMATS = {"BF16": ("bf16", "fp16"), "FP8": ("fp8",), "AWQ": ("int8", "int4", "fp8")}
_MAKERS_WITH_INTEGER_KERNELS = frozenset({"nvidia", "amd"})
_TRODDEN = frozenset({"well-trodden", "works"})
# A sentence, or the quantization and count that did not fit: most of those are never read.
_Why = str | tuple[str, int]
_Failures = dict[tuple[str, str], _Why]


@dataclass(frozen=True)
class Candidate:
    """A model in a quantization on machines that satisfy the need; of thousands only the first few are looked at.

    Args:
        model: Of the catalogue.
        engine: That runs it.
        quantization: The best that satisfies it.
        device: Of the catalogue.
        count: Accelerators in one machine, or machines where the device is a whole computer.
        job: The model on one machine.
        machines: What is bought.
        users: Of all machines together.
        assumed: For the cost.
        needs_acceptance: Somebody has to accept the licence for this use.
        spare_ratio: What of the memory stays free, of 1.
    """

    model: CatalogueModel
    engine: str
    quantization: str
    device: Device
    count: int
    job: Job
    machines: Machines
    users: int
    assumed: Assumptions
    needs_acceptance: bool
    spare_ratio: float

    @property
    def price(self) -> float | None:
        """Of all machines, in the currency of the assumptions; None is not known."""
        return price_of(self.machines, self.assumed)

    @cached_property
    def pace(self) -> Pace:
        """Of one machine."""
        return pace_of_job(self.job)

    @cached_property
    def cost(self) -> Cost:
        """Of all machines."""
        return cost_of(self.machines, self.pace, self.job.workload, self.users, self.assumed)

    @property
    def stored_as(self) -> str:
        """The quantization, and the engine where it is not llama.cpp: ``Q4_K_M``, ``FP8 vllm``."""
        return self.quantization if self.engine == LLAMACPP else f"{self.quantization} {self.engine}"


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
        self.engines = self._engines()
        self.formats = _formats(device)
        self._parts: dict[tuple[str, int], tuple[Part, ...]] = {}
        self._assumed: dict[CloudPrice, Assumptions] = {}
        self.machines = {count: self._bought(count) for count in COUNTS}
        self.reasons = self._unsuited()
        self.counts = [count for count in COUNTS if not self._too_much(count)]

    def _engines(self) -> list[str]:
        """Those that are tried: vLLM for what is generated, on accelerators on which it is no adventure."""
        engines = [LLAMACPP] if self.device.engines.get(LLAMACPP, "none") != "none" else []
        is_trodden = self.device.engines.get(VLLM, "none") in _TRODDEN
        if is_trodden and self.need.task == "chat" and self.targets[1].accelerators:
            engines.append(VLLM)
        return engines

    def _unsuited(self) -> list[tuple[str, str]]:
        """Why no count of it will do, whatever the model."""
        reasons = []
        if not self.engines:
            how = self.device.engines.get(VLLM, "none")
            other = (
                f", and vllm is {how} on it" if how == "young" else " and neither does vllm" if how == "none" else ""
            )
            reasons.append(("engine", f"{LLAMACPP} does not run on it{other}"))
        if self.need.vendor and self.device.vendor != self.need.vendor:
            reasons.append(("vendor", f"made by {self.device.vendor}"))
        return reasons + self._too_much(1)

    def _too_much(self, count: int) -> list[tuple[str, str]]:
        need, machines = self.need, self.machines[count]
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

    def _bought(self, count: int) -> Machines:
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
        failed: _Failures = {}
        if self.reasons:
            self._look_once(sketches, failed)
            return [*self.reasons, *self._told(sketches, failed)]
        model, fitted, counts = sketches.model, set[str](), self._different(self.counts)
        engines = self.engines
        if self.is_computer and len(counts) > 1 and not self._can_at_most(sketches, counts[-1], engines, failed):
            return self._told(sketches, failed)
        for count in counts:
            if count == _FIRST_SHARED and not self.is_computer and VLLM in engines:
                most = max(number for number in counts if sharing(model.shape, number) == number)
                can_share = most > 1 and self._can_at_most(sketches, most, [VLLM], failed)
                engines = engines if can_share else [engine for engine in engines if engine != VLLM]
            for engine in engines:
                for sketch, used in self._quick_enough(sketches, engine, count, fitted, failed):
                    job = self._job(sketches, sketch, count)
                    if self._begins_in_time(job, failed):
                        return Candidate(
                            model=model,
                            engine=engine,
                            quantization=job.workload.quantization,
                            device=self.device,
                            count=count,
                            job=job,
                            machines=self.machines[count],
                            users=self.need.users,
                            assumed=self._assumed_for(sketch),
                            needs_acceptance=needs_acceptance,
                            spare_ratio=round(1 - used, 3),
                        )
        return self._told(sketches, failed)

    def _assumed_for(self, sketch: Sketch) -> Assumptions:
        """With the cloud's prices for a model of this size, which are made once."""
        price = cloud_price(sketch.traffic.active_elements, is_embedding=sketch.workload.is_embedding)
        found = self._assumed.get(price)
        if found is None:
            found = self._assumed[price] = with_cloud(self.assumed, price)
        return found

    def _can_at_most(self, sketches: Sketches, count: int, engines: Sequence[str], failed: _Failures) -> bool:
        """Whether so many do, where fewer do no better: computers that share users, cards that share layers."""
        tried: _Failures = {}
        found = any(
            self._begins_in_time(self._job(sketches, sketch, count), tried)
            for engine in engines
            for sketch, _ in self._quick_enough(sketches, engine, count, set(), tried)
        )
        failed.update({} if found else tried)
        return found

    def _look_once(self, sketches: Sketches, failed: _Failures) -> None:
        """What else speaks against it, beside what is out already: the first quantization that fits says it."""
        engine = (self.engines or [LLAMACPP])[0]
        for count in self._different(self.counts or COUNTS[:1]):
            for sketch, _ in self._quick_enough(sketches, engine, count, set(), failed):
                self._begins_in_time(self._job(sketches, sketch, count), failed)
                break

    def _told(self, sketches: Sketches, failed: _Failures) -> list[tuple[str, str]]:
        """A sentence for each kind of reason, with what each engine failed for."""
        said: dict[str, str] = {}
        for (kind, engine), why in failed.items():
            words = why if isinstance(why, str) else self._lacking(sketches, engine, *why)
            said[kind] = f"{said[kind]}; {engine}: {words}" if kind in said else f"{engine}: {words}"
        return list(said.items())

    def _different(self, counts: Sequence[int]) -> list[int]:
        """Counts without those of whole computers that leave each with as many users as fewer of them."""
        if not self.is_computer:
            return list(counts)
        return list({self._slots(count): count for count in reversed(counts)}.values())[::-1]

    def _slots(self, count: int) -> int:
        return -(-self.need.users // count) if self.is_computer else self.need.users

    def _quick_enough(
        self, sketches: Sketches, engine: str, count: int, fitted: set[str], failed: _Failures
    ) -> Iterator[tuple[Sketch, float]]:
        """Quantizations that fit and decode fast enough, the best first, each with the share of memory that it takes.

        Args:
            sketches: Of the model.
            engine: That is tried.
            count: Of the device.
            fitted: Of llama.cpp on fewer cards: more of them do not make those faster.
            failed: Is told what does not do.
        """
        if engine == VLLM and not self.is_computer and sharing(sketches.model.shape, count) < count:
            return
        line: StepLine | None = None
        computed_in = ""
        for quantization in QUANTIZATIONS if engine == LLAMACPP else self.formats:
            if engine == LLAMACPP and quantization in fitted:
                continue
            used = self._used(sketches, engine, quantization, count)
            if used > 1:
                failed["memory", engine] = (quantization, count)
                continue
            failed.pop(("memory", engine), None)
            if engine == LLAMACPP and not self.is_computer:
                fitted.add(quantization)
            sketch = sketches.get(engine, quantization, self._slots(count))
            if line is None or _FAST_NUMBERS in (quantization, computed_in):
                line, computed_in = self._line(sketches, sketch, count), quantization
            if not self._is_too_slow(sketches, sketch, count, line, failed):
                yield sketch, used

    def _used(self, sketches: Sketches, engine: str, quantization: str, count: int) -> float:
        """Share of the fullest memory that it takes; above 1 it does not fit."""
        target, slots = self.targets[count], self._slots(count)
        if engine == VLLM:
            return self._used_by_vllm(sketches, quantization, count)
        footprint = sketches.footprint(quantization, slots)
        if not target.accelerators:
            return footprint.processor / target.host.available_bytes
        card = target.accelerators[0]
        if card.kind != "gpu":
            return (footprint.fullest_card(1, card.context_bytes) + footprint.host) / card.available_bytes
        on_card = footprint.fullest_card(len(target.accelerators), card.context_bytes) / card.available_bytes
        return max(on_card, footprint.host / target.host.available_bytes)

    def _used_by_vllm(self, sketches: Sketches, quantization: str, count: int) -> float:
        """The same of vLLM, which takes its share of a memory whatever it needs of it."""
        target = self.targets[count]
        card = target.accelerators[0]
        needed = sketches.card_bytes(
            quantization, self._slots(count), len(target.accelerators), is_large=is_large(card)
        )
        needed, share = needed + card.context_bytes, share_of(card)
        if needed > share:
            return needed / share if share else 2.0
        if card.kind != "gpu":
            return (share + HOST_BYTES) / card.available_bytes
        return max(share / card.available_bytes, HOST_BYTES / target.host.available_bytes)

    def _lacking(self, sketches: Sketches, engine: str, quantization: str, count: int) -> str:
        """By how much a quantization does not fit."""
        target = self.targets[count]
        pool = target.accelerators[0] if target.accelerators else target.host
        room = share_of(pool) if engine == VLLM else pool.available_bytes
        short = format_bytes((self._used(sketches, engine, quantization, count) - 1) * room)
        times = f"on each of {count}, " if count > 1 and not self.is_computer else ""
        return f"{times}{quantization} lacks {short} of {format_bytes(room)}"

    def _line(self, sketches: Sketches, sketch: Sketch, count: int) -> StepLine | None:
        """On accelerators, what a step takes beside reading; None on a processor, where the two overlap."""
        if not self.targets[1].accelerators or self.need.tokens_per_second is None:
            return None
        # Layers that equal cards share out take as long as on one of them; vLLM shares every layer.
        job = self._job(sketches, sketch, count if sketch.workload.engine == VLLM else 1)
        return step_line(job, sketch.workload.slots, present_tokens(sketch.workload))

    def _is_too_slow(
        self, sketches: Sketches, sketch: Sketch, count: int, line: StepLine | None, failed: _Failures
    ) -> bool:
        """Whether each user gets too little; looked at before all else, because it fails most."""
        wanted, work = self.need.tokens_per_second, sketch.workload
        if wanted is None or work.is_embedding:
            return False
        if line is not None:
            got = 1 / line.seconds(sketch.traffic)
        else:
            got = 1 / decode_seconds(self._job(sketches, sketch, count), work.slots, present_tokens(work))
        if got < wanted:
            failed["tokens a second", work.engine] = f"{got:.2g} a second for each user, {wanted:g} are needed"
        return got < wanted

    def _job(self, sketches: Sketches, sketch: Sketch, count: int) -> Job:
        """A model placed whole; where its layers lie is the same for every model."""
        engine = sketch.workload.engine
        target, shape = self.targets[count], sketches.model.shape
        parts = self._parts.get((engine, count))
        if parts is None:
            layers = shape.layers + 1 if target.accelerators else 0
            parts = self._parts[engine, count] = job_of(shape, sketch.workload, target, layers).parts
        return Job(shape, sketch.workload, sketch.traffic, parts, target.link_bandwidth)

    def _begins_in_time(self, job: Job, failed: _Failures) -> bool:
        """Whether the first token of an answer comes early enough; its others were looked at before."""
        longest = self.need.first_token_seconds
        if longest is None:
            return True
        after = first_token_seconds(job)
        if after > longest:
            failed["first token", job.workload.engine] = f"after {after:.2g} s, {longest:g} s are wanted"
        return after <= longest


def _formats(device: Device) -> tuple[str, ...]:
    """What vLLM runs on a device, the best first."""
    known = [name for name in FORMATS if any(number in device.tflops for number in _NUMBERS_OF_FORMATS[name])]
    if device.vendor not in _MAKERS_WITH_INTEGER_KERNELS:
        known = [name for name in known if name != "AWQ"]
    return tuple("F16" if name == "BF16" and "bf16" not in device.tflops else name for name in known)


def _why_unpriced(device: Device) -> str:
    """Why a device has no price to compare with a budget."""
    if device.price is not None:
        return "it is rented only"
    return device.unpriced or "the catalogue has no list price of it"
