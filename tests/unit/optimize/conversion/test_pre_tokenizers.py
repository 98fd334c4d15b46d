"""How a vocabulary that nobody published gets the way that llama.cpp cuts its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.conversion.pre_tokenizers import CANDIDATES, choose

EXPECTED = [[1, 2], [3], [4, 5, 6]]


def ways(found: Mapping[str, list[list[int]]]) -> Callable[[str], list[list[int]]]:
    """Each way that is known splits as it says; others are refused."""

    def split(name: str) -> list[list[int]]:
        if name not in found:
            raise InvalidError("model-not-loadable", "no vocabulary")
        return found[name]

    return split


def test_the_first_way_that_is_the_same_in_every_text_is_taken() -> None:
    """A way that differs in one text, or that this llama.cpp does not know, is passed over."""
    found = {CANDIDATES[1]: [[1, 2], [3], [4, 56]], CANDIDATES[2]: EXPECTED, CANDIDATES[3]: EXPECTED}
    assert choose(EXPECTED, ways(found)) == CANDIDATES[2]


def test_where_none_is_the_same_the_nearest_is_told() -> None:
    """A model whose text would be cut wrongly is not converted: it would answer, and badly."""
    found = {CANDIDATES[0]: [[1, 2], [3], [9]], CANDIDATES[4]: [[1, 2], [9], [9]]}
    with pytest.raises(InvalidError, match=rf"nearest is '{CANDIDATES[0]}' with 2 of 3"):
        choose(EXPECTED, ways(found))


def test_a_vocabulary_that_is_not_loaded_is_told_in_the_engines_words() -> None:
    """Where llama.cpp loads it in no way, what it says of it is what helps."""
    with pytest.raises(InvalidError, match="in no way; of the last it said: no vocabulary"):
        choose(EXPECTED, ways({}))


def test_no_way_is_named_twice() -> None:
    """Each is tried once."""
    assert len(set(CANDIDATES)) == len(CANDIDATES)
