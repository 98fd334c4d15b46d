"""The server and its standard questions: a process for each run that is due, one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import structlog

from undercroft.core.clock import utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.storage.database import Database
from undercroft.watch.probes.history import ENDED_WITH_SERVER, begin_run, break_off, last_due
from undercroft.watch.probes.probe_files import Probe, load_probe, probe_file, probe_names
from undercroft.watch.probes.schedule import missed_due, next_due, spread

_log = structlog.get_logger("probes")

_FIRST_LOOK_SECONDS = 2.0
_LOOK_SECONDS = 10.0
_POLL_SECONDS = 0.2


def look_after_probes(home: Home, database: Database, ending: threading.Event) -> None:
    """Until the server ends, which ends a run: the rows that it has written stay.

    Args:
        home: Of the server.
        database: Of the home.
        ending: Set when the server ends.
    """
    told: dict[str, str] = {}
    wait_seconds = _FIRST_LOOK_SECONDS
    is_first = True
    while not ending.wait(wait_seconds):
        wait_seconds = _LOOK_SECONDS
        try:
            if is_first:
                break_off(database, utc_now(), ENDED_WITH_SERVER)
                is_first = False
            for name in probe_names(home):
                _look(home, database, name, ending, told)
        except (UndercroftError, OSError) as error:
            _log.error("probes failed", error=str(error))


def next_start(name: str, probe: Probe, since: datetime) -> datetime | None:
    """When a probe's next run begins, which may have passed; None for a probe without a schedule.

    Args:
        name: Of the probe.
        probe: With its schedule.
        since: The time of the schedule that had the last run, or since when the file is there.
    """
    if probe.schedule is None:
        return None
    first = next_due(probe.schedule, probe.time_zone, since)
    return first + spread(name, first, probe.jitter_minutes)


def owed_since(home: Home, database: Database, name: str) -> datetime:
    """From when on a probe's times count: the last that had a run, or when the file was written.

    Raises:
        OSError: The file went away.
    """
    with database.read() as connection:
        found = last_due(connection, name)
    return found or datetime.fromtimestamp(probe_file(home, name).stat().st_mtime, UTC)


def _look(home: Home, database: Database, name: str, ending: threading.Event, told: dict[str, str]) -> None:
    try:
        probe = load_probe(home, name)
    except UndercroftError as error:
        if told.get(name) != str(error):
            _log.error("probe cannot be used", probe=name, error=str(error))
        told[name] = str(error)
        return
    told.pop(name, None)
    since, now = owed_since(home, database, name), utc_now()
    start = next_start(name, probe, since)
    if probe.schedule is None or start is None or start > now or ending.is_set():
        return
    due = missed_due(probe.schedule, probe.time_zone, since, now)
    run_id = begin_run(database, name, due, now) if due is not None else None
    if run_id is not None:
        _run(home, database, name, run_id, ending)


def _run(home: Home, database: Database, name: str, run_id: int, ending: threading.Event) -> None:
    command = [sys.executable, "-P", "-m", "undercroft.watch.probes.scheduled", "--home", str(home.root)]
    command += ["--probe", name, "--run", str(run_id), "--parent", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/")
    while process.poll() is None and not ending.wait(_POLL_SECONDS):
        continue
    if process.poll() is None:
        process.terminate()
        process.wait()
        break_off(database, utc_now(), ENDED_WITH_SERVER, run_id=run_id)
        return
    _log.info("probe ended", probe=name, status=process.returncode)
    if process.returncode != 0:
        how = f"by signal {-process.returncode}" if process.returncode < 0 else "early; control.log says why"
        break_off(database, utc_now(), f"its process ended {how}", run_id=run_id)
