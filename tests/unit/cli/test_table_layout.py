"""Columns and stacked rows, at any width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from undercroft.cli.table_layout import GAP, column_widths, stacked

CELLS = st.lists(st.text("ab 中ก-", max_size=12), min_size=3, max_size=3)


def test_what_fits_is_as_wide_as_it_is() -> None:
    """No column is wider or narrower than its widest cell."""
    assert column_widths([["name", "size"], ["ticket-pilot", "2.9 MiB"]], [True, True], 80) == [12, 7]


def test_what_does_not_fit_is_broken_between_words() -> None:
    """The column with the long text gives way, the others stay as they are."""
    rows = [["id", "why"], ["key_1", "a long reason for it"]]
    assert column_widths(rows, [True, True], 20) == [5, 13]


def test_a_column_that_may_not_be_broken_stays_whole() -> None:
    """A time is one thing, although there is a space in it."""
    rows = [["at", "why"], ["2026-11-21 14:51", "a b c d e f"]]
    assert column_widths(rows, [False, True], 21) == [16, 3]
    assert column_widths(rows, [False, True], 20) is None


def test_words_that_do_not_fit_need_another_form() -> None:
    """Where a word would have to be broken there are no columns."""
    assert column_widths([["name"], ["x" * 21]], [True], 20) is None


@given(st.lists(CELLS, min_size=1, max_size=4), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(1, 50))
def test_columns_hold_their_words_and_fit(rows: list[list[str]], can_wrap: list[bool], available: int) -> None:
    """Whatever there is to show: every word fits its column, and all columns the terminal."""
    widths = column_widths(rows, can_wrap, available)
    longest = [
        max(max((cell_len(word) for word in (cell.split() if wraps else [cell])), default=0) for cell in column)
        for wraps, column in zip(can_wrap, zip(*rows, strict=True), strict=True)
    ]
    if widths is None:
        assert sum(longest) + 2 * GAP > available
    else:
        assert sum(widths) + 2 * GAP <= available
        assert all(width >= least for width, least in zip(widths, longest, strict=True))


def test_rows_one_below_the_other() -> None:
    """The first cell stands alone, the others have their names, and empty ones are left out."""
    rows = [["bot", "llama", "", "2.9 MiB"], ["other", "", "", ""]]
    assert stacked(["name", "architecture", "licence", "size"], rows, 30) == [
        "bot",
        "  architecture llama",
        "  size 2.9 MiB",
        "other",
    ]


def test_a_long_text_is_broken_between_words_and_an_address_never() -> None:
    """What may be copied stays whole, even where it is wider than the terminal."""
    address = "https://inference.internal.example.com:8000"
    rows = [["ext", address, "a reason with many words in it"]]
    assert stacked(["name", "model", "why"], rows, 24) == [
        "ext",
        "  model",
        f"    {address}",
        "  why a reason with many",
        "    words in it",
    ]
