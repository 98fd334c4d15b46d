"""Backups, trials and removals as the journal tells of them: what worked, and what did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.checks import find
from undercroft.recovery.creating import Created, create
from undercroft.recovery.places import Place
from undercroft.recovery.pruning import Pruned, prune
from undercroft.recovery.restoring import Tried, try_restore
from undercroft.recovery.retention import Policy
from undercroft.registry.progress import Progress, silent
from undercroft.serving.backups import CREATE, FAIL, TRIAL
from undercroft.storage import journal
from undercroft.storage.database import Database

# Another one works just now, or a person mistyped an id: nothing failed.
NO_FAILURE = {"backup-running", "store-busy", "no-such-backup"}
_REASON_LETTERS = 1000


def make_backup(
    home: Home,
    database: Database,
    settings: Settings,
    place: Place,
    *,
    at: datetime,
    actor: str,
    reason: str | None = None,
    must_write: bool = False,
    progress: Progress = silent,
) -> Created:
    """`create`, and its entry in the journal, whether it works or not.

    Raises:
        UndercroftError: As of `create`, or the store cannot be used.
    """
    with telling(database, place.where, actor):
        created = create(home, place.make(), settings, at=at, reason=reason, must_write=must_write, progress=progress)
    manifest = created.manifest
    with database.write() as connection:
        journal.record(
            connection,
            actor=actor,
            action=CREATE,
            subject=manifest.id,
            after={
                "place": place.where,
                "is_encrypted": manifest.is_encrypted,
                "files": len(manifest.files),
                "size_bytes": manifest.size_bytes,
                "written_bytes": created.written_bytes,
                "missing": len(manifest.missing),
            },
            reason=reason,
        )
    return created


def make_trial(
    home: Home,
    database: Database,
    place: Place,
    backup_id: str | None,
    *,
    at: datetime,
    actor: str,
    progress: Progress = silent,
) -> Tried:
    """`try_restore`, and its entry in the journal, whether it works or not.

    Args:
        home: Whose disk lends the room.
        database: Of the home.
        place: Of the store.
        backup_id: Which; None is the newest.
        at: Now.
        actor: Who.
        progress: Told how far each file is.

    Raises:
        UndercroftError: As of `try_restore`, or the store cannot be used.
    """
    with telling(database, place.where, actor):
        store = place.open()
        with store.shared():
            tried = try_restore(home, store, find(store, backup_id), at=at, actor=actor, progress=progress)
    with database.write() as connection:
        journal.record(
            connection,
            actor=actor,
            action=TRIAL,
            subject=tried.restored.manifest.id,
            after={"place": place.where, "files": tried.restored.files, "bytes": tried.restored.size_bytes},
        )
    return tried


def make_room(database: Database, place: Place, policy: Policy, *, actor: str, is_dry_run: bool = False) -> Pruned:
    """`prune`, and its entry in the journal where a backup went.

    Raises:
        UndercroftError: As of `prune`, or the store cannot be used.
    """
    pruned = prune(place.open(), policy, is_dry_run=is_dry_run)
    if pruned.removed and not is_dry_run:
        with database.write() as connection:
            journal.record(
                connection,
                actor=actor,
                action="backup.prune",
                subject=place.where[:255],
                before={"backups": pruned.removed[:1000], "freed_bytes": pruned.freed_bytes},
            )
    return pruned


@contextmanager
def telling(database: Database, where: str, actor: str) -> Iterator[None]:
    """Writes down what failed. Where the disk is full that fails, too, and the first error is the one that matters.

    Args:
        database: Of the home.
        where: The store is.
        actor: Who.

    Raises:
        UndercroftError: What failed.
    """
    try:
        yield
    except UndercroftError as error:
        if error.code not in NO_FAILURE:
            with suppress(UndercroftError), database.write() as connection:
                reason = f"{error.code}: {error.message}"[:_REASON_LETTERS]
                journal.record(connection, actor=actor, action=FAIL, subject=where[:255], reason=reason)
        raise
