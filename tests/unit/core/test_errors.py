"""The error tree."""

from __future__ import annotations

import pytest

from undercroft.cli.errors import EXIT_STATUS
from undercroft.core import errors
from undercroft.core.errors import InvalidError, UnavailableError, UndercroftError
from undercroft.gateway.errors import HTTP_STATUS


def test_an_error_reads_code_message_and_one_thing_to_do() -> None:
    """`code: message`, then `Try:` on its own line."""
    error = InvalidError("does-not-fit", "model 'a' needs 2 GiB, has 1 GiB", hint="undercroft plan a")
    assert str(error) == "does-not-fit: model 'a' needs 2 GiB, has 1 GiB\nTry: undercroft plan a"
    assert str(InvalidError("x", "y")) == "x: y"


def test_a_code_that_is_not_kebab_case_is_a_defect() -> None:
    """Codes are part of the interface, so their form is checked where they are made."""
    with pytest.raises(ValueError, match="kebab-case"):
        InvalidError("Not Kebab", "x")


def test_every_kind_has_one_http_status_and_one_exit_status() -> None:
    """A new kind of error that nobody mapped fails here."""
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, UndercroftError) and kind is not UndercroftError
    }
    assert set(HTTP_STATUS) == kinds
    assert set(EXIT_STATUS) == kinds
    assert len(set(HTTP_STATUS.values())) == len(kinds)
    assert len(set(EXIT_STATUS.values())) == len(kinds)


def test_unavailable_says_when_to_try_again() -> None:
    """The time to wait travels with the error."""
    assert UnavailableError("busy", "x", retry_after_seconds=2.5).retry_after_seconds == 2.5
