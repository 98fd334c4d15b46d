"""What is wrong with a value that a person gave, in our words rather than in those of the library that checked it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line needs the words and not, at each start, the library
    from pydantic import ValidationError

# The library's name of a problem → what was expected.
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that is not that large",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "enum": "{expected}",
    "literal_error": "{expected}",
    "path_type": "a path",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "a text",
    "timezone_aware": "a time with its zone",
    "date_from_datetime_inexact": "a date such as 2026-01-31",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "date_parsing": "a date such as 2026-01-31",
    "date_type": "a date such as 2026-01-31",
    "datetime_from_date_parsing": "an ISO 8601 time",
    "datetime_parsing": "an ISO 8601 time",
    "datetime_type": "an ISO 8601 time",
    "json_invalid": "JSON",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
    "tuple_type": "a list",
    "wrong_form": "{expected}",  # of undercroft.core.forms
}
# What files of another form call it.
_IN_YAML = {"dict_type": "a mapping", "model_type": "a mapping"}
_SHOWN_CHARACTERS = 80


def problems_of(error: ValidationError, *, is_yaml: bool = False) -> list[str]:
    """Every problem that was found, as ``field: what is wrong``; without a field where it is about several.

    Args:
        error: What pydantic found.
        is_yaml: Whether the values are fields of a YAML file.
    """
    found = []
    for item in error.errors():
        place = ".".join(str(step) for step in item["loc"] if step != "[key]")
        problem = problem_of(item, is_yaml=is_yaml)
        found.append(f"{place}: {problem}" if place else problem)
    return found


def problem_of(found: Mapping[str, Any], *, is_yaml: bool = False) -> str:
    """One problem as words that go behind the name of a setting or option.

    Args:
        found: One entry of `pydantic.ValidationError.errors`: ``type``, ``ctx``, ``input``.
        is_yaml: Whether the value is a field of a YAML file.

    Returns:
        ``expected at least 1, got '0'``.

    Source:
        https://docs.pydantic.dev/latest/errors/validation_errors/ lists the types and what their ``ctx`` holds.
    """
    kind = found["type"]
    if kind == "extra_forbidden":
        return "there is no such field" if is_yaml else "there is no such setting"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(found["ctx"]["error"])  # a sentence of our own validators
    given = repr(found["input"])
    given = given if len(given) <= _SHOWN_CHARACTERS else given[:_SHOWN_CHARACTERS] + "…"
    expected = (_IN_YAML.get(kind) if is_yaml else None) or _EXPECTED.get(kind)
    if expected is None:
        return f"has a value that cannot be used, {given}"
    context = _with_numbers(found.get("ctx") or {})
    choices = _choices(context) if kind in ("literal_error", "enum") else []
    near = get_close_matches(found["input"], choices, n=1) if isinstance(found["input"], str) else []
    nearest = f" (nearest is {near[0]!r})" if near else ""
    return f"expected {expected.format(**context)}{nearest}, got {given}"


def _choices(context: Mapping[str, Any]) -> list[str]:
    """The texts of a field that has a few: ``'gguf', 'onnx' or 'litert'``."""
    expected = context.get("expected")
    return re.findall(r"'([^']*)'", expected) if isinstance(expected, str) else []


def _with_numbers(context: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds as people write them, which the library gives as whatever type they were declared with."""
    return {name: _number(value) if name in ("gt", "ge", "lt", "le") else value for name, value in context.items()}


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{float(value):g}"
