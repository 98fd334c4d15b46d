"""Writes a home as today's code writes it into ``tests/vectors/homes``: every later version has to open it.

python -m tools.vectors                  writes schema-NNNN of today
python -m tools.vectors --into FOLDER    writes elsewhere

It gives the commands that a user gives; those that a version does not have yet are left out, so the same tool has made
the homes of past schemas with their own code: ``PYTHONPATH=OLD/src python tools/vectors.py --into FOLDER``. Rows that
only a running server writes (usage, load times, runs of probes) are put in as plain SQL where their table is there,
without the columns that it does not have.
Stored files are not kept: a home stays small, and what a later version has to open is its database.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOMES = ROOT / "tests" / "vectors" / "homes"
_KEPT = ("undercroft.db", "config.toml", "signing.key", "checkpoints")
_CONFIG = "[registry]\nscrub_days = 3\n"
_AT = "2026-11-21T12:00:00.000Z"

# In order; one whose first two words a version does not know is left out.
_COMMANDS = (
    ("model", "pull", "{model}", "--name", "tiny"),
    ("model", "pull", "{model}", "--name", "spare"),
    ("deployment", "create", "tiny", "--name", "support"),
    ("deployment", "create", "--name", "far", "--engine", "external", "--url", "http://127.0.0.1:9/base"),
    ("key", "create", "anna", "--model", "support"),
    ("key", "create", "ops", "--admin"),
    ("licence", "accept", "gemma"),
    ("release", "create", "support", "--model", "tiny", "--system", "Answer briefly.", "--because", "first"),
    ("release", "create", "support", "--from", "support@1", "--sampling", "temperature=0"),
    ("release", "tag", "support@2", "good"),
    ("journal", "checkpoint"),
)
_ROWS = {
    "usage": {
        "at": _AT,
        "request_id": "req_1",
        "key_id": "key_1",
        "deployment": "support",
        "route": "chat",
        "status": 200,
        "prompt_tokens": 7,
        "completion_tokens": 9,
        "queue_seconds": 0.01,
        "first_token_seconds": 0.2,
        "total_seconds": 1.5,
        "rating": "good",
        "rated_at": _AT,
    },
    "load_times": {
        "at": _AT,
        "deployment": "support",
        "load_seconds": 1.0,
        "warm_up_seconds": 0.5,
        "memory_bytes": 1_000_000,
    },
    "quarantined_requests": {"digest": "ab" * 32, "deployment": "support", "at": _AT, "reason": "killed two engines"},
    "measurements": {"at": _AT, "kind": "disk-read", "device": "home", "value": 1e9, "detail": "{}"},
    "probe_runs": {
        "probe": "support",
        "started_at": _AT,
        "finished_at": _AT,
        "release": "tiny",
        "asked": 5,
        "passed": 4,
        "note": "",
    },
    "known_settings": {"name": "registry.scrub_days", "value": "3", "digest": "sha256:" + "ab" * 32, "origin": "file"},
    "promotions": {
        "name": "support",
        "to_number": 1,
        "state": "done",
        "plan": "{}",
        "evidence": "{}",
        "note": "",
        "started_at": _AT,
        "changed_at": _AT,
        "actor": "cli:anna",
    },
    "jobs": {
        "id": "job_1",
        "kind": "quantize",
        "recipe": '{"from": "tiny", "to": "tiny-q8_0", "steps": [{"quantize": {"scheme": "Q8_0"}}]}',
        "parents": "[]",
        "result": "tiny-q8_0",
        "state": "failed",
        "step": 0,
        "attempts": 1,
        "created_at": _AT,
        "queued_at": _AT,
        "started_at": _AT,
        "ended_at": _AT,
        "actor": "cli:anna",
        "problem": '{"kind": "UnavailableError", "code": "disk-full", "message": "no room", "hint": null}',
        "note": "",
    },
}


def make_home(folder: Path, model: Path) -> None:
    """Fills a new home with everything that its version can keep.

    Args:
        folder: Does not exist.
        model: A small GGUF file.

    Raises:
        subprocess.CalledProcessError: A command that this version has failed.
    """
    folder.mkdir(mode=0o700)
    (folder / "config.toml").write_text(_CONFIG, encoding="utf-8")
    for command in _COMMANDS:
        if _is_known(folder, command[:2]):
            _run(folder, *(part.format(model=model) for part in command))
    with closing(sqlite3.connect(folder / "undercroft.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in sorted(tables & set(_ROWS)):
            columns = {column[1] for column in database.execute(f"PRAGMA table_info({table})")}
            row = {name: value for name, value in _ROWS[table].items() if name in columns}
            places = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values()))
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def schema_of(home: Path) -> str:
    """The revision of a home's database."""
    with closing(sqlite3.connect(home / "undercroft.db")) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def keep(home: Path, into: Path) -> Path:
    """Copies what a vector is made of to ``into/schema-NNNN``, replacing what was there."""
    target = into / f"schema-{schema_of(home)}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in _KEPT:
        source = home / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def _is_known(home: Path, words: tuple[str, ...]) -> bool:
    return _start(home, *words, "--help").returncode == 0


def _run(home: Path, *arguments: str) -> None:
    result = _start(home, *arguments)
    if result.returncode != 0:
        raise subprocess.CalledProcessError(result.returncode, arguments, result.stdout, result.stderr)


def _start(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "UNDERCROFT_HOME": str(home), "USER": "anna", "LOGNAME": "anna", "COLUMNS": "100"}
    code = "from undercroft.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=variables, capture_output=True, text=True, check=False
    )


def main() -> None:
    """Reads the command line and writes."""
    parser = argparse.ArgumentParser(prog="tools.vectors")
    parser.add_argument("--into", type=Path, default=HOMES)
    sys.path.insert(0, str(ROOT))
    from tests.support.ggufs import write_chat_model  # noqa: PLC0415  (needs the path of the repository)

    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        model = write_chat_model(folder / "tiny.gguf", licence="apache-2.0")
        make_home(folder / "home", model)
        print(keep(folder / "home", into))


if __name__ == "__main__":
    main()
