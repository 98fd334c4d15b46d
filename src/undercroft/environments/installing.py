"""Makes an environment: venv, pip, parts of wheels, a proof, and only then the record that says it is there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO

from packaging.specifiers import SpecifierSet

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.environment import installer_environment
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.files import make_folder
from undercroft.core.home import Home
from undercroft.core.processes import die_with_parent
from undercroft.core.units import format_bytes
from undercroft.environments.installed import Environment, Record, State, environment_of
from undercroft.environments.recipes import EnvironmentRecipe, SourceWheel
from undercroft.storage import journal
from undercroft.storage.blobs import explain_disk_full
from undercroft.storage.database import Database

# Wheels are unpacked while pip still holds its downloads.
_ROOM = 1.6
_MB = 1_000_000
_TOLD_LINES = 12
_READ_BYTES = 1024 * 1024

Say = Callable[[str], None]


def install(
    home: Home,
    database: Database,
    recipe: EnvironmentRecipe,
    *,
    actor: str,
    pip_arguments: Sequence[str] = (),
    reason: str | None = None,
    say: Say = lambda text: None,
) -> Environment:
    """Makes an environment anew, whatever was there; nothing else on the machine changes.

    Args:
        pip_arguments: For pip, beside its own settings: ``--index-url`` and the like.
        say: Told each step and each line of pip's.

    Raises:
        InvalidError: This Python is too old or too new for it.
        ConflictError: Somebody else installs it now.
        UnavailableError: No room, pip failed, a wheel is not the one that was tried, or the proof failed.
    """
    _check_python(recipe)
    make_folder(home.environments, mode=0o700)
    environment = environment_of(home, recipe.name)
    with _locked(environment):
        _check_room(home, recipe)
        before = environment.record()
        _clear(environment)
        try:
            _make(environment, recipe, pip_arguments, say)
            record = _recorded(environment, recipe)
            environment.complete(record)
        except OSError as error:
            _clear(environment)
            raise explain_disk_full(error, what=f"the environment {recipe.name!r}") or error from error
        except BaseException:
            _clear(environment)
            raise
        with database.write() as connection:
            journal.record(
                connection,
                actor=actor,
                action="environment.install",
                subject=recipe.name,
                before=_told(before),
                after=_told(record),
                reason=reason,
            )
    return environment


def remove(home: Home, database: Database, recipe: EnvironmentRecipe, *, actor: str, reason: str | None = None) -> int:
    """Removes an environment.

    Returns:
        Bytes that it had, as counted when it was made; 0 where nothing whole was there.

    Raises:
        ConflictError: Somebody installs it now.
    """
    environment = environment_of(home, recipe.name)
    if environment.state(recipe) is State.ABSENT:
        return 0
    with _locked(environment):
        record = environment.record()
        _clear(environment)
        environment.log.unlink(missing_ok=True)
        with database.write() as connection:
            journal.record(
                connection,
                actor=actor,
                action="environment.remove",
                subject=recipe.name,
                before=_told(record),
                reason=reason,
            )
    return record.size_bytes if record else 0


def _check_python(recipe: EnvironmentRecipe) -> None:
    here = ".".join(map(str, sys.version_info[:3]))
    if here not in SpecifierSet(recipe.python):
        raise InvalidError(
            "wrong-python",
            f"the environment {recipe.name!r} needs Python {recipe.python}, this is {here}",
            hint="run undercroft with such a Python",
        )


def _check_room(home: Home, recipe: EnvironmentRecipe) -> None:
    wanted, free = int(recipe.size_mb * _MB * _ROOM), shutil.disk_usage(home.environments).free
    if free < wanted:
        raise UnavailableError(
            "disk-full",
            f"the environment {recipe.name!r} needs {format_bytes(wanted)} while it is made, "
            f"{format_bytes(free)} are free below {home.environments}",
            hint="make room on that disk",
        )


@contextlib.contextmanager
def _locked(environment: Environment) -> Iterator[None]:
    descriptor = os.open(environment.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "is-being-installed",
                f"another process changes the environment {environment.folder.name!r} now",
                hint="wait until it is done: undercroft engine list",
            ) from error
        yield
    finally:
        os.close(descriptor)


def _clear(environment: Environment) -> None:
    """Removes it; the record goes first, so that a half removed one never looks whole."""
    if environment.folder.exists():
        for record in environment.folder.glob("*.json"):
            record.unlink()
        shutil.rmtree(environment.folder)


def _make(environment: Environment, recipe: EnvironmentRecipe, pip_arguments: Sequence[str], say: Say) -> None:
    environment.temporary.mkdir(parents=True)
    with open(environment.log, "wb") as log:
        say("making the environment")
        _run([sys.executable, "-m", "venv", str(environment.folder)], recipe, environment, log, say)
        say(f"installing {len(recipe.requirements)} packages and what they need")
        pip = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "install", *pip_arguments, *recipe.requirements], recipe, environment, log, say)
        if recipe.dropped:
            say(f"removing {', '.join(recipe.dropped)}")
            _run([*pip, "uninstall", "--yes", *recipe.dropped], recipe, environment, log, say)
        for source in recipe.sources:
            say(f"taking a part of {source.package} {source.version}")
            _take(source, pip, recipe, environment, log, pip_arguments, say)
        say("trying it")
        _run([str(environment.python), "-P", "-c", recipe.proof], recipe, environment, log, say)
    shutil.rmtree(environment.temporary)


def _take(
    source: SourceWheel,
    pip: Sequence[str],
    recipe: EnvironmentRecipe,
    environment: Environment,
    log: IO[bytes],
    pip_arguments: Sequence[str],
    say: Say,
) -> None:
    folder = environment.folder / "downloads"
    wanted = f"{source.package}=={source.version}"
    command = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), *pip_arguments, wanted]
    _run(command, recipe, environment, log, say)
    (wheel,) = folder.glob("*.whl")
    with open(wheel, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise UnavailableError(
            "wrong-digest",
            f"the index gave another {wanted} than the one that was tried: expected {source.sha256}, got {digest}",
            hint="use the official index, or a mirror that copies it unchanged",
        )
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = source.wanted(member.filename)
            if path is not None:
                target = environment.sources / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, open(target, "wb") as out:
                    shutil.copyfileobj(content, out, _READ_BYTES)
    shutil.rmtree(folder)


def _run(command: Sequence[str], recipe: EnvironmentRecipe, environment: Environment, log: IO[bytes], say: Say) -> None:
    """Runs a program to its end, its output into the log; an interrupt ends it too."""
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**installer_environment(), "TMPDIR": str(environment.temporary)},
        cwd=environment.folder.parent,
        preexec_fn=partial(die_with_parent, os.getpid()),
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            log.write(raw)
            line = raw.decode(errors="replace").rstrip()
            last = [*last, line][-_TOLD_LINES:]
            say(line)
    log.flush()
    if process.returncode != 0:
        told = "\n  ".join(line for line in last if line.strip())
        raise UnavailableError(
            "not-installed",
            f"the environment {recipe.name!r} could not be made:\n  {told or 'it said nothing'}",
            hint=f"read {environment.log}; is the package index reachable?",
        )


def _recorded(environment: Environment, recipe: EnvironmentRecipe) -> Record:
    command = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = subprocess.run(command, capture_output=True, check=True, env=installer_environment())
    size = sum(path.lstat().st_size for path in environment.folder.rglob("*") if not path.is_dir())
    return Record(
        recipe_digest=recipe.digest(),
        python=".".join(map(str, sys.version_info[:3])),
        packages={one["name"]: one["version"] for one in json.loads(listed.stdout)},
        size_bytes=size,
        installed_at=to_iso(utc_now()),
    )


def _told(record: Record | None) -> dict[str, object] | None:
    return None if record is None else {"python": record.python, "packages": record.packages}
