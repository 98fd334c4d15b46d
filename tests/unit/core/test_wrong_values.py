"""Problems of values in our own words."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from undercroft.core.forms import of_form
from undercroft.core.wrong_values import problem_of, problems_of


def must_be_even(number: int) -> int:
    if number % 2:
        raise ValueError(f"expected an even number, got {number}")
    return number


class Part(BaseModel):
    """A field with fields."""

    size: int


class Given(BaseModel):
    """One field of each kind that settings and options have."""

    model_config = ConfigDict(extra="forbid")

    whole: int = Field(1, ge=1, le=9)
    large: int = Field(1, le=9_999)
    number: float = Field(0.5, gt=0, lt=1, allow_inf_nan=False)
    flag: bool = False
    text: Annotated[str, Field(min_length=2, max_length=4)] = "ab"
    texts: list[str] = []
    path: Path = Path()
    one_of: Literal["f16", "q8_0"] = "f16"
    at: AwareDatetime | None = None
    day: date | None = None
    pair: tuple[int, ...] = ()
    part: Part | None = None
    code: Annotated[str, of_form("[a-z]{2}", "two lower-case letters")] = "en"
    even: Annotated[int, AfterValidator(must_be_even)] = 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"whole": "many"}, "expected a whole number, got 'many'"),
        ({"whole": 1.5}, "expected a whole number, got 1.5"),
        ({"whole": None}, "expected a whole number, got None"),
        ({"whole": 0}, "expected at least 1, got 0"),
        ({"whole": 10}, "expected at most 9, got 10"),
        ({"number": 0}, "expected more than 0, got 0"),
        ({"number": 1}, "expected less than 1, got 1"),
        ({"number": "x"}, "expected a number, got 'x'"),
        ({"number": float("inf")}, "expected a finite number, got inf"),
        ({"flag": "perhaps"}, "expected true or false, got 'perhaps'"),
        ({"text": 3}, "expected a text, got 3"),
        ({"text": "a"}, "expected at least 2 characters, got 'a'"),
        ({"text": "abcde"}, "expected at most 4 characters, got 'abcde'"),
        ({"texts": "x"}, "expected a list, got 'x'"),
        ({"path": 3}, "expected a path, got 3"),
        ({"one_of": "q4"}, "expected 'f16' or 'q8_0', got 'q4'"),
        ({"one_of": "q8"}, "expected 'f16' or 'q8_0' (nearest is 'q8_0'), got 'q8'"),
        ({"large": 10_000}, "expected at most 9,999, got 10000"),
        ({"at": "2026-01-01T00:00:00"}, "expected a time with its zone, got '2026-01-01T00:00:00'"),
        ({"at": "soon"}, "expected an ISO 8601 time, got 'soon'"),
        ({"day": "soon"}, "expected a date such as 2026-01-31, got 'soon'"),
        ({"pair": 3}, "expected a list, got 3"),
        ({"part": 3}, "expected a table, got 3"),
        ({"code": "eng"}, "expected two lower-case letters, got 'eng'"),
        ({"even": 3}, "expected an even number, got 3"),
        ({"other": 1}, "there is no such setting"),
        ({"whole": "9" * 200}, "expected at most 9, got '" + "9" * 79 + "…"),
    ],
)
def test_a_problem_is_said_in_our_words(values: dict[str, Any], problem: str) -> None:
    """What was expected before what was given; nothing of the library's own words."""
    with pytest.raises(ValidationError) as caught:
        Given.model_validate(values)
    (found,) = caught.value.errors()
    assert problem_of(found) == problem


def test_problems_of_a_file_name_their_fields() -> None:
    """Each has its field in front, down to the part of a part, and speaks of the form of the file."""
    with pytest.raises(ValidationError) as caught:
        Given.model_validate({"whole": 0, "part": {"size": "x"}, "texts": [1], "other": 1})
    assert problems_of(caught.value, is_yaml=True) == [
        "whole: expected at least 1, got 0",
        "texts.0: expected a text, got 1",
        "part.size: expected a whole number, got 'x'",
        "other: there is no such field",
    ]
    with pytest.raises(ValidationError) as caught:
        Given.model_validate({"part": 3})
    assert problems_of(caught.value, is_yaml=True) == ["part: expected a mapping, got 3"]


def test_an_unknown_kind_of_problem_has_a_sentence_too() -> None:
    """A kind that a later version of the library brings is still said without its words."""
    assert problem_of({"type": "new_kind", "input": "x", "msg": "Input should be new"}) == (
        "has a value that cannot be used, 'x'"
    )
