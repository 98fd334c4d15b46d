"""The control process: reconciler, usage writer, link to the doors, admin routes. It owns the database.

    python -m undercroft.gateway.control --home HOME --parent PID

SIGTERM ends it and leaves the engines running; a later control adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from undercroft.core.clock import utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.logs import log_json_lines
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import Loaded, load_settings
from undercroft.gateway.admin.app import create_app
from undercroft.gateway.admin.local_keys import LocalKeys
from undercroft.gateway.admin.parts import ControlParts
from undercroft.gateway.doors import DoorLink
from undercroft.recovery.bundles.probes import finish_if_idle
from undercroft.recovery.supervision import look_after_backups
from undercroft.registry.models import clean_quarantine, scrub
from undercroft.serving import keys
from undercroft.serving.reconciler import Reconciler
from undercroft.serving.usage import UsageLog
from undercroft.storage import checkpoints
from undercroft.storage.database import Database
from undercroft.storage.settings_diary import note_settings
from undercroft.watch.drift.sampling import sample_replicas
from undercroft.watch.findings import Kind
from undercroft.watch.incidents.alerting import Deliverer, Watcher, look_after_alerts, look_after_incidents
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.incidents.looking import Looker, Source, sources_of
from undercroft.watch.probes.scheduler import look_after_probes
from undercroft.watch.promotion.promoting import look_after_promotions

_log = structlog.get_logger("control")

_SCRUB_CHECK_SECONDS = 3600.0
_LEARN_SECONDS = 3600.0
_SIGN_CHECK_SECONDS = 600.0
# What a door reads anew when it starts, as one that died does by itself.
_DOOR_SECTIONS = ("gateway", "limits", "logging")


class _Server(uvicorn.Server):
    """Leaves signals to `Control`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Control:
    """Everything of one control process, put together.

    Args:
        home: Prepared.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        loaded = load_settings(home.config_file)
        self.settings = loaded.settings
        log_json_lines(self.settings.logging.level)
        self.database = Database(home.database_file)
        if self.database.upgraded is not None:
            _log.info(
                "database upgraded", **asdict(self.database.upgraded) | {"copy": str(self.database.upgraded.copy)}
            )
        self._note_settings(loaded)
        self.local_keys = LocalKeys()
        self.usage = UsageLog(self.database, retention_days=self.settings.usage.retention_days)
        self.doors = DoorLink(home, self._on_event)
        self.reconciler = Reconciler(
            self.database,
            home,
            self.settings,
            read_keys=lambda connection: {**keys.snapshot_keys(connection, utc_now()), **self.local_keys.entries()},
            publish=self.doors.publish,
            acked_version=self.doors.acked_version,
        )
        self.deliverer = Deliverer(self.database, self.settings.alerts)
        self._ending = threading.Event()
        self._doors_seen: set[int] = set()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        parts = ControlParts(
            self.home, self.settings, self.database, self.reconciler, self.doors, self.usage, self.local_keys
        )
        self.home.control_socket.unlink(missing_ok=True)
        config = uvicorn.Config(
            create_app(parts),
            uds=str(self.home.control_socket),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await asyncio.to_thread(clean_quarantine, self.home)
        with self.database.read() as connection:
            finish_if_idle(self.home, connection)
        link = asyncio.create_task(self.doors.serve())
        await asyncio.sleep(0)
        self.usage.begin()
        self.reconciler.begin()
        threading.Thread(target=self._scrub, name="scrub", daemon=True).start()
        threading.Thread(target=self._learn, name="learn", daemon=True).start()
        threading.Thread(target=self._sign, name="sign", daemon=True).start()
        threading.Thread(target=self._back_up, name="backup", daemon=True).start()
        threading.Thread(target=self._probe, name="probes", daemon=True).start()
        threading.Thread(target=self._promote, name="promotions", daemon=True).start()
        threading.Thread(target=self._alert, name="incidents", daemon=True).start()
        threading.Thread(target=self._deliver, name="alerts", daemon=True).start()
        threading.Thread(target=self._sample, name="samples", daemon=True).start()
        serving = asyncio.create_task(server.serve())
        gc.freeze()
        _log.info("control runs", home=str(self.home.root))
        await ended.wait()
        self._ending.set()
        server.should_exit = True
        await serving
        link.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await link
        await asyncio.to_thread(self.reconciler.leave)
        await asyncio.to_thread(self.usage.end)
        self.database.close()

    def _on_event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "usage":
            self.usage.add(event["rows"])
        elif kind == "activity":
            self.reconciler.used(event["deployments"])
        elif kind == "demand":
            self.reconciler.demand(event["deployment"])
        elif kind == "quarantine":
            self._in_thread(
                self.reconciler.quarantine,
                digest=event["digest"],
                deployment=event["deployment"],
                reason=event["reason"],
            )
        elif kind in {"ack", "broke"}:
            self.reconciler.wake()
        elif kind == "hello" and event["pid"] not in self._doors_seen:
            self._doors_seen.add(event["pid"])
            self._in_thread(self._read_again)

    def _read_again(self) -> None:
        """A door has started: what it read of the settings holds from now on."""
        try:
            loaded = load_settings(self.home.config_file)
        except UndercroftError:
            return  # such a door does not start
        self._note_settings(loaded, _DOOR_SECTIONS)

    def _note_settings(self, loaded: Loaded, sections: Iterable[str] | None = None) -> None:
        try:
            entry = note_settings(self.database, loaded, self.home.config_file, sections=sections)
        except UndercroftError as error:
            # On a full disk the server serves all the same; the next start finds the same difference.
            _log.error("settings not noted", error=str(error))
            return
        if entry is not None:
            _log.info("settings changed", entry=entry.seq, names=list({**(entry.before or {}), **(entry.after or {})}))

    @staticmethod
    def _in_thread(function: Any, **arguments: Any) -> None:
        asyncio.get_running_loop().run_in_executor(None, lambda: function(**arguments))

    def _learn(self) -> None:
        """Compares every hour that was served with its forecasts."""
        while not self._ending.wait(_LEARN_SECONDS):
            try:
                self.reconciler.learn()
            except (UndercroftError, OSError) as error:
                _log.error("learning failed", error=str(error))

    def _scrub(self) -> None:
        """Reads stored files again, now and then, so that damage is found before it is needed."""
        days = self.settings.registry.scrub_days
        while days and not self._ending.wait(_SCRUB_CHECK_SECONDS):
            try:
                started = time.monotonic()
                damaged = scrub(self.database, self.home, older_than=utc_now() - timedelta(days=days))
                _log.info("scrubbed", damaged=damaged, seconds=round(time.monotonic() - started, 1))
            except (UndercroftError, OSError) as error:
                _log.error("scrub failed", error=str(error))

    def _sign(self) -> None:
        """Signs the journal now and then; where the folder elsewhere is away, the next look brings it what it lacks."""
        settings = self.settings.journal
        while settings.checkpoint_hours and not self._ending.wait(_SIGN_CHECK_SECONDS):
            try:
                key = checkpoints.signing_key(self.home)
                with self.database.read() as connection:
                    made = checkpoints.make_due(
                        connection, key, self.home.checkpoints, every=timedelta(hours=settings.checkpoint_hours)
                    )
                if made is not None:
                    checkpoints.keep(made, self.home.checkpoints)
                if settings.checkpoint_folder is not None:
                    checkpoints.copy_missing(self.home.checkpoints, settings.checkpoint_folder)
            except (UndercroftError, OSError) as error:
                _log.error("checkpoint failed", error=str(error))

    def _probe(self) -> None:
        """Asks the standard questions that have a schedule, each probe in a process of its own."""
        look_after_probes(self.home, self.database, self._ending)

    def _promote(self) -> None:
        """Moves running promotions on."""
        patience = self.settings.admission.patience_seconds
        look_after_promotions(self.home, self.database, self.reconciler, patience, self._ending)

    def _sample(self) -> None:
        """Keeps what replicas take, so that a leak is seen."""
        sample_replicas(self.database, self.reconciler, self._ending)

    def _alert(self) -> None:
        """Keeps incidents of what is wrong, and does what rules say."""
        sources = sources_of(self.home, self.database, self.settings, self.reconciler)
        looker = Looker([*sources, self._mirrored()], has_patience=False)
        alerts, cause = self.settings.alerts, likely_cause(self.database, self.home)
        watcher = Watcher(self.home, self.database, alerts, looker, self.reconciler, cause)
        look_after_incidents(watcher, self._ending)

    def _mirrored(self) -> Source:
        return Source("alertmanager", frozenset({Kind.ALERTS_UNDELIVERED}), 0.0, self.deliverer.judge_mirror)

    def _deliver(self) -> None:
        """Tells who wants to know."""
        look_after_alerts(self.deliverer, self._ending)

    def _back_up(self) -> None:
        """Makes and tries backups when they are due, each in a process of its own."""
        look_after_backups(self.home, self.database, self.settings.backup, self._ending)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="undercroft-control")
    parser.add_argument("--home", required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    home = Home(Path(given.home))
    try:
        home.prepare()
        asyncio.run(Control(home).run())
    except UndercroftError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
