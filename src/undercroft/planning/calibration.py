"""What was learnt from forecasts that met reality: a factor and a spread for the next forecast. Pure.

A pair is a forecast and what was measured. Their ratio is averaged in logarithms over kinds that resemble the one asked
for, from the coarsest level to the finest: everything on the same engine and device; of it what has the same
quantization (speed depends on how a type is unpacked) or architecture (memory depends on what a network keeps); of it
the very same kind. Answers say more than a ratio: a pair knows what its seconds are made of, so that on the coarsest
level a factor for each term is learnt in its place (`undercroft.planning.step_terms`), and the finer levels average
what is left. Each level is pulled towards the coarser one while it has seen little (empirical Bayes: n / (n + k) of its
own median). On a coarse level a kind counts once however often it ran, so that one deployment that
is measured every hour does not speak for all others.

Source of the method: Efron & Morris, "Stein's paradox in statistics" (1977); k is the variance within a level over the
variance between levels, see `_HALF_TRUST`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from undercroft.planning.step_terms import Step, StepTerms, TermFactors, learn_factors


class Quantity(StrEnum):
    """What is forecast and measured."""

    PRIVATE_BYTES = "private_bytes"
    FILE_BYTES = "file_bytes"
    GPU_BYTES = "gpu_bytes"
    LOAD_SECONDS = "load_seconds"
    DECODE_TOKENS = "decode_tokens"  # a second
    PREFILL_TOKENS = "prefill_tokens"  # a second


_MEMORY = frozenset({Quantity.PRIVATE_BYTES, Quantity.FILE_BYTES, Quantity.GPU_BYTES})
# How many (kinds on a coarse level, pairs on the finest) make a level's own median count as much as all coarser ones:
# engine and device, quantization or architecture, the very same. A device that nobody measured is off by about 40 %
# (published: median error 28 %), and models on one device differ by a third of that or less, so one other model says
# nearly all about a device. Memory is forecast well without: what is left differs from kind to kind.
_HALF_TRUST = (0.1, 1.0, 0.5)
_HALF_TRUST_OF_MEMORY = (0.5, 0.5, 0.5)
# Loads of one device differ from each other nearly as much as devices do: half of 21 lay more than a third off.
_HALF_TRUST_OF_LOADS = (0.75, 1.0, 0.5)
# A pair beyond this ratio is a broken measurement or a bug to look at, not something to learn from.
_LARGEST_RATIO = 8.0
_FEWEST_FOR_SPREAD = 3
_RECENT_PAIRS = 50
_ALIKE = 5  # plain forecasts within a fifth of each other


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes two forecasts alike.

    Args:
        engine: ``llama.cpp`` …
        device: Name of the processor or accelerator.
        architecture: ``qwen2`` …
        quantization: ``Q4_K_M`` …
    """

    engine: str
    device: str
    architecture: str
    quantization: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One forecast and what came.

    Args:
        kind: Of what.
        quantity: Of it.
        plain: Forecast without anything learnt, in the quantity's unit.
        forecast: As it was given, with what had been learnt by then.
        measured: What came.
        at: ISO 8601, UTC.
        terms: Of a rate of answers, what the seconds of the plain forecast's step are made of; None is not known.
    """

    kind: Kind
    quantity: Quantity
    plain: float
    forecast: float
    measured: float
    at: str = ""
    terms: StepTerms | None = None

    @property
    def is_usable(self) -> bool:
        """Whether anything can be learnt from it."""
        if self.plain <= 0 or self.measured <= 0:
            return False
        return 1 / _LARGEST_RATIO <= self.measured / self.plain <= _LARGEST_RATIO


@dataclass(frozen=True, slots=True)
class Correction:
    """What to multiply a plain forecast with.

    Args:
        factor: 1 where nothing was learnt.
        spread: Standard deviation of the logarithm of measured to corrected forecast; None with too few pairs.
        pairs: From how many it was learnt.
        level: What they have in common with what was asked, in words.
        terms: Of answers, what each term's seconds were multiplied with; it is part of the factor.
    """

    factor: float = 1.0
    spread: float | None = None
    pairs: int = 0
    level: str = "nothing learnt yet"
    terms: TermFactors | None = None


@dataclass(frozen=True, slots=True)
class _Level:
    """What pairs have in common.

    Args:
        key: In which they agree.
        words: The same for people.
    """

    key: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the pairs of a level say.

    Args:
        middle: Median of the logarithms of measured to plain; of kinds, or of pairs where all are of one kind.
        spread: Their standard deviation; None of fewer than three.
        weight: How many kinds or pairs the median is of.
        pairs: From how many pairs.
    """

    middle: float
    spread: float | None
    weight: int
    pairs: int


