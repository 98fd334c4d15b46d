"""What is wrong with a release that a person wrote: field by field, with its line and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from undercroft.core.wrong_values import problem_of

Step = int | str


def field_problems(
    error: ValidationError,
    names: Sequence[str],
    *,
    line_of: Callable[[Sequence[Step]], int] | None = None,
    within: Sequence[Step] = (),
) -> list[str]:
    """Every problem as ``line 3: settings.slots: expected at most 256, got 300``.

    Args:
        error: What pydantic found.
        names: Fields that there are, to name the nearest to one that there is not.
        line_of: The line of a place in the file; None where there is no file.
        within: Where in the file the values begin.
    """
    found = []
    for item in error.errors():
        location = [step for step in item["loc"] if step != "[key]"]
        if item["type"] == "invalid_key":
            location[-1] = str(location[-1])
        if item["type"] in ("extra_forbidden", "invalid_key"):
            name = str(location[-1])
            near = difflib.get_close_matches(name, names, n=1)
            problem = "there is no such field"
            if name in names:
                problem += " here; it belongs elsewhere"
            elif near:
                problem += f"; nearest is {near[0]!r}"
        elif item["loc"][-1:] == ("[key]",):
            problem = "expected a name of letters, digits and '_'"
        else:
            problem = problem_of(item, is_yaml=True)
        line = f"line {line_of([*within, *location])}: " if line_of is not None else ""
        found.append(f"{line}{_field(location)}{problem}")
    return found


def _field(location: Sequence[Step]) -> str:
    """``prompt.examples[2].user: ``, counted from 1; empty for the whole."""
    shown = ""
    for step in location:
        if isinstance(step, int):
            shown += f"[{step + 1}]"
        else:
            shown += f".{step[:60]}" if shown else step[:60]
    return f"{shown}: " if shown else ""
