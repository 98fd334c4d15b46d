"""When a compressed model may still be called its source."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.comparing import Comparison, check_same
from undercroft.optimize.compression.schemes import COMPRESSED

GPTQ = COMPRESSED["gptq-w4a16"]
GOOD = Comparison(
    tokens=500, same_top=0.95, mean_nats=0.05, largest_nats=0.4, noise_nats=2.0, source_nats=1.0, result_nats=1.04,
    limit_nats=GPTQ.largest_nats,
)  # fmt: skip


def test_a_small_loss_passes() -> None:
    """Up to the limit of the scheme, or half of what noise loses where that is less."""
    check_same(GOOD, GPTQ)
    check_same(replace(GOOD, mean_nats=0.5), GPTQ)
    check_same(replace(GOOD, mean_nats=0.1, noise_nats=0.2), GPTQ)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(GOOD, mean_nats=0.51), "diverges by 0.51 nats a token, at most 0.5 is allowed for gptq-w4a16"),
        (
            replace(GOOD, mean_nats=0.11, noise_nats=0.2),
            "which is nearly noise: a model that reads nothing is 0.2 away",
        ),
        (replace(GOOD, mean_nats=math.nan), "which is nearly noise"),
        (replace(GOOD, result_nats=math.inf), "at most 0.5 is allowed"),
        (replace(GOOD, mean_nats=2.1), "which is nearly noise"),
    ],
)
def test_a_large_one_does_not(found: Comparison, words: str) -> None:
    """Neither what the scheme does not explain, nor what is no better than noise, nor what is no number."""
    with pytest.raises(InvalidError, match="not-the-same: the result is not its source: on 500 tokens") as caught:
        check_same(found, GPTQ)
    assert words in caught.value.message
    assert "--group-size" in str(caught.value.hint)


def test_too_little_text_proves_nothing() -> None:
    """However near both are."""
    with pytest.raises(InvalidError, match=r"too-little-text: .* have 31 tokens: expected 32 or more"):
        check_same(replace(GOOD, tokens=31), GPTQ)