class Corrections:
    """Learnt from pairs; asks are cheap."""

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        usable = [pair for pair in pairs if pair.is_usable]
        self._factors = _term_factors(usable)
        runs: dict[tuple[Kind, Quantity], list[float]] = {}
        for pair in usable:
            factors = self._factors.get(_where(pair.kind)) if pair.quantity is Quantity.DECODE_TOKENS else None
            ratio = pair.measured / pair.plain
            if factors is not None:
                if pair.terms is None:
                    continue  # of a forecast that did not know its terms: nothing to compare with those that do
                ratio *= factors.slowdown(pair.terms)
            runs.setdefault((pair.kind, pair.quantity), []).append(math.log(ratio))
        kinds: dict[tuple[str, ...], list[list[float]]] = {}
        self._seen: dict[tuple[str, ...], _Seen] = {}
        for (kind, quantity), logs in runs.items():
            recent = logs[-_RECENT_PAIRS:]
            *coarse, finest = _levels(kind, quantity)
            self._seen[finest.key] = _summary(recent, len(recent))
            for level in coarse:
                kinds.setdefault(level.key, []).append(recent)
        for key, found in kinds.items():
            self._seen[key] = _summary([statistics.median(own) for own in found], sum(map(len, found)))

    def correction(self, kind: Kind, quantity: Quantity, terms: StepTerms | None = None) -> Correction:
        """What pairs like it say, the finest level that has any counting most.

        Args:
            kind: What is forecast.
            quantity: Of it.
            terms: Of a rate of answers, what its plain forecast is made of; None corrects by the finer levels alone.
        """
        mean, found = 0.0, Correction()
        factors = self._factors.get(_where(kind)) if quantity is Quantity.DECODE_TOKENS else None
        faster = 1.0 if factors is None or terms is None else 1 / factors.slowdown(terms)
        trusts = _trusts(quantity)
        for index, (level, trust) in enumerate(zip(_levels(kind, quantity), trusts, strict=True)):
            seen = self._seen.get(level.key)
            if seen is None:
                break
            if index > 0 or factors is None:
                mean += (seen.middle - mean) * seen.weight / (seen.weight + trust)
            spread = seen.spread if seen.spread is not None else found.spread
            found = Correction(faster * math.exp(mean), spread, seen.pairs, level.words, factors)
        return found


def _trusts(quantity: Quantity) -> tuple[float, float, float]:
    if quantity is Quantity.LOAD_SECONDS:
        return _HALF_TRUST_OF_LOADS
    return _HALF_TRUST_OF_MEMORY if quantity in _MEMORY else _HALF_TRUST


def _where(kind: Kind) -> tuple[str, str]:
    return (kind.engine, kind.device)


def _term_factors(pairs: Iterable[Pair]) -> dict[tuple[str, str], TermFactors]:
    """By engine and device, out of all answers whose terms are known."""
    kinds: dict[Kind, list[Pair]] = {}
    for pair in pairs:
        if pair.terms is not None and pair.terms.total > 0 and pair.quantity is Quantity.DECODE_TOKENS:
            kinds.setdefault(pair.kind, []).append(pair)
    networks: dict[tuple[str, str], list[list[Step]]] = {}
    for kind, own in kinds.items():
        networks.setdefault(_where(kind), []).append(_steps(own[-_RECENT_PAIRS:]))
    return {where: learn_factors(found) for where, found in networks.items()}


def _steps(pairs: Sequence[Pair]) -> list[Step]:
    """One for all pairs whose forecasts are alike, so that a deployment that is measured every hour counts once."""
    alike: dict[int, list[Pair]] = {}
    for pair in pairs:
        alike.setdefault(round(_ALIKE * math.log(pair.plain)), []).append(pair)
    found = []
    for own in alike.values():
        ratio = statistics.median(pair.plain / pair.measured for pair in own)
        terms = own[-1].terms
        if terms is not None:
            found.append(Step(terms, terms.total * ratio))
    return found


def _summary(logs: Sequence[float], pairs: int) -> _Seen:
    spread = statistics.stdev(logs) if len(logs) >= _FEWEST_FOR_SPREAD else None
    return _Seen(statistics.median(logs), spread, len(logs), pairs)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good forecasts of one quantity were.

    Args:
        quantity: Of what.
        pairs: From how many.
        median_before: Median error without anything learnt, a ratio: 0.03 is 3 %.
        median_after: Median error as given, with what had been learnt by then.
        worst_before: Largest error without anything learnt.
        worst_after: Largest error as given.
    """

    quantity: Quantity
    pairs: int
    median_before: float
    median_after: float
    worst_before: float
    worst_after: float


def accuracy(pairs: Sequence[Pair]) -> list[Accuracy]:
    """Errors of each quantity, before and after learning, in the order of `Quantity`."""
    found = []
    for quantity in Quantity:
        own = [pair for pair in pairs if pair.quantity is quantity and pair.measured > 0]
        if not own:
            continue
        before = [abs(pair.plain / pair.measured - 1) for pair in own]
        after = [abs(pair.forecast / pair.measured - 1) for pair in own]
        found.append(
            Accuracy(quantity, len(own), statistics.median(before), statistics.median(after), max(before), max(after))
        )
    return found


@dataclass(frozen=True, slots=True)
class LowerBound:
    """What runs that were not finished say of a forecast: reality is this much or more.

    Args:
        quantity: Of what.
        pairs: From how many.
        measured: Of the pair that came nearest to its forecast, in the quantity's unit.
        forecast: Of that pair, as it was given.
    """

    quantity: Quantity
    pairs: int
    measured: float
    forecast: float


def lower_bounds(pairs: Sequence[Pair]) -> list[LowerBound]:
    """What unfinished pairs say of each quantity, in the order of `Quantity`."""
    found = []
    for quantity in Quantity:
        own = [pair for pair in pairs if pair.quantity is quantity and pair.forecast > 0]
        if own:
            nearest = max(own, key=lambda pair: pair.measured / pair.forecast)
            found.append(LowerBound(quantity, len(own), nearest.measured, nearest.forecast))
    return found


def _levels(kind: Kind, quantity: Quantity) -> tuple[_Level, ...]:
    """From the coarsest to the finest."""
    base = (quantity.value, kind.engine, kind.device)
    common = kind.architecture if quantity in _MEMORY else kind.quantization
    return (
        _Level(base, f"{kind.engine} on this device"),
        _Level((*base, common), f"{common} on this device"),
        _Level(
            (*base, kind.architecture, kind.quantization), f"{kind.architecture} {kind.quantization} on this device"
        ),
    )
