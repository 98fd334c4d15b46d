"""The rules of a gate, as a recipe or a file of their own has them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from undercroft.core.errors import InvalidError
from undercroft.core.forms import of_form
from undercroft.core.wrong_values import problem_of
from undercroft.core.yaml_places import read_with_places
from undercroft.optimize.json_lines import read_bounded

EACH = "each"
_LIMIT_BYTES = 1024 * 1024

_Percent = Annotated[float, Field(ge=0, le=1000)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Above = Annotated[float, Field(gt=0)]


class QualityRules(BaseModel):
    """Rules that may be set for all tasks and texts, and for those of a language."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_score_loss_percent: _Percent | None = Field(
        None, description="Most points of the score, of 100, that it may lose against its parent."
    )
    min_score: _Share | None = Field(None, description="Least share of the tasks that it has to pass.")
    min_valid_format: _Share | None = Field(
        None, description="Least share of the answers that are valid JSON, of those whose checks ask for JSON."
    )
    max_perplexity_increase_percent: _Percent | None = Field(
        None, description="Most that perplexity may rise over its parent's."
    )
    max_kl: float | None = Field(
        None, ge=0, le=100, description="Largest mean KL divergence from its parent; nats per token."
    )
    max_first_token_seconds: _Above | None = Field(None, description="Longest mean time to the first token.")
    max_latency_seconds: _Above | None = Field(None, description="Longest mean time to the whole answer.")
    min_tokens_per_second: _Above | None = Field(None, description="Least mean speed of one answer.")


class SuiteRules(BaseModel):
    """Rules for a standard suite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str | None = Field(None, min_length=1, max_length=100, description="Which of its figures; else its first.")
    min_value: float | None = Field(None, description="Least value.")
    max_value: float | None = Field(None, description="Largest value, for figures of which less is better.")
    max_loss_percent: _Percent | None = Field(
        None, description="Most points, of 100, that it may lose against its parent, for figures from 0 to 1."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.min_value, self.max_value, self.max_loss_percent) == (None, None, None):
            raise ValueError("expected min_value, max_value or max_loss_percent")
        return self


_LanguageName = Annotated[str, of_form(f"{EACH}|[a-z]{{2,3}}", f"'{EACH}' or the code of a language such as 'th'")]


NO_RULE = "expected at least one rule, for a gate without any lets everything pass"


class GateRules(QualityRules):
    """What a new model has to hold to get its name; a rule that is left out asks nothing."""

    max_size_bytes: int | None = Field(None, ge=1, description="Largest size of the model's files.")
    max_memory_bytes: int | None = Field(None, ge=1, description="Most memory of its engine.")
    max_joules_per_token: _Above | None = Field(None, description="Most energy of a token, where a meter counts it.")
    languages: dict[_LanguageName, QualityRules] = Field(
        {}, description="Language → rules for its tasks and texts; 'each' sets them for every language that there is."
    )
    suites: dict[str, SuiteRules] | None = Field(None, description="Standard suite → rules for one of its figures.")
    undecided: Literal["fail", "pass"] = Field(
        "fail", description="What a rule does that is broken by so few items that it may be chance."
    )

    @property
    def asks(self) -> bool:
        """Whether there is any rule; a gate without one would let everything pass."""
        own = self.model_dump(exclude={"undecided"}, exclude_none=True)
        inner = [*own.pop("languages").values(), *own.pop("suites", {}).values()]
        return bool(own) or any(inner)


def check_gate(values: Any) -> GateRules:
    """Reads rules as a person gave them.

    Args:
        values: A mapping, as ``gate:`` of a recipe has it.

    Raises:
        InvalidError: ``bad-gate``: every problem, with the nearest right word.
    """
    return _checked_rules(values, "the gate", lambda place: "")


def load_gate(path: Path) -> GateRules:
    """The rules of a YAML file: the file itself, or what stands below ``gate:`` of it, as in a recipe.

    Raises:
        NotFoundError: ``no-such-file``.
        UnavailableError: ``file-unreadable``.
        InvalidError: ``bad-gate``: every problem with its line and the nearest right word.
    """
    try:
        document, places = read_with_places(read_bounded(path, _LIMIT_BYTES))
    except ValueError as error:
        raise _bad([str(error)], str(path)) from error
    before = ("gate",) if isinstance(document, dict) and "gate" in document else ()
    values = document["gate"] if before else document
    return _checked_rules(values, str(path), lambda place: f"line {places.line_of((*before, *place))}: ")


def _checked_rules(values: Any, what: str, line: Callable[[tuple[int | str, ...]], str]) -> GateRules:
    try:
        rules = GateRules.model_validate({} if values is None else values)
    except ValidationError as error:
        raise _bad([f"{line(item['loc'])}{_problem(dict(item))}" for item in error.errors()], what) from error
    if not rules.asks:
        raise _bad([f"{line(())}{NO_RULE}"], what)
    return rules


def _bad(problems: list[str], what: str) -> InvalidError:
    return InvalidError(
        "bad-gate",
        f"{what} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems),
        hint="correct the rules; docs/guide/evaluation.md lists them",
    )


def _problem(item: dict[str, Any]) -> str:
    location = [str(step) for step in item["loc"] if step != "[key]"]
    place = ".".join(location)
    if item["type"] != "extra_forbidden":
        return f"{place}: {problem_of(item, is_yaml=True)}" if place else problem_of(item, is_yaml=True)
    kind = GateRules if len(location) == 1 else SuiteRules if location[0] == "suites" else QualityRules
    near = difflib.get_close_matches(location[-1], list(kind.model_fields), n=1)
    return f"{place}: there is no such rule" + (f"; nearest is '{near[0]}'" if near else "")
