"""Is a candidate worse than what is in production? Judged on answers, by a test that may be looked at any time. Pure.

Each rule compares one measure of the candidate with the same of production over the same time. The chance that a
candidate that is not worse is ever sent back, over all rules and all looks together, is at most ``alpha`` for shares
(errors, refusals …), and about ``alpha`` for times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from undercroft.core.errors import InvalidError
from undercroft.core.wrong_values import problems_of
from undercroft.watch.promotion.sequential import Interval, mean_interval, proportion_interval


class Rules(BaseModel):
    """How much worse a candidate may be. None switches a rule off."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    alpha: float = Field(0.05, ge=1e-9, lt=0.5, description="Chance of sending back a candidate that is not worse.")
    min_requests: int = Field(20, ge=0, le=1_000_000, description="Requests that it has to answer before it is done.")
    failures_in_a_row: int | None = Field(3, ge=1, le=1000, description="So many bad answers in a row send it back.")
    probes_worse_by: float | None = Field(0.0, ge=0, le=1, description="Standard questions: share of the score.")
    errors_worse_by: float | None = Field(0.02, ge=0, lt=1, description="Server errors: share of the requests.")
    refused_worse_by: float | None = Field(0.05, ge=0, lt=1, description="Requests refused by the engine: share.")
    empty_worse_by: float | None = Field(0.05, ge=0, lt=1, description="Empty answers: share of the answers.")
    refusals_worse_by: float | None = Field(0.1, ge=0, lt=1, description="Refusals: share of the answers.")
    invalid_worse_by: float | None = Field(0.05, ge=0, lt=1, description="Not the JSON that was asked for: share.")
    cut_worse_by: float | None = Field(0.1, ge=0, lt=1, description="Answers cut at their limit: share.")
    disliked_worse_by: float | None = Field(0.1, ge=0, lt=1, description="Answers rated bad: share of the ratings.")
    first_token_worse_ratio: float | None = Field(1.5, gt=1, le=1000, description="Time to the first token.")
    token_seconds_worse_ratio: float | None = Field(1.5, gt=1, le=1000, description="Seconds a token after that.")
    undecided: Literal["promote", "revert"] = Field(
        "promote", description="What happens after the hold where nothing was proven."
    )
    give_up_seconds: float = Field(
        86_400.0, gt=0, le=31_536_000, description="Longest time as a canary; without enough requests it is reverted."
    )


def check_rules(values: Any) -> Rules:
    """Reads rules as a person gave them.

    Raises:
        InvalidError: ``bad-rules``: every problem in one message.
    """
    try:
        return Rules.model_validate({} if values is None else values)
    except ValidationError as error:
        problems = "; ".join(problems_of(error, is_yaml=True))
        raise InvalidError(
            "bad-rules", f"the rules have problems: {problems}", hint="docs/guide/releases.md"
        ) from error


