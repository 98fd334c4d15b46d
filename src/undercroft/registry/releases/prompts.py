"""Prompt templates: a system prompt and example turns with variables, put before what a request says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from undercroft.core.ids import VARIABLE_PATTERN

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,62})\s*\}\}")
_VARIABLE_NAME = f"^{VARIABLE_PATTERN.pattern}$"
_TEXT_LIMIT = 200_000

_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_LIMIT)]


class Example(BaseModel):
    """One turn that shows the model what is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: _Text
    assistant: _Text


class Prompt(BaseModel):
    """What stands before every conversation.

    ``{{name}}`` in ``system`` and ``examples`` is a variable. A request may give values for those in ``variables``;
    those that it leaves out have the value that stands there, and those whose value is null must be given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: _Text | None = None
    examples: Annotated[tuple[Example, ...], Field(max_length=50)] = ()
    variables: dict[
        Annotated[str, Field(pattern=_VARIABLE_NAME)], Annotated[str, Field(max_length=_TEXT_LIMIT)] | None
    ] = {}
    client_system: Literal["append", "ignore", "refuse"] = "append"

    @model_validator(mode="after")
    def _names_its_variables(self) -> Self:
        if self.system is None and not self.examples:
            raise ValueError("expected system, examples or both")
        used = {name for text in self._texts() for name in _VARIABLE.findall(text)}
        if unknown := sorted(used - set(self.variables)):
            raise ValueError(f"variables: {', '.join(unknown)} stands in the text and not in variables")
        if unused := sorted(set(self.variables) - used):
            raise ValueError(f"variables: {', '.join(unused)} stands nowhere in the text")
        return self

    def _texts(self) -> list[str]:
        return [self.system or "", *(text for turn in self.examples for text in (turn.user, turn.assistant))]


def leading_messages(prompt: Mapping[str, Any], given: Mapping[str, str]) -> list[dict[str, str]]:
    """The turns that come before a request's own.

    Args:
        prompt: A `Prompt` as plain data.
        given: Values of variables.

    Raises:
        ValueError: A variable is unknown, or one without a value was not given; the sentence names it.
    """
    known: Mapping[str, str | None] = prompt.get("variables") or {}
    if unknown := sorted(set(given) - set(known)):
        has = ", ".join(sorted(known)) or "none"
        raise ValueError(f"there is no variable {', '.join(unknown)[:200]} in this prompt; it has {has}")
    values = {**known, **given}
    if missing := sorted(name for name, value in values.items() if value is None):
        raise ValueError(f"the prompt needs a value for {', '.join(missing)}")

    def fill(text: str) -> str:
        # One pass: what a value holds is never read as a variable.
        return _VARIABLE.sub(lambda match: str(values[match[1]]), text)

    turns = [{"role": "system", "content": fill(prompt["system"])}] if prompt.get("system") else []
    for example in prompt.get("examples") or ():
        turns.append({"role": "user", "content": fill(example["user"])})
        turns.append({"role": "assistant", "content": fill(example["assistant"])})
    return turns
