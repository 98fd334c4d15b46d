"""Which token comes next. Pure.

The same for every request whatever else is computed beside it: only its own tokens and its own seed count. In this
order: biases, penalties, temperature, and then the likeliest tokens (``top_k``, ``top_p``, ``min_p``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
# What `top_k` and the like leave out comes far behind the rest, and still before what a grammar forbids.
_LEFT_OUT = 1e4


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Args:
        temperature: 0 takes the likeliest.
        top_p: Of the likeliest tokens that have this probability together.
        top_k: Of so many of the likeliest; 0 is all.
        min_p: Least probability, relative to the likeliest.
        repetition_penalty: Divides what prompt and answer have had; 1 is none.
        presence_penalty: Subtracted from what the answer has had.
        frequency_penalty: The same, for each time.
        logit_bias: Token → added.
        seed: None is another one each time.
        top_logprobs: Likeliest tokens that are told at each place; None tells no probabilities.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was chosen.

    Args:
        token: Its id.
        logprob: As the model has it before anything here changes it, nats; None where it was not asked for.
        top: The likeliest: token, nats.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: How.
        prompt: Token ids that the model has read.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling, self._read = sampling, set(prompt)
        self._counts: dict[int, int] = {}
        self._chance = np.random.Generator(np.random.PCG64(sampling.seed))

    def choose(self, logits: Any) -> Choice:
        """The next token.

        Args:
            logits: Of shape ``(vocabulary,)``.
        """
        plain: Floats = np.asarray(logits, np.float64).reshape(-1)
        return self._told(self._chosen(plain), plain)

    def scores(self, logits: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Numbers of which the largest, among the tokens that a grammar allows, is the token that is drawn.

        Of all tokens together it is drawn as `choose` draws.

        Args:
            logits: Of shape ``(vocabulary,)``.

        Source:
            E. J. Gumbel, Statistical Theory of Extreme Values and Some Practical Applications (1954): the place of the
            largest of logits with such noise is distributed as their softmax, over any subset, too.
        """
        how = self._sampling
        changed = self._changed(np.asarray(logits, np.float64).reshape(-1))
        if how.temperature == 0:
            return changed.astype(np.float32)
        scaled = changed / how.temperature
        order, _ = self._likeliest(scaled)
        found = scaled + self._chance.gumbel(size=len(scaled))
        is_left_out = np.ones(len(scaled), np.bool_)
        is_left_out[order] = False
        found[is_left_out] -= _LEFT_OUT
        return found.astype(np.float32)

    def take(self, token: int, logits: Any) -> Choice:
        """The next token, chosen by its score elsewhere.

        Args:
            token: Which.
            logits: Of shape ``(vocabulary,)``, as the model has them.
        """
        return self._told(token, np.asarray(logits, np.float64).reshape(-1))

    def _told(self, token: int, plain: Floats) -> Choice:
        self._counts[token] = self._counts.get(token, 0) + 1
        wanted = self._sampling.top_logprobs
        if wanted is None:
            return Choice(token)
        nats = log_softmax(plain)
        best = np.argsort(-nats, kind="stable")[:wanted] if wanted else ()
        return Choice(token, float(nats[token]), tuple((int(one), float(nats[one])) for one in best))

    def _chosen(self, plain: Floats) -> int:
        how = self._sampling
        logits = self._changed(plain)
        if how.temperature == 0:
            return int(logits.argmax())
        order, chances = self._likeliest(logits / how.temperature)
        place = int(np.searchsorted(np.cumsum(chances), self._chance.random() * chances.sum(), side="right"))
        return int(order[min(place, len(order) - 1)])

    def _likeliest(self, logits: Floats) -> tuple[Any, Floats]:
        """Tokens that may be drawn, the likeliest first, and how likely each of them is."""
        how = self._sampling
        order = np.argsort(-logits, kind="stable")
        if how.top_k:
            order = order[: how.top_k]
        chances = np.exp(log_softmax(logits[order]))
        if how.top_p < 1:
            # The one with which the share is reached is still among them.
            count = int(np.searchsorted(np.cumsum(chances), how.top_p)) + 1
            order, chances = order[:count], chances[:count]
        if how.min_p > 0:
            is_likely = chances >= how.min_p * chances[0]
            order, chances = order[is_likely], chances[is_likely]
        return order, chances

    def _changed(self, plain: Floats) -> Floats:
        how = self._sampling
        logits = plain.copy()
        for token, bias in how.logit_bias.items():
            if token < len(logits):
                logits[token] += bias
        if how.repetition_penalty != 1:
            had = np.fromiter(self._read | self._counts.keys(), np.int64)
            had = had[had < len(logits)]
            logits[had] = np.where(
                logits[had] > 0, logits[had] / how.repetition_penalty, logits[had] * how.repetition_penalty
            )
        if how.presence_penalty or how.frequency_penalty:
            for token, count in self._counts.items():
                logits[token] -= how.presence_penalty + how.frequency_penalty * count
        return logits


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities, nats, of logits of shape ``(tokens,)``."""
    risen = logits - logits.max()
    return np.asarray(risen - np.log(np.exp(risen).sum()), np.float64)
