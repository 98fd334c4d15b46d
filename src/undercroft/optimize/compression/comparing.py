"""Whether a compressed model is still its source, by what both expect of the same texts. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.schemes import CompressedScheme

# A model that says the same whatever it has read is as far from the source as its average is; of that distance at
# most this share may be lost.
LARGEST_SHARE_OF_NOISE = 0.5
LEAST_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of reading the same texts with both.

    Args:
        tokens: At which both were asked what comes next; count.
        same_top: Share of these at which both expect the same token most; 0 to 1.
        mean_nats: Mean divergence (Kullback-Leibler) of the result from the source, nats a token.
        largest_nats: At the worst token.
        noise_nats: The same of a model that reads nothing: the source's mean expectation, everywhere.
        source_nats: Mean surprise of the source at the texts, nats a token; the exponential is its perplexity.
        result_nats: The same of the result.
        limit_nats: The largest mean that passes for the scheme.
    """

    tokens: int
    same_top: float
    mean_nats: float
    largest_nats: float
    noise_nats: float
    source_nats: float
    result_nats: float
    limit_nats: float

    @property
    def largest_passing_nats(self) -> float:
        """The lower one of the scheme's limit and a share of what a model that reads nothing loses."""
        return min(self.limit_nats, LARGEST_SHARE_OF_NOISE * self.noise_nats)


def check_same(found: Comparison, scheme: CompressedScheme) -> None:
    """Lets a result pass, or not.

    Args:
        found: What the comparison showed.
        scheme: What it was made by.

    Raises:
        InvalidError: ``too-little-text``; ``not-the-same``: it lost more than its scheme explains, or is no better
            than noise.
    """
    if found.tokens < LEAST_TOKENS:
        raise InvalidError(
            "too-little-text",
            f"the texts that are held back have {found.tokens} tokens: expected {LEAST_TOKENS} or more to compare "
            "the result with its source",
            hint="give longer --calibration-texts",
        )
    numbers = (found.mean_nats, found.same_top, found.result_nats)
    if all(map(math.isfinite, numbers)) and found.mean_nats <= found.largest_passing_nats:
        return
    is_noise = found.mean_nats > LARGEST_SHARE_OF_NOISE * found.noise_nats or not math.isfinite(found.mean_nats)
    why = (
        f"which is nearly noise: a model that reads nothing is {found.noise_nats:.3g} away"
        if is_noise
        else f"at most {found.limit_nats:g} is allowed for {scheme.name}"
    )
    raise InvalidError(
        "not-the-same",
        f"the result is not its source: on {found.tokens:,} tokens that were held back it diverges by "
        f"{found.mean_nats:.3g} nats a token, {why}; the same token first at {found.same_top:.1%}",
        hint=_hint(scheme),
    )


def _hint(scheme: CompressedScheme) -> str:
    if scheme.packing == "int4":
        return "a smaller --group-size, more --calibration-texts, or w8a8"
    return "gptq-w4a16 with texts of your own" if scheme.is_float4 else "keep the model as it is"
