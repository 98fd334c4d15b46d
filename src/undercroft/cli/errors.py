"""Errors on the command line: one sentence, one thing to do, one exit status a kind. Nothing else decides these."""

from __future__ import annotations

import json
import sys

import typer

from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)

EXIT_STATUS: dict[type[UndercroftError], int] = {
    InvalidError: 2,
    RefusedError: 3,
    NotFoundError: 4,
    ConflictError: 5,
    UnavailableError: 6,
}


def exit_status(error: UndercroftError) -> int:
    """The exit status of an error's kind."""
    return next(status for kind, status in EXIT_STATUS.items() if isinstance(error, kind))


def run(app: typer.Typer) -> None:
    """Runs the application; an error that a user can mend is printed to stderr, as JSON where ``--json`` was given."""
    try:
        app()
    except UndercroftError as error:
        if "--json" in sys.argv:
            body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
            print(json.dumps(body, ensure_ascii=False), file=sys.stderr)
        else:
            print(error, file=sys.stderr)
        sys.exit(exit_status(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Without this, Python complains once more at exit.
        sys.stderr.close()
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
