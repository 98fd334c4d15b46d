"""A home without a server, and the installed command in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.server import COMMAND


class Cellar:
    """One home with the variables around it.

    Args:
        folder: Where the home and the user's own folder are made.
        noun: First word of every command; none gives whole commands.
        variables: More of the environment.
    """

    def __init__(self, folder: Path, *noun: str, **variables: str) -> None:
        self.home = folder / "home"
        self.user_home = folder / "user"
        self.user_home.mkdir(exist_ok=True)
        self._noun = noun
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": os.environ["TMPDIR"],
            "HOME": str(self.user_home),
            "UNDERCROFT_HOME": str(self.home),
            "COLUMNS": "80",
            # Where this machine gets packages from, and keeps them: environments are installed from there.
            **{name: text for name, text in os.environ.items() if name.startswith("PIP_")},
            **variables,
        }

    def start(self, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """A command that goes on."""
        return subprocess.Popen(
            [COMMAND, *self._noun, *arguments],
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, expected: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command to its end.

        Args:
            arguments: After the noun.
            expected: Its exit status.
            given: What it reads.
        """
        process = self.start(*arguments, stdin=subprocess.PIPE)
        try:
            out, err = process.communicate(given)
        finally:  # the test's own limit ends one that does not end
            process.kill()
            process.wait()
        assert process.returncode == expected, out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def blobs(self) -> list[Path]:
        """Stored files."""
        return [path for path in (self.home / "blobs" / "sha256").rglob("*") if path.is_file()]

    def partial_bytes(self) -> int:
        """What imports have in quarantine so far."""
        return sum(path.stat().st_size for path in (self.home / "quarantine").rglob("*") if path.is_file())
