"""What every part of a recipe is built of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from undercroft.core.forms import of_form
from undercroft.core.ids import DIGEST_PATTERN, NAME_PATTERN

Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]
Digest = Annotated[str, of_form(DIGEST_PATTERN.pattern, "'sha256:' and 64 hex digits")]


class Part(BaseModel):
    """A part of a recipe: no field that is not known, no value that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_by_alias=True)
