"""What most commands open first: the home, its database, its settings."""

from __future__ import annotations

import typer

from undercroft.core.environment import home_path
from undercroft.core.errors import NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import Settings, load_settings
from undercroft.serving.keeper_client import is_running
from undercroft.storage.database import Database


def open_home() -> Home:
    """The home, made where there is none.

    Raises:
        UnavailableError: It cannot be made or written.
    """
    home = Home(home_path())
    try:
        home.prepare()
    except OSError as error:
        raise UnavailableError(
            "home-unusable",
            f"cannot use the home {home.root}: {error.filename or home.root}: {error.strerror or error}",
            hint="point UNDERCROFT_HOME to a folder that you may write, on a disk with room",
        ) from error
    return home


def open_database() -> tuple[Home, Database]:
    """The home and its database. Where that had an older schema, a line on stderr says what was done."""
    home = open_home()
    database = Database(home.database_file)
    if database.upgraded is not None:
        typer.echo(f"Upgraded: {database.upgraded}", err=True)
    return home, database


def settings_of(home: Home) -> Settings:
    """The settings in force for a command line."""
    return load_settings(home.config_file).settings


def running_home() -> Home:
    """The home of a server that runs.

    Raises:
        NotFoundError: None runs on this home.
    """
    home = Home(home_path())
    if not is_running(home):
        raise NotFoundError("not-running", f"no Undercroft runs on the home {home.root}", hint="undercroft up")
    return home
