"""What replicas take, once a minute: memory, accelerator memory, open files, and the requests since the look before."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psutil
import structlog
from sqlalchemy import Connection, delete, func, insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.processes import ProcessIdentity
from undercroft.engines.contract import ReplicaState
from undercroft.serving.reconciler import Reconciler
from undercroft.serving.replica import ReplicaView
from undercroft.storage.database import Database
from undercroft.storage.tables import replica_samples, usage

_log = structlog.get_logger("sampling")

_EVERY_SECONDS = 60.0
# A leak is looked for over three days; a week lets a person look back.
_KEPT = timedelta(days=7)


def sample_replicas(database: Database, reconciler: Reconciler, ending: threading.Event) -> None:
    """Until the server ends.

    Args:
        database: Of the home.
        reconciler: Knows the replicas.
        ending: Set when the server ends.
    """
    before = utc_now()
    while not ending.wait(_EVERY_SECONDS):
        try:
            _, replicas, _, _ = reconciler.look()
            now = utc_now()
            keep_samples(database, [replica.view for replica in replicas], before, now)
            before = now
        except UndercroftError as error:
            _log.error("samples lost", error=str(error))


def keep_samples(database: Database, views: Sequence[ReplicaView], since: datetime, now: datetime) -> None:
    """Writes a sample of each replica that is ready, and forgets those older than a week.

    Args:
        database: Of the home.
        views: Of all replicas.
        since: When the samples before were taken.
        now: The current time.

    Raises:
        UnavailableError: The database cannot be written.
    """
    ready = [view for view in views if view.state is ReplicaState.READY and view.memory is not None]
    with database.read() as connection:
        served = _requests(connection, since, now) if ready else {}
    rows = [_sample(view, served.get(view.spec.replica_id, 0), now) for view in ready]
    with database.write() as connection:
        if rows:
            connection.execute(insert(replica_samples), rows)
        connection.execute(delete(replica_samples).where(replica_samples.c.at < to_iso(now - _KEPT)))


def open_files(process: ProcessIdentity) -> int | None:
    """Files and sockets that a process and its children hold open; None where that cannot be seen."""
    if not process.is_alive():
        return None
    try:
        family = psutil.Process(process.pid)
        return sum(member.num_fds() for member in (family, *family.children(recursive=True)))
    except (psutil.Error, OSError, AttributeError):  # no such count on Windows
        return None


def _requests(connection: Connection, since: datetime, now: datetime) -> dict[str, int]:
    query = (
        select(usage.c.replica, func.count())
        .where(usage.c.at >= to_iso(since), usage.c.at < to_iso(now), usage.c.replica.is_not(None))
        .group_by(usage.c.replica)
    )
    return {str(replica): int(count) for replica, count in connection.execute(query)}


def _sample(view: ReplicaView, requests: int, now: datetime) -> dict[str, Any]:
    memory, process = view.memory, view.record.process if view.record is not None else None
    assert memory is not None
    return {
        "at": to_iso(now),
        "deployment": view.spec.name,
        "replica": view.spec.replica_id,
        "private_bytes": memory.private_bytes,
        "gpu_bytes": sum(memory.gpu_bytes.values()) if memory.gpu_bytes else None,
        "open_files": open_files(process) if process is not None else None,
        "requests": requests,
    }
