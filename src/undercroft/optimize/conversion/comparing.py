"""Whether a converted model is its source: the same token ids, the same greedy answers, or how far from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Largest mean difference of a log-probability, nats, that rounding of the weights explains; by their type.
TOLERANCE_NATS = {"f32": 0.01, "f16": 0.05, "bf16": 0.2, "q8_0": 0.3}
# Two tokens this near in the source are a tie that rounding may decide either way; a multiple of the tolerance.
_TIE_TOLERANCES = 2.0
# Smallest mean cosine between an embedding and its source's.
LEAST_COSINE = {"f32": 0.9999, "f16": 0.9995, "bf16": 0.995, "q8_0": 0.99}


@dataclass(frozen=True, slots=True)
class Continuation:
    """What the source goes on with.

    Args:
        prompt: Token ids.
        tokens: Token ids that it chose, greedily.
        logprobs: Of each of these; nats.
        margins: Between each and the next best; nats.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    margins: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the converted model goes on with, greedily.

    Args:
        prompt: Token ids, as its own tokenizer makes them of the text.
        tokens: Token ids.
        logprobs: Of each of these; nats.
        ending: The token by which it ended its answer; None where it was cut off.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ending: int | None = None

    @property
    def said(self) -> tuple[int, ...]:
        """All that it chose: whoever ends where the source goes on is another model, too."""
        return self.tokens if self.ending is None else (*self.tokens, self.ending)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came of a comparison.

    Args:
        compared: Tokens, or texts that were embedded; count.
        same: Of these, how many came out the same; ties count as the same.
        mean_difference: Of the log-probabilities, nats; for embeddings 1 less the mean cosine.
        largest_difference: The same of the worst.
        tolerance: The largest mean difference that passes.
    """

    compared: int
    same: int
    mean_difference: float
    largest_difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether it may be called the same model."""
        return self.compared > 0 and self.same == self.compared and self.mean_difference <= self.tolerance


def compare_continuations(source: Sequence[Continuation], converted: Sequence[Answer], weight_type: str) -> Agreement:
    """Token by token, as long as both say the same; after a tie that fell the other way they speak of different things.

    Args:
        source: Continuations of the source.
        converted: Those of the converted model.
        weight_type: What the converted weights are kept in: a key of `TOLERANCE_NATS`.
    """
    tolerance = TOLERANCE_NATS[weight_type]
    differences: list[float] = []
    compared = same = 0
    for continuation, answer in zip(source, converted, strict=True):
        differences += _differences(continuation, answer)
        places = zip(answer.said, continuation.tokens, continuation.margins, strict=False)
        for token, expected, margin in places:
            compared += 1
            is_tie = margin <= _TIE_TOLERANCES * tolerance
            same += continuation.prompt == answer.prompt and (token == expected or is_tie)
            if token != expected:
                break
    return _agreement(differences, compared, same, tolerance)


def _differences(continuation: Continuation, answer: Answer) -> list[float]:
    """Of the log-probabilities, up to the first token that differs, this one included; nats."""
    found = []
    for token, logprob, expected, its in zip(
        answer.tokens, answer.logprobs, continuation.tokens, continuation.logprobs, strict=False
    ):
        found.append(abs(logprob - its))
        if token != expected:
            break
    return found


def compare_embeddings(
    source: Sequence[Sequence[float]], converted: Sequence[Sequence[float]], weight_type: str
) -> Agreement:
    """Text by text.

    Args:
        source: Vectors of length 1.
        converted: The converted model's, of any length but 0.
        weight_type: As above.
    """
    differences = [1.0 - _cosine(one, other) for one, other in zip(source, converted, strict=True)]
    tolerance = 1.0 - LEAST_COSINE[weight_type]
    same = sum(difference <= 2 * tolerance for difference in differences)
    return _agreement(differences, len(differences), same, tolerance)


def _agreement(differences: Sequence[float], compared: int, same: int, tolerance: float) -> Agreement:
    mean = sum(differences) / len(differences) if differences else 0.0
    return Agreement(compared, same, mean, max(differences, default=0.0), tolerance)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)
