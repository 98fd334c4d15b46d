"""Whether an encoder says what its source says: vectors by their cosine, scores by their difference. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.optimize.conversion.comparing import Agreement

# Largest mean of 1 less the cosine of a vector with its source's, and of the difference of a probability. What is
# rounded to 8 bits may differ as much as that; whether it is good enough for its use its owner's own texts show.
COSINE_TOLERANCE = {"f32": 1e-5, "int8": 0.03}
SCORE_TOLERANCE = {"f32": 1e-4, "int8": 0.05}
# The worst of all may be this much worse than the mean may.
_WORST = 3.0


def compare_vectors(source: Sequence[Sequence[float]], made: Sequence[Sequence[float]], weight_type: str) -> Agreement:
    """Vector by vector.

    Args:
        source: Of any length but 0.
        made: Those of the new model, in the same order.
        weight_type: ``f32`` or ``int8``.
    """
    differences = [max(0.0, 1.0 - cosine(one, other)) for one, other in zip(source, made, strict=True)]
    return _agreement(differences, COSINE_TOLERANCE[weight_type])


def compare_scores(source: Sequence[Sequence[float]], made: Sequence[Sequence[float]], weight_type: str) -> Agreement:
    """Input by input: the largest difference of a score; scores that are no probabilities by their own size.

    Args:
        source: Scores of each input.
        made: Those of the new model, in the same order.
        weight_type: ``f32`` or ``int8``.
    """
    largest = max((abs(score) for row in source for score in row), default=1.0)
    scale = max(1.0, largest)
    differences = [
        max(abs(a - b) for a, b in zip(one, other, strict=True)) / scale
        for one, other in zip(source, made, strict=True)
    ]
    return _agreement(differences, SCORE_TOLERANCE[weight_type])


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the angle between two vectors; 0 where one has no length."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5
    return dot / lengths if lengths > 0 else 0.0


def _agreement(differences: Sequence[float], tolerance: float) -> Agreement:
    mean = sum(differences) / len(differences) if differences else 0.0
    same = sum(difference <= _WORST * tolerance for difference in differences)
    return Agreement(len(differences), same, mean, max(differences, default=0.0), tolerance)
