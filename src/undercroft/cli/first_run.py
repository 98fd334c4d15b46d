"""What a new home gets: the starter model, its deployment, a first key. Each step once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files

from sqlalchemy import select

from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.serving import deployments, keys
from undercroft.serving.deployments import DeploymentSettings
from undercroft.storage.database import Database
from undercroft.storage.tables import journal

STARTER = "ticket-pilot"
_EXAMPLE = "Hi, where is my order SG-4471? I need it today."


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What is left to do when everything runs.

    Args:
        starter_name: Name of the starter model and its deployment.
        example_request: A message that shows what the starter does.
    """

    database: Database
    actor: str
    starter_name: str = STARTER
    example_request: str = _EXAMPLE

    def create_key(self) -> str | None:
        """The first key of this home, to be shown once; None where one was ever made."""
        if _was_done(self.database, "key.create", None):
            return None
        _, secret = keys.create(self.database, name="first", actor=self.actor)
        return secret


def prepare_first_run(home: Home, database: Database, *, actor: str, say: Callable[[str], None]) -> FirstRun:
    """Registers and deploys the starter model in a home that never had it.

    Args:
        say: Told what is done, in plain words.
    """
    if not _was_done(database, "model.add", STARTER):
        models.clean_quarantine(home)
        with as_file(files("undercroft.starter") / "ticket-pilot.gguf") as path:
            model = models.add_local(database, home, path, name=STARTER, actor=actor, must_copy=True)
        say(f"registered the starter model {model.name}")
    if not _was_done(database, "deployment.create", STARTER):
        deployments.create(
            database, name=STARTER, engine="llama.cpp", model=STARTER, settings=DeploymentSettings(), actor=actor
        )
    return FirstRun(database, actor)


def _was_done(database: Database, action: str, subject: str | None) -> bool:
    query = select(journal.c.seq).where(journal.c.action == action).limit(1)
    if subject is not None:
        query = query.where(journal.c.subject == subject)
    with database.read() as connection:
        return connection.execute(query).first() is not None
