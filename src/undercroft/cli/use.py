"""The options that declare what models are used for, and accept what a licence asks for it."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import Use, parse_use
from undercroft.cli.actor import current_actor
from undercroft.cli.opening import settings_of
from undercroft.core.home import Home
from undercroft.registry.licences import LicenceGate
from undercroft.storage.database import Database

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


def licence_gate(
    home: Home, database: Database, *, is_accepted: bool, reason: str | None, use: str | None = None
) -> LicenceGate:
    """The gate that a command of this home asks, for the declared use.

    Args:
        home: Whose catalogue and settings count.
        database: Of the home.
        is_accepted: Whether the command itself accepts what a licence asks.
        reason: Why, for the journal.
        use: As given with ``--use``; None takes the setting.

    Raises:
        InvalidError: ``bad-use``.
    """
    return LicenceGate(
        database,
        load_licences(home.catalogue),
        declared_use(home, use),
        is_accepted=is_accepted,
        actor=current_actor(),
        reason=reason,
    )
