"""Brings a database to today's schema. Alembic, without its command line or ini file."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from undercroft.storage import journal
from undercroft.storage.upgrading import Upgrade


def upgrade(engine: Engine, told: Upgrade | None) -> None:
    """Runs every migration that the database has not seen, in one transaction.

    Args:
        engine: Of the database.
        told: What the journal is told in that transaction; None for a new database.

    Raises:
        DatabaseError: A migration failed; nothing was changed.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if told is not None:
            journal.record(
                connection,
                actor="system",
                action="database.upgrade",
                subject=told.copy.name,
                before={"schema": told.before},
                after={"schema": told.after},
            )
