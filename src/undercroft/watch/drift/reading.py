"""What detectors read: outcomes since the last look, requests by quarters of an hour, samples, stored files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.home import Home
from undercroft.registry.releases.references import base_name
from undercroft.storage.blobs import DISTRUSTED, BlobStore
from undercroft.storage.tables import (
    blobs,
    deployments,
    model_files,
    probe_outcomes,
    releases,
    replica_samples,
    usage,
)
from undercroft.watch.drift.leaks import WINDOWS, Sample
from undercroft.watch.drift.requests import COLUMNS
from undercroft.watch.probes.outcome_rows import Purpose

SPAN = timedelta(minutes=15)
# Doors bring their rows in batches; a span is judged when the last have surely come.
_LATE = timedelta(minutes=1)
# Requests of a span that are looked at; as many tell as much.
_REQUESTS_A_SPAN = 2000
_LATEST_SAMPLE = timedelta(minutes=10)
_CLIENT_GONE = 499
# Of standard questions and of copies for a candidate: no user's.
_OWN_KEYS = ("key_probe", "key_shadow")

# Made once: a look may ask for hundreds of quarters, and to put a query together takes longer than to answer it.
_FIRST_REQUEST = select(func.min(usage.c.at)).where(
    usage.c.deployment == bindparam("name"), usage.c.at >= bindparam("since")
)
_SPAN_REQUESTS = (
    select(*(usage.c[column] for column in COLUMNS))
    .where(
        usage.c.deployment == bindparam("name"),
        usage.c.at >= bindparam("since"),
        usage.c.at < bindparam("until"),
        usage.c.key_id.not_in(_OWN_KEYS),
        usage.c.status != _CLIENT_GONE,
    )
    .limit(_REQUESTS_A_SPAN)
)


def names_served(connection: Connection) -> list[str]:
    """Names that requests may use, sorted: deployments, and what has releases."""
    found = set(connection.execute(select(deployments.c.name)).scalars())
    found |= set(connection.execute(select(releases.c.name).distinct()).scalars())
    return sorted(found)


def is_served(subject: str, names: list[str]) -> bool:
    """Whether what a detector watches is still there."""
    return base_name(subject) in names


def new_outcomes(connection: Connection, after: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Outcomes of standard questions since a row: (deployment, probe) → rows, the oldest first; without trials."""
    query = (
        select(probe_outcomes)
        .where(probe_outcomes.c.id > after, probe_outcomes.c.purpose != Purpose.TRIAL.value)
        .order_by(probe_outcomes.c.id)
    )
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in connection.execute(query):
        found.setdefault((row.deployment, row.probe), []).append(dict(row._mapping))
    return found


def spans_of(
    connection: Connection, name: str, begin: datetime | None, now: datetime
) -> Iterator[tuple[list[dict[str, Any]], datetime]]:
    """Requests of users by quarters of an hour that are over; a quarter without any is left out.

    Args:
        connection: To read.
        name: That was asked for.
        begin: Of the first quarter; None is that of the first request.
        now: The current time.

    Yields:
        Columns of the requests, and when their quarter ended.
    """
    at = begin
    while True:
        since = to_iso(at) if at is not None else ""
        first = connection.execute(_FIRST_REQUEST, {"name": name, "since": since}).scalar()
        if first is None:
            return
        start = _quarter(from_iso(first))
        at = start + SPAN
        if at + _LATE > now:
            return
        rows = connection.execute(_SPAN_REQUESTS, {"name": name, "since": to_iso(start), "until": to_iso(at)})
        yield [dict(row._mapping) for row in rows], at


def samples_of(connection: Connection, now: datetime) -> dict[tuple[str, str], tuple[list[Sample], datetime]]:
    """(deployment, replica) → its samples, the oldest first, and when it was first sampled; of those that run now."""
    since = to_iso(now - timedelta(hours=max(WINDOWS)))
    lives = connection.execute(
        select(replica_samples.c.deployment, replica_samples.c.replica, func.min(replica_samples.c.at))
        .group_by(replica_samples.c.deployment, replica_samples.c.replica)
        .having(func.max(replica_samples.c.at) >= to_iso(now - _LATEST_SAMPLE))
    ).all()
    found = {}
    for deployment, replica, born_at in lives:
        rows = connection.execute(
            select(replica_samples)
            .where(replica_samples.c.replica == replica, replica_samples.c.at >= since)
            .order_by(replica_samples.c.at)
        )
        samples = [
            Sample(from_iso(row.at), row.private_bytes, row.gpu_bytes, row.open_files, row.requests) for row in rows
        ]
        found[deployment, replica] = (samples, from_iso(born_at))
    return found


def damaged_models(connection: Connection, home: Home) -> tuple[dict[str, int], list[str]]:
    """Models whose stored files are not what they were.

    Returns:
        Model → files of it that are gone, or whose content is known to be another; and models of which a file looks as
        if it had been written since it was read last, which has to be read to know.
    """
    store = BlobStore(home.blobs)
    damaged: dict[str, int] = {}
    touched: list[str] = []
    query = select(model_files.c.model, blobs).join(blobs, blobs.c.digest == model_files.c.digest)
    for row in connection.execute(query.order_by(model_files.c.model)):
        path = store.path(row.digest)
        known = (row.size_bytes, row.inode, row.modified_ns)
        try:
            status = path.lstat()
        except OSError:
            damaged[row.model] = damaged.get(row.model, 0) + 1
            continue
        if known == (DISTRUSTED.size_bytes, DISTRUSTED.inode, DISTRUSTED.modified_ns):
            damaged[row.model] = damaged.get(row.model, 0) + 1
        elif known != (status.st_size, status.st_ino, status.st_mtime_ns) and row.model not in touched:
            touched.append(row.model)
    return damaged, touched


def stored_files(connection: Connection) -> dict[str, int]:
    """Model → how many stored files it has."""
    rows = connection.execute(select(model_files.c.model, func.count()).group_by(model_files.c.model))
    return {model: int(count) for model, count in rows}


def serving_of(connection: Connection, model: str) -> list[str]:
    """Deployments that serve a model, sorted."""
    query = select(deployments.c.name).where(deployments.c.model == model).order_by(deployments.c.name)
    return list(connection.execute(query).scalars())


def _quarter(moment: datetime) -> datetime:
    seconds = int(moment.timestamp() // SPAN.total_seconds() * SPAN.total_seconds())
    return datetime.fromtimestamp(seconds, UTC)
