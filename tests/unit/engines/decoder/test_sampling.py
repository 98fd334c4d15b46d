"""Tests of `undercroft.engines.decoder.sampling`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from undercroft.engines.decoder.sampling import Sampler, Sampling

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


def drawn(sampling: Sampling, count: int = 400, prompt: tuple[int, ...] = ()) -> list[int]:
    """Tokens of one answer, the logits always the same."""
    sampler = Sampler(sampling, prompt)
    return [sampler.choose(LOGITS).token for _ in range(count)]


def test_without_temperature_the_likeliest_is_taken() -> None:
    """Temperature 0 never draws."""
    assert set(drawn(Sampling(temperature=0))) == {0}


def test_the_same_seed_gives_the_same_answer() -> None:
    """A seed settles every token; another seed gives another answer."""
    assert drawn(Sampling(seed=5)) == drawn(Sampling(seed=5))
    assert drawn(Sampling(seed=5)) != drawn(Sampling(seed=6))


def test_tokens_come_as_often_as_they_are_likely() -> None:
    """With temperature 1 and nothing else the shares are the model's own."""
    found = drawn(Sampling(seed=1), 4_000)
    for token, chance in enumerate((0.5, 0.3, 0.15, 0.05)):
        assert found.count(token) / len(found) == pytest.approx(chance, abs=0.05)


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        (Sampling(top_k=2, seed=1), {0, 1}),
        (Sampling(top_p=0.6, seed=1), {0, 1}),
        (Sampling(top_p=0.0, seed=1), {0}),
        (Sampling(min_p=0.25, seed=1), {0, 1, 2}),
        (Sampling(logit_bias={3: 100.0}, seed=1), {3}),
        (Sampling(logit_bias={99: 100.0}, seed=1), {0, 1, 2, 3}),
    ],
)
def test_what_is_left_out_is_never_drawn(sampling: Sampling, allowed: set[int]) -> None:
    """Each limit keeps the likeliest it names, and all of these come."""
    assert set(drawn(sampling)) == allowed


def test_penalties_keep_from_saying_it_again() -> None:
    """Presence and frequency look at the answer, repetition at the prompt as well."""
    assert drawn(Sampling(temperature=0, presence_penalty=2.0), 2) == [0, 1]
    assert drawn(Sampling(temperature=0, frequency_penalty=0.4), 3) == [0, 0, 1]
    assert drawn(Sampling(temperature=0, repetition_penalty=3.0), 1, prompt=(0,)) == [1]
    assert drawn(Sampling(temperature=0, presence_penalty=2.0), 1, prompt=(0,)) == [0]


def test_probabilities_are_the_models_own() -> None:
    """What is told is not changed by temperature or bias; none is told unless it was asked for."""
    sampler = Sampler(Sampling(temperature=0, logit_bias={2: 9.0}, top_logprobs=2), ())
    found = sampler.choose(LOGITS + 7)
    assert found.token == 2
    assert found.logprob == pytest.approx(math.log(0.15))
    assert [token for token, _ in found.top] == [0, 1]
    assert Sampler(Sampling(), ()).choose(LOGITS).logprob is None


def guided(sampling: Sampling, allowed: set[int], count: int = 400) -> list[int]:
    """Tokens of one answer of which a grammar allows some: each has the largest score of these."""
    sampler, found = Sampler(sampling, ()), []
    for _ in range(count):
        scores = sampler.scores(LOGITS)
        found.append(max(allowed, key=lambda token: float(scores[token])))
        sampler.take(found[-1], LOGITS)
    return found


def test_under_a_grammar_tokens_come_as_often_as_they_are_likely_among_those() -> None:
    """The shares are the model's own of what is allowed, and the same seed gives the same answer."""
    found = guided(Sampling(seed=1), {1, 2, 3}, 4_000)
    for token, chance in ((1, 0.6), (2, 0.3), (3, 0.1)):
        assert found.count(token) / len(found) == pytest.approx(chance, abs=0.05)
    assert found == guided(Sampling(seed=1), {1, 2, 3}, 4_000)
    assert found != guided(Sampling(seed=2), {1, 2, 3}, 4_000)


@pytest.mark.parametrize(
    ("sampling", "allowed", "drawn_tokens"),
    [
        (Sampling(temperature=0), {1, 3}, {1}),
        (Sampling(top_k=2, seed=1), {0, 1, 2, 3}, {0, 1}),
        (Sampling(top_p=0.6, seed=1), {1, 2, 3}, {1}),
        (Sampling(top_k=1, seed=1), {2, 3}, {2, 3}),
        (Sampling(logit_bias={3: 100.0}, seed=1), {1, 3}, {3}),
    ],
)
def test_under_a_grammar_limits_count_where_they_leave_anything(
    sampling: Sampling, allowed: set[int], drawn_tokens: set[int]
) -> None:
    """Where none of the likeliest is allowed, one of what is allowed is drawn."""
    assert set(guided(sampling, allowed)) == drawn_tokens


def test_what_is_told_is_the_models_own() -> None:
    """Probabilities are those before any noise."""
    sampler = Sampler(Sampling(seed=1, top_logprobs=2), ())
    sampler.scores(LOGITS)
    choice = sampler.take(3, LOGITS)
    assert choice.logprob == pytest.approx(math.log(0.05))
    assert [token for token, _ in choice.top] == [0, 1]
