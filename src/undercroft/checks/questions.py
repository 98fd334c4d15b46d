"""One question with what its answer must be like."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from undercroft.checks.kinds import Check
from undercroft.checks.variables import Variables
from undercroft.core.forms import of_form
from undercroft.core.ids import NAME_PATTERN

_TEXT_LIMIT = 100_000

_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]
_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_LIMIT)]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: _Text


class Question(BaseModel):
    """One question with what its answer must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Name
    text: _Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=100)] | None = None
    system: _Text | None = None
    variables: Variables = {}
    checks: Annotated[list[Check], Field(min_length=1, max_length=50)]
    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1, le=100_000)  # None: 512, or what the release allows where that is less
    first_token_seconds: _Seconds | None = None
    total_seconds: _Seconds | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("expected either text or messages")
        if self.messages is not None and self.system is not None:
            raise ValueError("system: expected only with text; with messages it is the first of them")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("messages: expected the last one to be the user's")
        return self

    def turns(self) -> list[dict[str, str]]:
        """The messages as the door takes them."""
        if self.messages is not None:
            return [{"role": message.role, "content": message.content} for message in self.messages]
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.text or ""}]

    def digest(self) -> str:
        """What it is, whatever it is called and weighs: a changed question has another."""
        plain = _without_empty_variables(self.model_dump(mode="json", by_alias=True, exclude={"id", "weight"}))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _without_empty_variables(question: dict[str, Any]) -> dict[str, Any]:
    """A question that gives none is the one that it was before there were any."""
    checks = [_without_empty_variables(check) for check in question.get("checks", ())]
    kept = {name: value for name, value in question.items() if name != "variables" or value}
    return {**kept, "checks": checks} if "checks" in kept else kept
