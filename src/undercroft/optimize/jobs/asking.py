"""A recipe becomes a job: looked at as a whole, then written down, then begun."""

from __future__ import annotations

from undercroft.core.home import Home
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import ensure_room
from undercroft.optimize.jobs.starting import start_worker
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.preparing import prepare
from undercroft.optimize.recipes import Recipe
from undercroft.storage.database import Database


def look_at(home: Home, database: Database, recipe: Recipe) -> Prepared:
    """Holds a recipe against the registry and this machine; does nothing.

    Raises:
        UndercroftError: It cannot be done: a model is not there or of the wrong kind, a name is taken.
    """
    with database.read() as connection:
        for name in (recipe.to, *recipe.kept.values()):
            store.check_name_free(connection, name)
        return prepare(home, connection, recipe)


def begin(home: Home, database: Database, prepared: Prepared, *, actor: str, reason: str | None = None) -> Job:
    """Puts a job into the queue and makes sure that somebody works on it.

    Args:
        home: Of the job.
        database: Of the home.
        prepared: From `look_at`.
        actor: Who asks.
        reason: Why, in the actor's words.

    Raises:
        ConflictError: The name was taken meanwhile.
        UnavailableError: ``disk-full`` or ``not-enough-memory``.
    """
    ensure_room(home, prepared)
    recipe = prepared.recipe
    with database.write() as connection:
        job = store.add(
            connection,
            kind=recipe.kind,
            recipe=recipe.to_dict(),
            parents=[Parent(source.model.name, source.model.digest) for source in prepared.sources],
            result=recipe.to,
            actor=actor,
            reason=reason,
        )
    JobFolder(home, job.id).reserve_early()
    start_worker(home)
    return job