@dataclass(frozen=True, slots=True)
class Share:
    """How often something happened.

    Args:
        hits: Count.
        trials: How often it could have; count.
    """

    hits: int = 0
    trials: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Logarithms of times.

    Args:
        count: Values.
        mean: Of their natural logarithms.
        variance: Of their natural logarithms.
    """

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Arm:
    """What was seen of one release.

    Args:
        requests: That it answered, well or badly.
        shares: ``errors``, ``refused``, ``empty``, ``refusals``, ``invalid``, ``cut``, ``disliked``.
        times: ``first_token``, ``token_seconds``.
        failures_in_a_row: The last so many answers were errors, refusals of the engine, empty or invalid.
        likeness: Of its answers to those that users got of the same requests, 0.0 to 1.0; None without copies.
    """

    requests: int
    shares: Mapping[str, Share]
    times: Mapping[str, Times]
    failures_in_a_row: int = 0
    likeness: float | None = None


class Opinion(StrEnum):
    """What a rule says."""

    WORSE = "worse"  # proven, within alpha
    FINE = "fine"  # proven not to be worse by as much as the rule allows
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found.

    Args:
        measure: ``errors``, ``first_token`` …
        candidate: Share, or geometric mean in seconds; None without a value.
        production: The same of what is in production.
        interval: Where the difference lies; for times, of the logarithms.
        limit: More than this is worse.
        opinion: What follows.
    """

    measure: str
    candidate: float | None
    production: float | None
    interval: Interval
    limit: float
    opinion: Opinion

    @property
    def is_seen(self) -> bool:
        """Whether there is anything to compare: a value of either release."""
        return self.candidate is not None or self.production is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an interval without an end has None there."""
        return {
            "measure": self.measure,
            "candidate": self.candidate,
            "production": self.production,
            "lower": self.interval.lower if math.isfinite(self.interval.lower) else None,
            "upper": self.interval.upper if math.isfinite(self.interval.upper) else None,
            "limit": self.limit,
            "opinion": self.opinion.value,
        }

    def sentence(self) -> str:
        """For people."""
        if self.measure in _TIMES:
            return (
                f"{_WORDS[self.measure]}: {_seconds(self.candidate)} against {_seconds(self.production)}, at least "
                f"{math.exp(self.interval.lower):.2f} times as long where {math.exp(self.limit):.2f} is allowed"
            )
        return (
            f"{_WORDS[self.measure]}: {_percent(self.candidate)} against {_percent(self.production)}, at least "
            f"{100 * self.interval.lower:.1f} points more where {100 * self.limit:.1f} are allowed"
        )


_SHARES = {
    "errors": "errors_worse_by",
    "refused": "refused_worse_by",
    "empty": "empty_worse_by",
    "refusals": "refusals_worse_by",
    "invalid": "invalid_worse_by",
    "cut": "cut_worse_by",
    "disliked": "disliked_worse_by",
}
_TIMES = {"first_token": "first_token_worse_ratio", "token_seconds": "token_seconds_worse_ratio"}
_WORDS = {
    "errors": "server errors",
    "refused": "requests that the engine refused",
    "empty": "empty answers",
    "refusals": "refusals",
    "invalid": "answers that are not the JSON that was asked for",
    "cut": "answers cut at their limit",
    "disliked": "answers that users rated bad",
    "first_token": "time to the first token",
    "token_seconds": "time a token",
}


def judge(rules: Rules, candidate: Arm, production: Arm, *, is_shown: bool = True) -> list[Finding]:
    """What each rule that is on says now.

    ``alpha`` is split evenly over the rules, and over the two releases that each compares.

    Args:
        is_shown: Users see answers of the candidate; else nobody can rate them, and that rule is off.
    """
    used = [(measure, getattr(rules, name)) for measure, name in {**_SHARES, **_TIMES}.items()]
    used = [(measure, limit) for measure, limit in used if limit is not None and (is_shown or measure != "disliked")]
    alpha = rules.alpha / max(1, len(used)) / 2
    return [
        _judge_share(measure, limit, candidate, production, alpha)
        if measure in _SHARES
        else _judge_times(measure, math.log(limit), candidate, production, alpha)
        for measure, limit in used
    ]


def failures_sentence(rules: Rules, candidate: Arm, production: Arm) -> str:
    """Why failures in a row send the candidate back; empty where they do not.

    Where what is in production fails in a row as well, the cause is not the candidate.
    """
    limit = rules.failures_in_a_row
    if limit is None or candidate.failures_in_a_row < limit or production.failures_in_a_row >= limit:
        return ""
    return (
        f"its last {candidate.failures_in_a_row} answers were errors, refused, empty or not the JSON that was asked for"
    )


def _judge_share(measure: str, limit: float, candidate: Arm, production: Arm, alpha: float) -> Finding:
    mine, other = candidate.shares.get(measure, Share()), production.shares.get(measure, Share())
    interval = proportion_interval(mine.hits, mine.trials, alpha=alpha).minus(
        proportion_interval(other.hits, other.trials, alpha=alpha)
    )
    return Finding(measure, _of(mine), _of(other), interval, limit, _opinion(interval, limit))


def _judge_times(measure: str, limit: float, candidate: Arm, production: Arm, alpha: float) -> Finding:
    mine, other = candidate.times.get(measure, Times()), production.times.get(measure, Times())
    interval = mean_interval(mine.count, mine.mean, mine.variance, alpha=alpha).minus(
        mean_interval(other.count, other.mean, other.variance, alpha=alpha)
    )
    typical = [math.exp(times.mean) if times.count else None for times in (mine, other)]
    return Finding(measure, typical[0], typical[1], interval, limit, _opinion(interval, limit))


def _opinion(interval: Interval, limit: float) -> Opinion:
    if interval.lower > limit:
        return Opinion.WORSE
    return Opinion.FINE if interval.upper <= limit else Opinion.OPEN


def _of(share: Share) -> float | None:
    return share.hits / share.trials if share.trials else None


def _percent(share: float | None) -> str:
    return "none seen" if share is None else f"{100 * share:.1f} %"


def _seconds(seconds: float | None) -> str:
    return "none seen" if seconds is None else f"{seconds:.3g} s"
