"""What routes take from a request: the parts of control, and who asks."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, cast

from fastapi import Depends, Request

import undercroft
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import parse_use
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.gateway.admin.local_keys import LocalKeys
from undercroft.gateway.doors import DoorLink
from undercroft.registry.licences import LicenceGate
from undercroft.serving.backups import read_state
from undercroft.serving.feedback import ratings_since
from undercroft.serving.listening import url_of
from undercroft.serving.reconciler import Reconciler
from undercroft.serving.status import deployments_status, ledger_status, promotions_status
from undercroft.serving.usage import UsageLog
from undercroft.storage.database import Database
from undercroft.watch.incidents import incident_store, outbox
from undercroft.watch.probes.history import last_run
from undercroft.watch.probes.probe_files import probe_names
from undercroft.watch.sinks.all import configured

# Whose ratings are summed up.
_RATINGS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ControlParts:
    """What the routes use."""

    home: Home
    settings: Settings
    database: Database
    reconciler: Reconciler
    doors: DoorLink
    usage: UsageLog
    local_keys: LocalKeys
    started: float = field(default_factory=time.time)

    def licence_gate(self, actor: str, *, is_accepted: bool, reason: str | None) -> LicenceGate:
        """The gate that a route asks, for the use that the settings declare."""
        return LicenceGate(
            self.database,
            load_licences(self.home.catalogue),
            parse_use(self.settings.registry.use),
            is_accepted=is_accepted,
            actor=actor,
            reason=reason,
        )

    def status(self) -> dict[str, Any]:
        """Everything that ``undercroft status`` shows."""
        wanted, replicas, courses, snapshot = self.reconciler.look()
        ledger = self.reconciler.ledger()
        names = self.reconciler.names()
        return {
            "version": undercroft.__version__,
            "home": str(self.home.root),
            "url": url_of(self.settings.gateway),
            "control": {"pid": os.getpid(), "uptime_seconds": time.time() - self.started},
            "doors": self.doors.list_doors(),
            "memory": {
                "total_bytes": ledger.reading.total_bytes,
                "available_bytes": ledger.reading.available_bytes,
            },
            "ledger": ledger_status(ledger),
            "usage_rows_dropped": self.usage.dropped_rows,
            "backup": self._backup(),
            "deployments": deployments_status(
                wanted, [replica.view for replica in replicas], courses, snapshot, self.usage.totals(), ledger, names
            ),
            "promotions": promotions_status(names),
            **self._incidents(),
            "probes": self._probes(),
            "ratings": self._ratings(),
        }

    def _ratings(self) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [one.to_dict() for one in ratings_since(connection, to_iso(utc_now() - _RATINGS))]

    def _probes(self) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            found = {name: last_run(connection, name) for name in probe_names(self.home)}
        return [{"probe": name, "last": run.to_dict() if run is not None else None} for name, run in found.items()]

    def _incidents(self) -> dict[str, Any]:
        with self.database.read() as connection:
            opened = incident_store.list_open(connection)
            sinks = outbox.states_of(connection, configured(self.settings.alerts))
        return {
            "incidents": [incident.to_dict() for incident in opened],
            "alerts": [state.to_dict() for state in sinks],
        }

    def _backup(self) -> dict[str, Any]:
        with self.database.read() as connection:
            state = read_state(connection)
        return {"is_set_up": self.settings.backup.where is not None, **state.to_dict()}


def _parts(request: Request) -> ControlParts:
    return cast(ControlParts, request.app.state.parts)


def _actor(request: Request) -> str:
    # Set by the door after it has checked the key; a client's own header of that name never passes the door.
    return request.headers.get("x-undercroft-actor", "local")


Parts = Annotated[ControlParts, Depends(_parts)]
Actor = Annotated[str, Depends(_actor)]
