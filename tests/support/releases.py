"""Models that releases can name, without files behind them."""

from __future__ import annotations

from sqlalchemy import insert

from undercroft.registry.facts import ModelFacts
from undercroft.storage.database import Database
from undercroft.storage.tables import models


def add_model(database: Database, name: str, digit: str, **facts: object) -> None:
    """A row of the registry.

    Args:
        database: Where to.
        name: Of the model.
        digit: Hexadecimal; its digest is made of it.
        facts: What its files would say.
    """
    with database.write() as connection:
        connection.execute(
            insert(models).values(
                name=name,
                digest="sha256:" + digit * 64,
                source=f"/models/{name}.gguf",
                format="gguf",
                size_bytes=1,
                facts={**ModelFacts().to_dict(), **facts},
                lineage={},
                created_at="2026-01-01T00:00:00.000Z",
            )
        )
