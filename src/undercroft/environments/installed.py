"""What was installed: a folder a name, ``environments/NAME``, complete when its record is there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from undercroft.core.errors import UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.environments.recipes import EnvironmentRecipe

_RECORD = "environment.json"
_SOURCES = "sources"
_TEMPORARY = "temporary"


class State(StrEnum):
    """How it is with an environment."""

    ABSENT = "absent"
    BROKEN = "broken"  # an installation was cut off, or its Python is gone
    OUTDATED = "outdated"  # it was made of what an earlier Undercroft asked for
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an installed environment.

    Args:
        recipe_digest: Of what it was made.
        python: Version of its Python.
        packages: Package → version, all that pip put in.
        size_bytes: On disk.
        installed_at: ISO 8601, UTC.
    """

    recipe_digest: str
    python: str
    packages: dict[str, str]
    size_bytes: int
    installed_at: str


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder for an environment, whether or not something is in it.

    Args:
        folder: Its folder.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def sources(self) -> Path:
        """Where the unpacked parts of wheels lie."""
        return self.folder / _SOURCES

    @property
    def temporary(self) -> Path:
        """Where pip puts what it needs for a while: on the disk that has the room, and gone with what was cut off."""
        return self.folder / _TEMPORARY

    @property
    def log(self) -> Path:
        """What pip said; beside the folder, since it outlives a failed installation."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def lock(self) -> Path:
        """Held by whoever changes it."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    def record(self) -> Record | None:
        """None where it is not complete."""
        try:
            return Record(**json.loads((self.folder / _RECORD).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def complete(self, record: Record) -> None:
        """Says that it is whole; the last thing that an installation does.

        Raises:
            OSError: The disk is full.
        """
        write_atomically(self.folder / _RECORD, json.dumps(asdict(record), indent=1).encode() + b"\n")

    def state(self, recipe: EnvironmentRecipe) -> State:
        """How it is."""
        if not self.folder.exists():
            return State.ABSENT
        record = self.record()
        if record is None or not self.python.exists():
            return State.BROKEN
        return State.READY if record.recipe_digest == recipe.digest() else State.OUTDATED


def environment_of(home: Home, name: str) -> Environment:
    """The place of an environment."""
    return Environment(home.environments / name)


def needed(home: Home, recipe: EnvironmentRecipe) -> Environment:
    """An environment that something is about to use.

    Raises:
        UnavailableError: ``no-environment``: it is not installed, or not whole, or of an earlier version.
    """
    environment = environment_of(home, recipe.name)
    state = environment.state(recipe)
    if state is State.READY:
        return environment
    reason = {
        State.ABSENT: "is not installed",
        State.BROKEN: "is not whole: its installation was cut off, or its Python is gone",
        State.OUTDATED: "is of an earlier version of Undercroft",
    }[state]
    raise UnavailableError(
        "no-environment",
        f"the environment {recipe.name!r} {reason}; it takes about {recipe.size_mb:,} MB",
        hint=f"undercroft engine install {recipe.name}",
    )
