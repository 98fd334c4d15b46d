"""What a backup takes, the first and the second, and a restore, beside restic with the same home.

    python -m benchmarks.backup [--json] [--quick]

Both are commands of their own, encrypt, and write into a folder on the same disk, in turns. Between the first and the
second backup one API key is made. restic does not care for the database that may be written; ours copies it first, and
compares the digest of every file when it restores. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reporting import Report, arguments, divided, median
from undercroft.core.home import Home
from undercroft.recovery.keys import make_key_file
from undercroft.registry.models import add_local
from undercroft.storage.database import Database

TITLE = "backup: first, second and restore, beside restic"

_SIZE_BYTES, _QUICK_SIZE_BYTES = 2_000_000_000, 300_000_000
_ROUNDS, _QUICK_ROUNDS = 3, 1
_FIGURES = ("first_seconds", "second_seconds", "second_bytes", "restore_seconds")
_COMMAND = Path(sys.executable).with_name("undercroft")


class _Side:
    """One program, its store, and what came out so far.

    Args:
        folder: Everything of it lies there.
        environment: Of its commands.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.found: dict[str, list[float]] = {name: [] for name in _FIGURES}

    def run(self, *command: str | Path) -> float:
        """One command to its end; seconds."""
        begun = time.perf_counter()
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        return time.perf_counter() - begun

    def stored_bytes(self) -> int:
        """What the store takes."""
        return sum(path.lstat().st_size for path in (self.folder / "store").rglob("*") if path.is_file())

    def keep(self, first: float, second: float, second_bytes: int, restore: float) -> None:
        """Keeps one round."""
        for name, value in zip(_FIGURES, (first, second, second_bytes, restore), strict=True):
            self.found[name].append(value)


def _make_home(folder: Path, size_bytes: int) -> Home:
    model = folder / "model.gguf"
    importlib.import_module("benchmarks.import").write_model(model, size_bytes)
    home = Home(folder / "home")
    home.prepare()
    database = Database(home.database_file)
    try:
        add_local(database, home, model, name="m", actor="benchmark")
    finally:
        database.close()
    os.sync()
    return home


def _change(environment: dict[str, str]) -> None:
    subprocess.run([_COMMAND, "key", "create", "one"], env=environment, check=True, capture_output=True)


def _round(ours: _Side, theirs: _Side | None, home: Home) -> None:
    """Both make a first backup, the home changes a little, both make a second one, both restore."""
    store, target, key = ours.folder / "store", ours.folder / "restored", ours.folder / "key"
    create = (_COMMAND, "backup", "create", "--to", store, "--key-file", key)
    restic = ("restic", "--quiet", "--repo", theirs.folder / "store") if theirs is not None else ()
    first = ours.run(*create)
    if theirs is not None:
        theirs.run(*restic, "init")
        their_first = theirs.run(*restic, "backup", home.root)
    _change(ours.environment)
    before = ours.stored_bytes()
    second = ours.run(*create)
    added = ours.stored_bytes() - before
    restore = (_COMMAND, "backup", "restore", "latest", "--from", store, "--key-file", key, "--into", target)
    if theirs is not None:
        their_before = theirs.stored_bytes()
        their_second = theirs.run(*restic, "backup", home.root)
        their_added = theirs.stored_bytes() - their_before
        their_restore = theirs.run(*restic, "restore", "latest", "--target", theirs.folder / "restored")
        theirs.keep(their_first, their_second, their_added, their_restore)
    ours.keep(first, second, added, ours.run(*restore))
    for side in (ours, theirs):
        if side is not None:
            shutil.rmtree(side.folder / "store")
            shutil.rmtree(side.folder / "restored")


def measure(folder: Path, size_bytes: int, rounds: int) -> Report:
    """Takes turns, and compares what the middle round took."""
    home = _make_home(folder, size_bytes)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "UNDERCROFT_HOME": str(home.root)}
    has_restic = shutil.which("restic") is not None
    names = ("undercroft", "restic") if has_restic else ("undercroft",)
    for name in names:
        (folder / name).mkdir()
    ours = _Side(folder / "undercroft", environment)
    make_key_file(ours.folder / "key")
    theirs = _Side(folder / "restic", {**environment, "RESTIC_PASSWORD": "benchmark"}) if has_restic else None
    for _ in range(rounds):
        _round(ours, theirs, home)
    return _report(size_bytes, ours, theirs)


def _report(size_bytes: int, ours: _Side, theirs: _Side | None) -> Report:
    report = Report(TITLE)
    report.figures["model_bytes"] = size_bytes
    report.figures |= {name: median(values) for name, values in ours.found.items()}
    if theirs is None:
        report.missing("restic", "it is not installed")
    else:
        report.peers["restic"] = {name: median(values) for name, values in theirs.found.items()}
        for name in _FIGURES:
            report.ratios[f"{name}_vs_restic"] = divided(median(ours.found[name]), median(theirs.found[name]))
    report.at_most("second_to_first_seconds", _ratio(ours, "second_seconds", "first_seconds"), 1.0)
    report.at_most("second_bytes_to_model", divided(median(ours.found["second_bytes"]), size_bytes), 0.01)
    return report


def _ratio(side: _Side, name: str, by: str) -> float | None:
    return divided(median(side.found[name]), median(side.found[by]))


def main() -> None:
    """Reads the command line, measures, reports."""
    given = arguments(TITLE)
    size = _QUICK_SIZE_BYTES if given.quick else _SIZE_BYTES
    with tempfile.TemporaryDirectory(prefix="undercroft-backup-", dir=os.environ.get("TMPDIR")) as folder:
        report = measure(Path(folder), size, _QUICK_ROUNDS if given.quick else _ROUNDS)
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
