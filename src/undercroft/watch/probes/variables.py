"""Values that standard questions give to the variables of a release's prompt. Decisions only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from undercroft.checks.questions import Question
from undercroft.core.errors import InvalidError
from undercroft.core.ids import is_variable_name


def fitting(given: Mapping[str, str], known: Mapping[str, str | None]) -> dict[str, str]:
    """Those values that a prompt has a variable for.

    The others are left out: the same questions are asked of the release before a variable came and of the one after.

    Args:
        given: Variable → value, of a question.
        known: Variable of the prompt → its own value; None where a request has to give one.
    """
    return {name: value for name, value in given.items() if name in known}


def without_place(questions: Iterable[Question], known: Mapping[str, str | None]) -> tuple[str, ...]:
    """Variables that questions give values to and a prompt does not have, sorted.

    Args:
        questions: Of a probe.
        known: Variable of the prompt → its own value; None where a request has to give one.
    """
    return tuple(sorted({name for question in questions for name in question.variables if name not in known}))


def missing(given: Mapping[str, str], known: Mapping[str, str | None]) -> list[str]:
    """Variables that a prompt needs a value for and a question gives none to, sorted.

    Args:
        given: Variable → value, of a question.
        known: Variable of the prompt → its own value; None where a request has to give one.
    """
    return sorted(name for name, value in known.items() if value is None and name not in given)


def read_assignments(given: Iterable[str]) -> dict[str, str]:
    """Values as a command line gives them, ``shop=Corner``.

    Raises:
        InvalidError: ``bad-variable``: one has no ``=``, a name that no variable can have, or stands twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not is_variable_name(name):
            raise InvalidError("bad-variable", f"expected NAME=VALUE such as shop=Corner, got {text[:60]!r}")
        if name in found:
            raise InvalidError("bad-variable", f"the variable {name} is given twice")
        found[name] = value
    return found


def check_values(given: Mapping[str, str], known: Mapping[str, str | None], release: str) -> None:
    """Refuses values that a prompt has no variable for, or too few.

    Raises:
        InvalidError: ``bad-variable``.
    """
    if unknown := sorted(set(given) - set(known)):
        has = ", ".join(sorted(known)) or "none"
        raise InvalidError(
            "bad-variable", f"the prompt of {release} has no variable {', '.join(unknown)}; it has {has}"
        )
    if lacking := missing(given, known):
        raise InvalidError(
            "bad-variable",
            f"the prompt of {release} needs a value for {', '.join(lacking)}",
            hint=" ".join(f"--variable {name}=..." for name in lacking),
        )


def stand_ins(known: Mapping[str, str | None]) -> dict[str, str]:
    """For each variable that needs a value its own name: enough for a request whose answer nobody judges."""
    return {name: name for name, value in known.items() if value is None}


def missing_sentence(probe: str, release: str, questions: Iterable[Question], known: Mapping[str, str | None]) -> str:
    """Why questions cannot be asked of a release; empty where they can.

    Args:
        probe: Name of their file.
        release: ``NAME@8``.
        questions: Of the probe.
        known: Variable of the release's prompt → its own value; None where a request has to give one.
    """
    lacking = {question.id: names for question in questions if (names := missing(question.variables, known))}
    if not lacking:
        return ""
    needed = sorted({name for names in lacking.values() for name in names})
    return (
        f"the prompt of {release} needs a value for {', '.join(needed)}, which {_listed(list(lacking))} of "
        f"probes/{probe}.yaml do not give; write it below variables: of the question"
    )


def _listed(questions: list[str]) -> str:
    shown = ", ".join(f"'{question}'" for question in questions[:3])
    more = len(questions) - 3
    return f"the questions {shown}" + (f" and {more} more" if more > 0 else "")
