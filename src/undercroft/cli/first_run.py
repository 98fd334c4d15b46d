"""What a new home gets: the starter model, its deployment, a first key. Each step once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files

from sqlalchemy import select

from undercroft.core.errors import UnavailableError
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
    """What a new home gets, and what of it is still to be done.

    Args:
        database: Of the home.
        actor: For the journal.
        starter_name: Name of the starter model and its deployment.
        example_request: A message that shows what the starter does.
    """

    database: Database
    actor: str
    starter_name: str = STARTER
    example_request: str = _EXAMPLE

    def is_over(self) -> bool:
        """Whether a first key was ever made: the last of the steps."""
        return self.was_done("key.create", None)

    def create_key(self) -> str | None:
        """The first key of this home, to be shown once; None where one was ever made."""
        if self.is_over():
            return None
        _, secret = keys.create(self.database, name="first", actor=self.actor)
        return secret

    def was_done(self, action: str, subject: str | None) -> bool:
        """Whether the journal tells of it."""
        query = select(journal.c.seq).where(journal.c.action == action).limit(1)
        if subject is not None:
            query = query.where(journal.c.subject == subject)
        with self.database.read() as connection:
            return connection.execute(query).first() is not None


def prepare_first_run(home: Home, first: FirstRun, *, say: Callable[[str], None]) -> None:
    """Registers and deploys the starter model in a home that never had it.

    Args:
        say: Told what is done, in plain words.

    Raises:
        UnavailableError: The starter model is missing from the installation.
    """
    database, actor = first.database, first.actor
    if not first.was_done("model.add", STARTER):
        with as_file(files("undercroft") / "starter" / "ticket-pilot.gguf") as path:
            if not path.exists():
                raise UnavailableError(
                    "no-starter", f"this installation lacks its starter model {path}", hint="install undercroft again"
                )
            model = models.add_local(database, home, path, name=STARTER, actor=actor, must_copy=True)
        say(f"registered the starter model {model.name}")
    if not first.was_done("deployment.create", STARTER):
        deployments.create(
            database, name=STARTER, engine="llama.cpp", model=STARTER, settings=DeploymentSettings(), actor=actor
        )
