"""Looks at everything that may be wrong: each source reads what its judgement needs, as often as that is worth.

What could not be read is said to be so: an incident of that kind neither opens nor ends by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from undercroft.core.errors import InvalidError, NotFoundError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.registry.releases import store
from undercroft.serving import backups, promotions
from undercroft.serving.courses import Course
from undercroft.serving.doctor.disks import observe_room
from undercroft.serving.snapshot import Snapshot
from undercroft.storage import checkpoints, journal
from undercroft.storage.blobs import DISTRUSTED
from undercroft.storage.database import Database
from undercroft.storage.tables import blobs, model_files
from undercroft.storage.tables import promotions as promotions_table
from undercroft.watch.drift import DRIFT_KINDS
from undercroft.watch.drift import look as look_at_drift
from undercroft.watch.findings import Finding, Kind
from undercroft.watch.incidents import conditions, outbox
from undercroft.watch.incidents.conditions import Probed
from undercroft.watch.probes.history import newest_runs
from undercroft.watch.probes.probe_files import load_probe, probe_names
from undercroft.watch.sinks.all import configured

_log = structlog.get_logger("incidents")

_OFTEN_SECONDS = 5.0
_NOW_AND_THEN_SECONDS = 60.0
_SELDOM_SECONDS = 3600.0


class Serving(Protocol):
    """What is asked of the reconciler."""

    def look(self) -> tuple[Any, Any, Mapping[str, Course], Snapshot]:
        """What there is now: deployments, replicas, courses, what the doors were told."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place to look at.

    Args:
        name: For the log.
        kinds: What it may find; all of them are well where it finds nothing.
        every_seconds: How often.
        look: Finds; it may raise what it cannot read.
        is_slow: Whether it may take minutes, so that nobody waits for it.
    """

    name: str
    kinds: frozenset[Kind]
    every_seconds: float
    look: Callable[[datetime], Sequence[Finding]]
    is_slow: bool = False


@dataclass(slots=True)
class Looker:
    """Looks at sources and remembers what each found last.

    Args:
        sources: In the order in which they count where two find the same.
        clock: Seconds that only go up.
        has_patience: Whether it waits for slow sources; else they are looked at in threads, and what they found before
            holds until they have ended.
    """

    sources: Sequence[Source]
    clock: Callable[[], float] = time.monotonic
    has_patience: bool = True
    _asked_at: dict[str, float] = field(default_factory=dict)
    _running: dict[str, threading.Thread] = field(default_factory=dict)
    _last: dict[str, Sequence[Finding]] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    def look(self, now: datetime) -> tuple[list[Finding], frozenset[Kind]]:
        """Everything that is wrong, and the kinds that could be looked at."""
        findings: list[Finding] = []
        looked: set[Kind] = set()
        for source in self.sources:
            if self._is_due(source):
                self._asked_at[source.name] = self.clock()
                self._begin(source, now)
            found = self._last.get(source.name)
            if found is not None:
                findings += found
                looked |= source.kinds
        return findings, frozenset(looked)

    def _is_due(self, source: Source) -> bool:
        running = self._running.get(source.name)
        if running is not None and running.is_alive():
            return False
        asked_at = self._asked_at.get(source.name)
        return asked_at is None or self.clock() - asked_at >= source.every_seconds

    def _begin(self, source: Source, now: datetime) -> None:
        if self.has_patience or not source.is_slow:
            self._ask(source, now)
            return
        thread = threading.Thread(target=self._ask, args=(source, now), name=f"look-{source.name}", daemon=True)
        self._running[source.name] = thread
        thread.start()

    def _ask(self, source: Source, now: datetime) -> None:
        try:
            found = list(source.look(now))
        except (UndercroftError, OSError, SQLAlchemyError) as error:
            self._last.pop(source.name, None)
            if self._told.get(source.name) != str(error):
                _log.error("cannot look", source=source.name, error=str(error))
            self._told[source.name] = str(error)
            return
        self._told.pop(source.name, None)
        self._last[source.name] = found


def sources_of(home: Home, database: Database, settings: Settings, serving: Serving | None) -> list[Source]:
    """The places that this module knows.

    Args:
        home: Of the server.
        database: Of the home.
        settings: In force.
        serving: The reconciler; None where none runs.
    """

    def reading(look: Callable[[Connection, datetime], Sequence[Finding]]) -> Callable[[datetime], Sequence[Finding]]:
        def read(now: datetime) -> Sequence[Finding]:
            with database.read() as connection:
                return look(connection, now)

        return read

    def look_at_backups(connection: Connection, now: datetime) -> list[Finding]:
        return conditions.judge_backups(settings.backup, backups.read_state(connection), now)

    def look_at_probes(connection: Connection, now: datetime) -> list[Finding]:
        return _look_at_probes(connection, home, settings.alerts.probe_failures, now)

    def look_at_journal(connection: Connection, now: datetime) -> list[Finding]:
        return conditions.judge_journal(_journal_damage(connection, home), now)

    def look_at_sinks(connection: Connection, now: datetime) -> list[Finding]:
        return conditions.judge_sinks(outbox.states_of(connection, configured(settings.alerts)), now)

    def look_at_disk(now: datetime) -> list[Finding]:
        return conditions.judge_disk(observe_room(home.root), now)

    def look_for_drift(now: datetime) -> list[Finding]:
        return look_at_drift(database, home, now)

    def source(
        name: str,
        kinds: set[Kind],
        every_seconds: float,
        look: Callable[[datetime], Sequence[Finding]],
        *,
        is_slow: bool = False,
    ) -> Source:
        return Source(name, frozenset(kinds), every_seconds, look, is_slow)

    found = [
        source("probes", {Kind.PROBE_FAILING, Kind.PROBE_UNUSABLE}, _OFTEN_SECONDS, reading(look_at_probes)),
        source("promotions", {Kind.PROMOTION_FAILED}, _OFTEN_SECONDS, reading(_look_at_promotions)),
        source("backups", {Kind.BACKUP_FAILING}, _NOW_AND_THEN_SECONDS, reading(look_at_backups)),
        source("drift", set(DRIFT_KINDS), _NOW_AND_THEN_SECONDS, look_for_drift, is_slow=True),
        source("weights", {Kind.WEIGHTS_CHANGED}, _NOW_AND_THEN_SECONDS, reading(_look_at_weights)),
        source("sinks", {Kind.ALERTS_UNDELIVERED}, _OFTEN_SECONDS, reading(look_at_sinks)),
        source("disk", {Kind.DISK_LOW}, _NOW_AND_THEN_SECONDS, look_at_disk),
        source("journal", {Kind.JOURNAL_BROKEN}, _SELDOM_SECONDS, reading(look_at_journal), is_slow=True),
    ]
    if serving is not None:
        asked = serving

        def look_at_serving(now: datetime) -> list[Finding]:
            _, _, courses, snapshot = asked.look()
            return conditions.judge_serving(snapshot, courses, now)

        found.append(source("serving", {Kind.REPLICA_FAILING}, 0.0, look_at_serving))
    return found


def _look_at_probes(connection: Connection, home: Home, failures_limit: int, now: datetime) -> list[Finding]:
    findings = []
    for name in probe_names(home):
        try:
            probe = load_probe(home, name)
        except NotFoundError:
            continue  # it was removed just now
        except InvalidError:
            findings.append(conditions.judge_probe_file(name, now))
            continue
        limit = probe.alert_after_failures or failures_limit
        deployment = probe.model or name
        # Runs that end with the server do not count, so some more are read.
        runs = newest_runs(connection, name, limit=limit + 20)
        tags = store.tags_of(connection, deployment)
        # After a rollback `previous` is the newer one, which was left for a reason.
        older = tags["previous"] if 0 < tags.get("previous", 0) < tags.get("production", 0) else None
        findings += conditions.judge_probe(Probed(name, deployment, limit, runs, older))
    return findings


def _look_at_promotions(connection: Connection, now: datetime) -> list[Finding]:
    names = connection.execute(select(promotions_table.c.name).distinct().order_by(promotions_table.c.name)).scalars()
    newest = [promotion for name in names.all() for promotion in promotions.list_of(connection, name, limit=1)]
    return conditions.judge_promotions(newest, now)


def _look_at_weights(connection: Connection, now: datetime) -> list[Finding]:
    query = (
        select(model_files.c.model)
        .join(blobs, blobs.c.digest == model_files.c.digest)
        .where(
            blobs.c.size_bytes == DISTRUSTED.size_bytes,
            blobs.c.inode == DISTRUSTED.inode,
            blobs.c.modified_ns == DISTRUSTED.modified_ns,
        )
        .distinct()
        .order_by(model_files.c.model)
    )
    return conditions.judge_weights(list(connection.execute(query).scalars()), now)


def _journal_damage(connection: Connection, home: Home) -> str | None:
    own_key = checkpoints.public_key(checkpoints.signing_key(home))
    return journal.find_damage(connection, checkpoints.gather([home.checkpoints], own_key=own_key))
