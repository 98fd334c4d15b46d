"""Replicas that run are compared with their forecasts: at each load, and once an hour of service."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.serving import accuracy
from undercroft.serving.allocation import Allocator
from undercroft.serving.ledger import ReplicaForecast
from undercroft.serving.replica import ReplicaView
from undercroft.storage.database import Database
from undercroft.storage.tables import load_times


class Measuring:
    """Keeps what loads took, and pairs of forecast and measurement.

    Args:
        database: Where they are kept.
        allocator: Knows the forecast of each replica; its forecaster is told of each new pair.
    """

    def __init__(self, database: Database, allocator: Allocator) -> None:
        self._database = database
        self._allocator = allocator
        self._served_since: dict[str, str] = {}

    def load_seconds(self, name: str) -> float | None:
        """Of a deployment's last load, warm-up included; None for one that was never loaded."""
        with self._database.read() as connection:
            row = connection.execute(
                select(load_times.c.load_seconds, load_times.c.warm_up_seconds)
                .where(load_times.c.deployment == name)
                .order_by(load_times.c.id.desc())
                .limit(1)
            ).first()
        return row.load_seconds + row.warm_up_seconds if row else None

    def loaded(self, view: ReplicaView) -> None:
        """A replica became ready."""
        forecast = self._allocator.forecast_of(view.spec.replica_id)
        with self._database.write() as connection:
            connection.execute(
                insert(load_times).values(
                    at=to_iso(utc_now()),
                    deployment=view.spec.name,
                    model_digest=view.spec_digest,
                    load_seconds=view.load_seconds,
                    warm_up_seconds=view.warm_up.seconds if view.warm_up else 0.0,
                    memory_bytes=view.memory.private_bytes + view.memory.file_bytes if view.memory else 0,
                )
            )
            if forecast is not None:
                seen = accuracy.at_load(forecast, view.memory, view.load_seconds)
                accuracy.keep(connection, seen, deployment=view.spec.name, model_digest=view.spec_digest)
                self._allocator.forecaster.learnt()

    def served(self, views: Iterable[ReplicaView]) -> None:
        """Looks at what replicas answered since the last time, or since they were ready."""
        for view in views:
            forecast = self._allocator.forecast_of(view.spec.replica_id)
            if forecast is not None and view.ready_since is not None:
                self._compare(view, view.ready_since, forecast)

    def _compare(self, view: ReplicaView, ready_since: float, forecast: ReplicaForecast) -> None:
        name, now = view.spec.replica_id, utc_now()
        ready_at = to_iso(now - timedelta(seconds=time.monotonic() - ready_since))
        since, self._served_since[name] = self._served_since.get(name, ready_at), to_iso(now)
        with self._database.write() as connection:
            did = accuracy.served(connection, name, since)
            if did.requests:
                seen = accuracy.in_service(forecast, view.peak, did)
                accuracy.keep(connection, seen, deployment=view.spec.name, model_digest=view.spec_digest)
                self._allocator.forecaster.learnt()
