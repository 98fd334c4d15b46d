"""Environments that are really installed from the package index, once for all tests of a run that need them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.environments.installed import Environment, State, environment_of
from undercroft.environments.recipes import find
from undercroft.storage.database import Database


class Environments:
    """A home that nothing else is in; others get links to what is installed there.

    Args:
        folder: Of the home, whose environments stay as they are where they are whole.
    """

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)

    def installed(self, name: str) -> Environment:
        """One of them; installed now, where nobody has asked for it before: a quarter to two gigabytes, minutes."""
        found = environment_of(self._home, name)
        if found.state(find(name)) is not State.READY:
            self._home.prepare()
            database = Database(self._home.database_file)
            installing.install(self._home, database, find(name), actor="cli:test")
            database.close()
        return found

    def lend(self, home: Path, *names: str) -> Environment:
        """Puts some into a home; the first of them."""
        lent = [Environment(home / "environments" / name) for name in names]
        for name, one in zip(names, lent, strict=True):
            one.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            one.folder.symlink_to(self.installed(name).folder)
        return lent[0]


def publish(environment: Environment, program: str, *words: str, folder: Path) -> Path:
    """A small random model as its makers would publish it.

    Args:
        environment: Whose Python writes it.
        program: Of this folder, without ``.py``.
        words: That it is given before the folder.
        folder: To write to; made by the program.
    """
    command = [str(environment.python), str(Path(__file__).with_name(f"{program}.py")), *words, str(folder)]
    inherited = {**os.environ, "TMPDIR": str(folder.parent)}  # what torch leaves there is not the test's
    done = subprocess.run(command, env=inherited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder
