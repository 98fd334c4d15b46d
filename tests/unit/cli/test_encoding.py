"""Text that a locale could not read."""

from __future__ import annotations

import pytest

from undercroft.cli.encoding import typed

THAI = "สวัสดี"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, None),
        ("", ""),
        (THAI, THAI),
        (THAI.encode().decode("ascii", "surrogateescape"), THAI),
        ("a" + b"\xff".decode("ascii", "surrogateescape"), "a\ufffd"),
    ],
)
def test_bytes_that_the_locale_cannot_read_are_utf_8(given: str | None, text: str | None) -> None:
    """Text that was read stays; bytes that were not are read, and what is no UTF-8 is shown as such."""
    assert typed(given) == text
