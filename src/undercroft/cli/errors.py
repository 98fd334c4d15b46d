"""Errors on the command line: one sentence, one thing to do, one exit status a kind. Nothing else decides these."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer

from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)
from undercroft.core.wrong_values import problem_of

EXIT_STATUS: dict[type[UndercroftError], int] = {
    InvalidError: 2,
    RefusedError: 3,
    NotFoundError: 4,
    ConflictError: 5,
    UnavailableError: 6,
}
# Typer exports this one of its usage errors; older versions of it raise those of click, and both have the same names.
_UsageError: Any = typer.BadParameter.__base__
_HELP_ASKED_FOR = "NoArgsIsHelpError"
_USAGE_CODES = {
    "NoSuchOption": "unknown-option",
    "MissingParameter": "missing-argument",
    "BadParameter": "bad-value",
}


def exit_status(error: UndercroftError) -> int:
    """The exit status of an error's kind."""
    return next(status for kind, status in EXIT_STATUS.items() if isinstance(error, kind))


def run(app: typer.Typer) -> None:
    """Runs the application; an error that a user can mend is printed to stderr, as JSON where ``--json`` was given."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except UndercroftError as error:
        _end(error)
    except _UsageError as error:
        if type(error).__name__ == _HELP_ASKED_FOR:
            print(error.format_message(), file=sys.stderr)
            sys.exit(error.exit_code)
        _end(usage_error(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Without this, Python complains once more at exit.
        sys.stderr.close()
        sys.exit(141)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def usage_error(error: Any) -> InvalidError:
    """An error of how the command was called, in the form of all others.

    Args:
        error: Typer's, with the context of the command where it came that far.
    """
    context = error.ctx
    hint = f"{context.command_path} -h" if context is not None else "undercroft -h"
    return InvalidError(_USAGE_CODES.get(type(error).__name__, "bad-usage"), _sentence(error), hint=hint)


def _sentence(error: Any) -> str:
    name = type(error).__name__
    if name == "NoSuchOption":
        near = ", ".join(sorted(error.possibilities or ()))
        return f"there is no option {error.option_name}" + (f"; near it: {near}" if near else "")
    parameter = getattr(error, "param", None)
    if parameter is None:
        return str(error.format_message()).rstrip(".")
    called = parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.name).upper()
    if name == "MissingParameter":
        return f"{called} is missing"
    found = getattr(error.__cause__, "errors", None)  # pydantic's, whose import would cost each command its time
    if found is not None:
        return f"{called}: {problem_of(found()[0])}"
    return f"{called}: {error.message.rstrip('.')}"


def print_error(error: UndercroftError) -> None:
    """Prints an error to stderr, as JSON where ``--json`` was given."""
    if "--json" in sys.argv:
        body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        print(json.dumps(body, ensure_ascii=False), file=sys.stderr)
    else:
        print(error, file=sys.stderr)


def _end(error: UndercroftError) -> None:
    print_error(error)
    sys.exit(exit_status(error))
