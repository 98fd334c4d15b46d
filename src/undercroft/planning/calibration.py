"""What was learnt from forecasts that met reality: a factor and a spread for the next forecast. Pure.

A pair is a forecast and what was measured. Their ratio is averaged in logarithms over pairs that resemble the one asked
for, nearest first: same architecture and quantization, then same architecture, then same engine and device, each level
pulled towards the next coarser one while it has few pairs (empirical Bayes: n / (n + k) of its own mean).

Source of the method: Efron & Morris, "Stein's paradox in statistics" (1977); shrinkage weight k chosen below.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    """What is forecast and measured."""

    PRIVATE_BYTES = "private_bytes"
    FILE_BYTES = "file_bytes"
    GPU_BYTES = "gpu_bytes"
    LOAD_SECONDS = "load_seconds"
    DECODE_TOKENS = "decode_tokens"  # a second
    PREFILL_TOKENS = "prefill_tokens"  # a second


# Pairs after which a level's own mean counts as much as what coarser levels say. Memory is deterministic, speed is not.
_HALF_TRUST_PAIRS = {Quantity.PRIVATE_BYTES: 0.5, Quantity.FILE_BYTES: 0.5, Quantity.GPU_BYTES: 0.5}
_HALF_TRUST_OTHERS = 1.0
# A pair beyond this ratio is a broken measurement or a bug to look at, not something to learn from.
_LARGEST_RATIO = 4.0
_FEWEST_FOR_SPREAD = 3
_RECENT_PAIRS = 50


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
    """

    kind: Kind
    quantity: Quantity
    plain: float
    forecast: float
    measured: float
    at: str = ""

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
    """

    factor: float = 1.0
    spread: float | None = None
    pairs: int = 0
    level: str = "nothing learnt yet"


class Corrections:
    """Learnt from pairs; asks are cheap."""

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._logs: dict[tuple[str, ...], list[float]] = {}
        for pair in pairs:
            if pair.is_usable:
                for level, _ in _levels(pair.kind, pair.quantity):
                    self._logs.setdefault(level, []).append(math.log(pair.measured / pair.plain))

    def correction(self, kind: Kind, quantity: Quantity) -> Correction:
        """What pairs like it say, the finest level that has any counting most.

        Args:
            kind: What is forecast.
            quantity: Of it.
        """
        mean, found = 0.0, Correction()
        trust = _HALF_TRUST_PAIRS.get(quantity, _HALF_TRUST_OTHERS)
        for level, words in reversed(_levels(kind, quantity)):
            logs = self._logs.get(level, [])[-_RECENT_PAIRS:]
            if not logs:
                continue
            own = statistics.median(logs)
            mean += (own - mean) * len(logs) / (len(logs) + trust)
            spread = statistics.stdev(logs) if len(logs) >= _FEWEST_FOR_SPREAD else None
            found = Correction(math.exp(mean), spread if spread is not None else found.spread, len(logs), words)
        return found


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


def _levels(kind: Kind, quantity: Quantity) -> list[tuple[tuple[str, ...], str]]:
    """From the finest to the coarsest, with what its pairs have in common."""
    base = (quantity.value, kind.engine, kind.device)
    return [
        ((*base, kind.architecture, kind.quantization), f"{kind.architecture} {kind.quantization} on this device"),
        ((*base, kind.architecture), f"{kind.architecture} on this device"),
        (base, f"{kind.engine} on this device"),
    ]
