"""Backups, trials and removals as the journal tells of them: what worked, and what did not."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from undercroft.core.errors import ConflictError, UndercroftError
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

STORE_BUSY = "store-busy"
# Another one works just now, or a person mistyped an id: nothing failed.
NO_FAILURE = frozenset({"backup-running", STORE_BUSY, "no-such-backup"})
# Of the server's own backups nobody reads an error: a store that lets nobody in is one that failed.
NO_FAILURE_OF_SERVER = NO_FAILURE - {STORE_BUSY}
SERVER = "system"
_REASON_LETTERS = 1000
_BUSY_POLL_SECONDS = 5.0

_Made = TypeVar("_Made")


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
    patience_seconds: float = 0.0,
    progress: Progress = silent,
) -> Created:
    """`create`, and its entry in the journal, whether it works or not.

    Args:
        home: Prepared.
        database: Of the home.
        settings: In force.
        place: Of the store; it is made where there is none.
        at: Now.
        actor: Who.
        reason: Why.
        must_write: As of `create`.
        patience_seconds: How long it waits for somebody else to leave the store.
        progress: Told how far each file is.

    Raises:
        UndercroftError: As of `create`, or the store cannot be used.
    """
    with telling(database, place.where, actor):
        store = place.make()
        created = when_free(
            lambda: create(home, store, settings, at=at, reason=reason, must_write=must_write, progress=progress),
            patience_seconds,
        )
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
    patience_seconds: float = 0.0,
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
        patience_seconds: How long it waits for somebody else to leave the store.
        progress: Told how far each file is.

    Raises:
        UndercroftError: As of `try_restore`, or the store cannot be used.
    """
    with telling(database, place.where, actor):
        store = place.open()

        def attempt() -> Tried:
            with store.shared():
                return try_restore(home, store, find(store, backup_id), at=at, actor=actor, progress=progress)

        tried = when_free(attempt, patience_seconds)
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


def when_free(work: Callable[[], _Made], patience_seconds: float, wait: Callable[[float], None] = time.sleep) -> _Made:
    """What some work gives, begun again while somebody else uses the store.

    Args:
        work: Holds nothing once it has failed.
        patience_seconds: After so long the store's own error is raised.
        wait: Waits so many seconds.

    Raises:
        UndercroftError: As of the work.
    """
    waited = 0.0
    while True:
        try:
            return work()
        except ConflictError as error:
            if error.code != STORE_BUSY or waited >= patience_seconds:
                raise
        wait(_BUSY_POLL_SECONDS)
        waited += _BUSY_POLL_SECONDS


def harmless_codes(actor: str) -> Collection[str]:
    """Codes of errors after which nothing has failed. A person reads that the store is in use; nobody reads it here."""
    return NO_FAILURE_OF_SERVER if actor == SERVER else NO_FAILURE


@contextmanager
def telling(database: Database, where: str, actor: str, *, harmless: Collection[str] | None = None) -> Iterator[None]:
    """Writes down what failed. Where the disk is full that fails, too, and the first error is the one that matters.

    Args:
        database: Of the home.
        where: The store is.
        actor: Who.
        harmless: Codes that are no failure; None is what `harmless_codes` says.

    Raises:
        UndercroftError: What failed.
    """
    try:
        yield
    except UndercroftError as error:
        if error.code not in (harmless_codes(actor) if harmless is None else harmless):
            with suppress(UndercroftError), database.write() as connection:
                reason = f"{error.code}: {error.message}"[:_REASON_LETTERS]
                journal.record(connection, actor=actor, action=FAIL, subject=where[:255], reason=reason)
        raise
