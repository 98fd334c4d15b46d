"""What a started replica leaves in its folder, so that a later control process finds it again.

run/engines/rep_k3v9x0ap2m7q/   mode 0700
    engine.json   the record        0600
    key           what it asks for  0600
    engine.sock   where it listens
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import time
from pathlib import Path

import psutil

from undercroft.core.files import write_atomically
from undercroft.engines.contract import EngineRecord

RECORD_FILE = "engine.json"

# A warden that writes its last word while the folder is removed makes one attempt fail.
_REMOVE_ATTEMPTS = 3

# Between two programs of one process (``execve``) the kernel shows no command line for less than a millisecond.
_COMMAND_LINE_ATTEMPTS = 20
_COMMAND_LINE_PAUSE_SECONDS = 0.005


def write(record: EngineRecord, run_dir: Path) -> None:
    """Keeps a record.

    Raises:
        OSError: The folder is gone or the disk is full.
    """
    write_atomically(run_dir / RECORD_FILE, json.dumps(record.to_dict(), indent=1).encode() + b"\n")


def read(run_dir: Path) -> EngineRecord | None:
    """The record in a replica's folder; None where there is none that can be read."""
    try:
        data = json.loads((run_dir / RECORD_FILE).read_bytes())
        known = {field.name for field in dataclasses.fields(EngineRecord)}
        return EngineRecord(**{name: value for name, value in data.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def list_all(engines: Path) -> list[EngineRecord]:
    """Every record below `Home.engines`, oldest first."""
    found = (read(folder) for folder in _folders(engines))
    return sorted((record for record in found if record is not None), key=lambda record: record.started_at)


def is_adoptable(record: EngineRecord) -> bool:
    """Whether a record may be trusted: the process is the one that was started and ours, its folder closed to others.

    An ``external`` record has no process; it is always taken.
    """
    process = record.process
    if process is None:
        return record.pid is None
    try:
        folder = os.stat(record.run_dir or "")
        running = psutil.Process(process.pid)
        is_same = process.is_alive() and any(record.replica_id in word for word in _command_line(running))
        return (
            is_same
            and running.uids().real == os.getuid()
            and folder.st_uid == os.getuid()
            and stat.S_IMODE(folder.st_mode) & 0o077 == 0
        )
    except (OSError, psutil.Error):
        return False


def _command_line(process: psutil.Process) -> list[str]:
    """A process's words; asked again where it has none, as for a moment while the launcher becomes the engine."""
    for _ in range(_COMMAND_LINE_ATTEMPTS):
        if words := process.cmdline():
            return words
        time.sleep(_COMMAND_LINE_PAUSE_SECONDS)
    return []


def remove(run_dir: Path) -> None:
    """Removes a replica's folder; does nothing where it is gone."""
    for _ in range(_REMOVE_ATTEMPTS):
        shutil.rmtree(run_dir, ignore_errors=True)
        if not run_dir.exists():
            return


def remove_broken(engines: Path) -> list[str]:
    """Removes the folders of starts that were cut off before their record was written; returns their names.

    Only for a control process that begins: a start that is under way looks the same.
    """
    leftovers = [folder for folder in _folders(engines) if read(folder) is None]
    for folder in leftovers:
        remove(folder)
    return [folder.name for folder in leftovers]


def _folders(engines: Path) -> list[Path]:
    try:
        return sorted(entry for entry in engines.iterdir() if entry.is_dir() and not entry.is_symlink())
    except FileNotFoundError:
        return []
