"""The plan for one model on one kind of machine: does it fit, in which quantization, how far it goes, what it costs.

Pure: everything that is read from outside comes in as data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from undercroft.catalog.shapes import ModelShape
from undercroft.catalog.verdicts import Verdict as LicenceVerdict
from undercroft.core.errors import InvalidError
from undercroft.planning.assumptions import Assumptions, cloud_price, with_cloud
from undercroft.planning.calibration import Corrections
from undercroft.planning.cost import Cost, Machines, cost_of
from undercroft.planning.fitting import Fit, Verdict, fit_of, memory_factors
from undercroft.planning.forecasts import MemoryForecast, SpeedForecast, Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.quality import OTHER_ENGINES, QUALITIES, RECOMMENDED, RECOMMENDED_OFFLOADED
from undercroft.planning.speed import Pace, forecast_speed, pace_of
from undercroft.planning.targets import Target
from undercroft.planning.traffic import traffic_of

_CONTEXT_STEP = 256
_MOST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to plan for.

    Args:
        name: As it was asked for.
        shape: Its sizes.
        stored: Quantization of its files; empty for a model that may have any.
        licence: Whether its licence covers the declared use; None is not judged.
    """

    name: str
    shape: ModelShape
    stored: str = ""
    licence: LicenceVerdict | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is to run.

    Args:
        target: One machine.
        machines: Equal ones that share the users; count.
        rent_usd_per_hour: Of one machine; None is not known.
    """

    target: Target
    machines: int = 1
    rent_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One quantization on this machine.

    Args:
        quantization: Its name.
        verdict: Whether it fits.
        needed_bytes: Of all pools.
        missing_bytes: By how much it does not fit.
        decode: Tokens a second of one user alone; 0 where it does not fit or nothing is generated.
    """

    quantization: str
    verdict: Verdict
    needed_bytes: int
    missing_bytes: int
    decode: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it.

    Args:
        subject: For what.
        site: Where.
        workload: Of one machine, with the quantization that was chosen.
        users: Of all machines, at the same time.
        memory: Of one machine.
        fit: Of that.
        speed: Of one machine; None where it does not fit.
        cost: Of all machines; None where it does not fit.
        choices: Every quantization that could be taken, the best first.
        largest_context: Tokens of a slot that fit as the plan does; 0 where nothing fits.
        most_users: At the same time on all machines; 0 where nothing fits.
        assumptions: That the cost was computed with.
        notes: What a buyer should know.
    """

    subject: Subject
    site: Site
    workload: Workload
    users: int
    memory: MemoryForecast
    fit: Fit
    speed: SpeedForecast | None
    cost: Cost | None
    choices: tuple[Choice, ...]
    largest_context: int
    most_users: int
    assumptions: Assumptions
    notes: tuple[str, ...] = ()


def make_plan(
    subject: Subject,
    site: Site,
    workload: Workload,
    *,
    users: int = 1,
    assumed: Assumptions | None = None,
    learnt: Corrections | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Plans one model.

    Args:
        subject: Which.
        site: Where.
        workload: As asked; an empty quantization takes the best that fits, ``slots`` is set from ``users``.
        users: At the same time, on all machines together.
        assumed: For the cost; None takes the defaults.
        learnt: From pairs of forecast and measurement; None for nothing.
        notes: Passed on.

    Raises:
        InvalidError: A context, number of users or machines below 1, or a context that the model was not made for.
    """
    _check(subject, site, workload, users)
    site = _with_own_figures(site, assumed or Assumptions())
    is_embedding = workload.is_embedding or subject.shape.is_encoder
    work = replace(workload, slots=-(-users // site.machines), is_embedding=is_embedding)
    judge = _Judge(subject.shape, site.target, learnt or Corrections())
    choices = tuple(judge.choice(work, name) for name in _candidates(subject, workload))
    chosen = workload.quantization or subject.stored or best_of(choices)
    work = replace(work, quantization="" if subject.stored and chosen == subject.stored else chosen)
    memory, fit = judge.fit(work)
    speed, cost = None, None
    active = traffic_of(subject.shape, work.quantization, work.engine).active_elements
    assumptions = with_cloud(assumed or Assumptions(), cloud_price(active, is_embedding=is_embedding))
    if fit.verdict is not Verdict.NO:
        speed = forecast_speed(subject.shape, work, site.target, memory, learnt)
        cost = _cost(site, speed, work, users, assumptions)
    return Plan(
        subject=subject,
        site=site,
        workload=work,
        users=users,
        memory=memory,
        fit=fit,
        speed=speed,
        cost=cost,
        choices=choices,
        largest_context=judge.largest_context(work, fit.verdict),
        most_users=judge.most_slots(work, fit.verdict) * site.machines,
        assumptions=assumptions,
        notes=notes,
    )


def _check(subject: Subject, site: Site, workload: Workload, users: int) -> None:
    problems = []
    if workload.context_tokens < 1:
        problems.append(f"expected a context of 1 token or more, got {workload.context_tokens}")
    if subject.shape.context_tokens and workload.context_tokens > subject.shape.context_tokens:
        problems.append(
            f"{subject.name} was made for {subject.shape.context_tokens:,} tokens of context, "
            f"{workload.context_tokens:,} were asked for"
        )
    if users < 1:
        problems.append(f"expected 1 user or more, got {users}")
    if site.machines < 1:
        problems.append(f"expected 1 machine or more, got {site.machines}")
    if problems:
        raise InvalidError("bad-plan", "; ".join(problems), hint="undercroft plan --help")


def _candidates(subject: Subject, workload: Workload) -> list[str]:
    if subject.stored:
        return [subject.stored]
    if workload.engine in OTHER_ENGINES:
        names = list(OTHER_ENGINES[workload.engine])
    else:
        names = [quality.quantization for quality in QUALITIES]
    wanted = workload.quantization
    return names if not wanted or wanted in names else [*names, wanted]


def best_of(choices: tuple[Choice, ...]) -> str:
    """The best quality that fits whole; then with layers on the processor; else what misses least."""
    usable = [c for c in choices if c.quantization in RECOMMENDED] or list(choices)
    fitting = next((c for c in usable if c.verdict is Verdict.FITS), None)
    if fitting is not None:
        return fitting.quantization
    offloaded = {c.quantization: c for c in usable if c.verdict is Verdict.OFFLOAD}
    if offloaded:
        return next((name for name in RECOMMENDED_OFFLOADED if name in offloaded), next(iter(offloaded)))
    return min(usable, key=lambda c: c.missing_bytes).quantization


def _cost(site: Site, speed: SpeedForecast, work: Workload, users: int, assumed: Assumptions) -> Cost:
    pace = Pace(
        speed.decode.value,
        speed.decode_user.value,
        speed.decode_all.value,
        speed.prefill.value,
        speed.first_token.value,
    )
    return cost_of(machines_of(site), pace, work, users, assumed)


def _with_own_figures(site: Site, assumed: Assumptions) -> Site:
    """With the price and the power that somebody knows of the machine in place of those of lists."""
    target = site.target
    if assumed.is_given("machine_price"):
        target = replace(target, price_usd=assumed.machine_price)
    if assumed.is_given("machine_watts"):
        target = replace(target, watts=assumed.machine_watts)
    if assumed.is_given("idle_watts"):
        target = replace(target, idle_watts=assumed.idle_watts)
    return replace(site, target=replace(target, idle_watts=min(target.idle_watts, target.watts)))


def machines_of(site: Site) -> Machines:
    """What is bought for a site."""
    target = site.target
    return Machines(site.machines, target.price_usd, target.watts, target.idle_watts, site.rent_usd_per_hour)


class _Judge:
    """Fits one network on one machine again and again."""

    def __init__(self, shape: ModelShape, target: Target, learnt: Corrections) -> None:
        self.shape, self.target, self.learnt = shape, target, learnt

    def fit(self, work: Workload) -> tuple[MemoryForecast, Fit]:
        """Memory, and whether it fits."""
        memory = forecast_memory(self.shape, work, self.target)
        factors = memory_factors(self.shape, work, self.target, self.learnt)
        return memory, fit_of(memory, self.target, self.shape.layers, factors)

    def choice(self, work: Workload, name: str) -> Choice:
        """One line of the table of quantizations."""
        stored = replace(work, quantization="" if self.shape.tensors else name)
        memory, fit = self.fit(stored)
        decode = 0.0
        if fit.verdict is not Verdict.NO:
            decode = pace_of(self.shape, stored, self.target, memory.gpu_layers, self.learnt).decode
        needed = sum(pool.needed_bytes for pool in fit.pools)
        return Choice(name, fit.verdict, needed, fit.missing_bytes, decode)

    def largest_context(self, work: Workload, verdict: Verdict) -> int:
        """The longest context that gets the same verdict."""
        if verdict is Verdict.NO:
            return 0
        most = max(1, self.shape.context_tokens // _CONTEXT_STEP)

        def fits(steps: int) -> bool:
            tokens = min(steps * _CONTEXT_STEP, self.shape.context_tokens or _CONTEXT_STEP)
            return self.fit(replace(work, context_tokens=tokens))[1].verdict is verdict

        found = _last(most, fits) * _CONTEXT_STEP
        return max(min(found, self.shape.context_tokens or found), work.context_tokens)

    def most_slots(self, work: Workload, verdict: Verdict) -> int:
        """The most requests at the same time that get the same verdict."""
        if verdict is Verdict.NO:
            return 0
        found = _last(_MOST_SLOTS, lambda slots: self.fit(replace(work, slots=slots))[1].verdict is verdict)
        return max(found, work.slots)


def _last(most: int, holds: Callable[[int], bool]) -> int:
    """The largest count from 1 to ``most`` that holds, where smaller ones hold too; 0 for none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
