"""Every token of a text is judged once, or as llama.cpp's tool judges it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.windows import Window, WindowRule, windows


@given(tokens=st.integers(0, 400), window=st.integers(8, 70), has_beginning=st.booleans())
def test_each_token_is_judged_once_with_half_a_window_before_it(tokens: int, window: int, has_beginning: bool) -> None:
    """Windows tile the text, none is too long, and later ones have at least half a window of context."""
    found = windows(tokens, WindowRule(window), has_beginning=has_beginning)
    judged = [token for one in found for token in range(one.first_judged, one.end)]
    assert judged == list(range(0 if has_beginning else 1, tokens))
    for number, one in enumerate(found):
        held = one.end - one.start + has_beginning
        assert 0 <= one.start <= one.first_judged < one.end
        assert held <= window
        if number:
            assert one.first_judged - one.start + has_beginning >= window // 2


@given(tokens=st.integers(0, 400), window=st.integers(8, 70))
def test_as_llama_perplexity_counts_what_its_tool_counts(tokens: int, window: int) -> None:
    """Of each whole window the tokens after its middle count, with a mark of beginning as its first token."""
    rule = WindowRule(window, is_as_llama_perplexity=True)
    for has_beginning in (False, True):
        found = windows(tokens, rule, has_beginning=has_beginning)
        assert len(found) == (tokens + has_beginning) // window
        assert all(one.end - one.first_judged == window - window // 2 - 1 for one in found)
        assert all(one.end - one.start + has_beginning == window for one in found)
        assert all(one.end <= tokens for one in found)


@given(tokens=st.integers(0, 400), window=st.integers(8, 70), first=st.integers(0, 420), is_theirs=st.booleans())
def test_what_is_context_is_not_judged(tokens: int, window: int, first: int, is_theirs: bool) -> None:
    """Judged is what would be judged anyway, from the first token on that is no context, in the same windows."""
    rule = WindowRule(window, is_theirs)
    everything = windows(tokens, rule, has_beginning=True)
    found = windows(tokens, rule, has_beginning=True, first_judged=first)
    judged = [token for one in found for token in range(one.first_judged, one.end)]
    assert judged == [t for one in everything for t in range(one.first_judged, one.end) if t >= first]
    assert {(one.start, one.end) for one in found} <= {(one.start, one.end) for one in everything}


def test_a_text_shorter_than_a_window_is_one_window() -> None:
    """A short text is judged whole; without a mark of beginning its first token has nothing before it."""
    assert windows(5, WindowRule(512), has_beginning=True) == [Window(0, 5, 0)]
    assert windows(5, WindowRule(512), has_beginning=False) == [Window(0, 5, 1)]
    assert windows(1, WindowRule(512), has_beginning=False) == []


def test_a_window_has_at_least_eight_tokens() -> None:
    """A window too short for a context is refused."""
    with pytest.raises(InvalidError, match="at least 8 tokens, not 7"):
        WindowRule(7)
