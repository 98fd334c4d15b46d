"""Values that questions give to the variables of a release's prompt, as a file holds them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from undercroft.core.ids import is_variable_name

_VALUE_LIMIT = 100_000
# As many as the door takes in one request.
_COUNT_LIMIT = 64


def _checked(given: Any) -> Any:
    if isinstance(given, dict):
        if wrong := [name for name in given if not isinstance(name, str) or not is_variable_name(name)]:
            raise ValueError(
                f"expected names of letters, digits and '_' that begin with no digit, got {wrong[0]!r:.80}"
            )
        if len(given) > _COUNT_LIMIT:
            raise ValueError(f"expected at most {_COUNT_LIMIT} variables, got {len(given)}")
    return given


Variables = Annotated[dict[str, Annotated[str, Field(max_length=_VALUE_LIMIT)]], BeforeValidator(_checked)]
