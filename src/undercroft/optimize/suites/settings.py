"""What a recipe says of standard suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from undercroft.core.forms import of_form
from undercroft.optimize.recipe_fields import Digest, Part

_SUITE = "[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"


class Suites(Part):
    """Standard suites of lm-eval, with their data at hand: nothing is fetched."""

    folder: Path = Field(description="With task files of your own, and each data set below ORG/NAME.")
    folder_digest: Digest | None = Field(None, description="Of all that lies in it; what it is now where left out.")
    names: Annotated[list[Annotated[str, of_form(_SUITE, "the name of a suite")]], Field(min_length=1, max_length=100)]
    most_items: int | None = Field(None, ge=1, description="First items of each suite only; else all.")
    shots: int | None = Field(None, ge=0, le=100, description="Examples before each question; else the suite's own.")
