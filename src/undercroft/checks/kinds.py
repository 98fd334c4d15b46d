"""The kinds of checks that a question may have, as a probe file gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import re2
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from undercroft.checks.json_answers import check_path, schema_validator
from undercroft.checks.variables import Variables
from undercroft.core.errors import InvalidError
from undercroft.core.forms import of_form
from undercroft.core.ids import NAME_PATTERN

_TEXT_LIMIT = 20_000
_PATTERN_MEMORY_BYTES = 8 * 2**20

_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_LIMIT)]
_Path = Annotated[str, AfterValidator(check_path), Field(max_length=200)]
_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]
_Language = Annotated[str, of_form("[a-z]{2,3}", "the code of a language such as 'th'")]


def compile_pattern(pattern: str) -> Any:
    """A regular expression of RE2, which takes time in proportion to the text, whatever the pattern.

    Raises:
        ValueError: It is none; look-around and back-references, which could take for ever, are not in RE2.
    """
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(
            f"expected a regular expression that RE2 takes, got {pattern[:60]!r}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _checked_pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


def _checked_schema(schema: Any) -> Any:
    if isinstance(schema, dict | bool):
        try:
            schema_validator(schema)
        except InvalidError as error:
            raise ValueError(error.message) from error
    return schema


def _as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class _Check(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)


class ExactCheck(_Check):
    """The answer is this text; white space around it does not count."""

    kind: Literal["exact"]
    text: _Text
    ignore_case: bool = False
    at: _Path | None = None


class ContainsCheck(_Check):
    """All of these texts stand in the answer; the score is the share that does."""

    kind: Literal["contains"]
    text: Annotated[list[_Text], BeforeValidator(_as_list), Field(min_length=1, max_length=50)]
    ignore_case: bool = False
    at: _Path | None = None


class RegexCheck(_Check):
    """An RE2 pattern is found in the answer."""

    kind: Literal["regex"]
    pattern: Annotated[_Text, AfterValidator(_checked_pattern)]
    at: _Path | None = None


class JsonCheck(_Check):
    """The answer is JSON, and as the schema wants it where one is given."""

    kind: Literal["json"]
    schema_: Annotated[dict[str, Any] | bool, AfterValidator(_checked_schema)] = Field(True, alias="schema")


class NumberCheck(_Check):
    """A number is near another: the first in the answer, or the one at a path of an answer that is JSON."""

    kind: Literal["number"]
    value: float = Field(allow_inf_nan=False)
    tolerance: float = Field(0.0, ge=0, allow_inf_nan=False)
    at: _Path | None = None


class LanguageCheck(_Check):
    """The answer is in a language, as the likeliest of all or of those that are given."""

    kind: Literal["language"]
    language: _Language
    among: list[_Language] = Field(default_factory=list, max_length=100)
    at: _Path | None = None


class LengthCheck(_Check):
    """The answer has so many characters."""

    kind: Literal["length"]
    at_least: int = Field(0, ge=0, le=10_000_000)
    at_most: int | None = Field(None, ge=0, le=10_000_000)
    at: _Path | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most: expected at least at_least, which is {self.at_least}, got {self.at_most}")
        return self


class NoRefusalCheck(_Check):
    """The answer is not a refusal to answer, in English, Thai, Malay, Vietnamese, Arabic or Chinese."""

    kind: Literal["no-refusal"]
    at: _Path | None = None


class SimilarityCheck(_Check):
    """The answer is like a reference: by character n-grams, or by a deployment that makes embeddings."""

    kind: Literal["similarity"]
    reference: _Text
    at_least: float = Field(0.8, ge=0, le=1)
    encoder: _Name | None = None
    at: _Path | None = None


class JudgeCheck(_Check):
    """Another deployment reads question and answer and says from 0 to 10 how well the answer meets a criterion."""

    kind: Literal["judge"]
    model: _Name
    criterion: _Text
    at_least: float = Field(0.6, ge=0, le=1)
    variables: Variables = {}


Check = Annotated[
    ExactCheck
    | ContainsCheck
    | RegexCheck
    | JsonCheck
    | NumberCheck
    | LanguageCheck
    | LengthCheck
    | NoRefusalCheck
    | SimilarityCheck
    | JudgeCheck,
    Field(discriminator="kind"),
]
# In the order of the report's columns.
CHECK_KINDS = (
    "exact",
    "contains",
    "regex",
    "json",
    "number",
    "language",
    "length",
    "no-refusal",
    "similarity",
    "judge",
    "first-token-time",
    "total-time",
)
