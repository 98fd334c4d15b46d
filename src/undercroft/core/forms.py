"""Validators that know best what was expected, for fields whose form a pattern would only obscure."""

from __future__ import annotations

import re

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def wrong_form(expected: str) -> PydanticCustomError:
    """The error of a validator that knows best what was expected.

    Args:
        expected: What goes behind ``expected``: ``a number with its unit``.
    """
    return PydanticCustomError("wrong_form", "expected {expected}", {"expected": expected})


def of_form(pattern: str, expected: str) -> AfterValidator:
    """A validator of texts that match a pattern as a whole; the error says what such a text is, not how it is matched.

    Args:
        pattern: A regular expression.
        expected: What goes behind ``expected``: ``codes of languages such as 'en th'``.
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise wrong_form(expected)
        return text

    return AfterValidator(check)
