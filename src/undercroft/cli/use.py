"""The options that declare what models are used for, and accept what a licence asks for it."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.catalog.uses import Use, parse_use
from undercroft.cli.opening import settings_of
from undercroft.core.home import Home

DeclaredUse = Annotated[
    str | None,
    typer.Option(
        "--use",
        metavar="USE",
        help="commercial, internal, research or personal, with ,users=N for the monthly users of a product; "
        "else the setting registry.use.",
    ),
]

AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept what its licence asks for that use; the journal keeps who did.")
]


def declared_use(home: Home, given: str | None) -> Use:
    """The use that an option or the setting declares.

    Raises:
        InvalidError: ``bad-use``.
    """
    return parse_use(given if given is not None else settings_of(home).registry.use)
