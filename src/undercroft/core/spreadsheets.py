"""Cells of a CSV file that spreadsheets open as they are meant."""

from __future__ import annotations

# Spreadsheets take a file without it for one in an old code page.
BYTE_ORDER_MARK = "\ufeff"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """A text that no spreadsheet computes: one that begins like a formula gets an apostrophe before it.

    Source:
        OWASP, CSV injection.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
