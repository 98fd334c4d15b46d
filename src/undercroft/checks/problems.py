"""What is wrong with a question that somebody wrote: the place, the words, the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from undercroft.checks.kinds import CHECK_KINDS, Check
from undercroft.core.wrong_values import problem_of

# The last two are limits of time, which are fields of the question.
_WRITTEN_KINDS = CHECK_KINDS[:-2]


def place_of(location: tuple[int | str, ...]) -> str:
    """``questions[1].checks[2].text: ``; the names of kinds, which pydantic puts between, are left out."""
    shown = ""
    for position, step in enumerate(location):
        if isinstance(step, int):
            shown += f"[{step + 1}]"
        elif step not in CHECK_KINDS or position == 0 or not isinstance(location[position - 1], int):
            shown += f".{step}" if shown else step
    return f"{shown}: " if shown else ""


def problem_of_field(item: Mapping[str, Any], names: Sequence[str]) -> str:
    """One problem that pydantic found, with the nearest right word where one was misspelt.

    Args:
        item: One entry of `pydantic.ValidationError.errors`.
        names: Fields that there are, of `field_names`.
    """
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1)
        return "there is no such field" + (f"; nearest is '{near[0]}'" if near else "")
    if item["type"] == "union_tag_invalid":
        given = str(item["ctx"]["tag"])
        near = difflib.get_close_matches(given, _WRITTEN_KINDS, n=1)
        kinds = ", ".join(_WRITTEN_KINDS)
        return f"kind: expected one of {kinds}, got '{given[:40]}'" + (f"; nearest is '{near[0]}'" if near else "")
    if item["type"] == "union_tag_not_found":
        return f"kind: is missing; expected one of {', '.join(_WRITTEN_KINDS)}"
    return problem_of(item, is_yaml=True)


def field_names(*forms: type[BaseModel]) -> list[str]:
    """Names of all fields that these forms and the checks have, sorted.

    Args:
        forms: What a file consists of, beside checks.
    """
    kinds: tuple[type[BaseModel], ...] = Check.__origin__.__args__  # type: ignore[attr-defined]
    return sorted({field.alias or name for form in (*forms, *kinds) for name, field in form.model_fields.items()})
