"""The Python that runs us, the command that a shell finds, and the settings."""

from __future__ import annotations

import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from undercroft.core.errors import UndercroftError
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

_OLDEST = (3, 11)


def judge_python(version: tuple[int, int], bits: int, description: str) -> Verdict:
    """Whether this Python can run us for long."""
    if version < _OLDEST:
        saw = f"Python {version[0]}.{version[1]} is too old: 3.11 is the oldest"
        return fail(saw, "python3.12 -m venv .venv && .venv/bin/pip install undercroft")
    if bits < 64:
        saw = f"this is a {bits}-bit Python"
        why = "Models above 2 GiB cannot be mapped, and there is no engine for it."
        return fail(saw, "install a 64-bit system and Python", why=why)
    return fine(description)


def judge_command(commands: Sequence[str], own: str, variables: Mapping[str, str], prefix: str) -> list[Verdict]:
    """Whether a shell finds this installation, and not another one.

    Args:
        commands: Every ``undercroft`` on PATH, real paths, in the order in which a shell finds them.
        own: Real path of the one that belongs to this Python.
        variables: The environment.
        prefix: Of this Python.
    """
    verdicts = []
    if commands and commands[0] != own:
        saw = f"a shell finds {commands[0]} first; this is {own}"
        verdicts.append(warn(saw, f"export PATH={Path(own).parent}:$PATH; hash -r"))
    active = variables.get("VIRTUAL_ENV", "")
    if active and Path(active).resolve() != Path(prefix).resolve():
        saw = f"the virtual environment {active} is active; this runs from {prefix}"
        verdicts.append(warn(saw, f"deactivate; . {prefix}/bin/activate"))
    if variables.get("PYTHONPATH"):
        saw = f"PYTHONPATH is {variables['PYTHONPATH']!r}"
        why = "Packages in it come before those that were installed with us, whatever their version."
        verdicts.append(warn(saw, "unset PYTHONPATH", why=why))
    return verdicts or [
        fine("a shell finds this installation" if commands else "not on PATH; started by its full path")
    ]


def judge_settings(error: UndercroftError | None) -> Verdict:
    """Whether the settings can be read."""
    if error is None:
        return fine("all of them can be read")
    return fail(" ".join(error.message.split()), error.hint or "undercroft config show")


def find_commands(variables: Mapping[str, str], name: str = "undercroft") -> list[str]:
    """Every program of a name on PATH, as real paths, in the order in which a shell finds them."""
    folders = [folder for folder in variables.get("PATH", "").split(os.pathsep) if folder]
    paths = [Path(folder, name) for folder in folders]
    found = [str(path.resolve()) for path in paths if path.is_file() and os.access(path, os.X_OK)]
    return list(dict.fromkeys(found))


def _look_at_command(scene: Scene) -> list[Verdict]:
    own = Path(sysconfig.get_path("scripts"), "undercroft").resolve()
    return judge_command(find_commands(scene.variables), str(own), scene.variables, sys.prefix)


def _look_at_python(_scene: Scene) -> Verdict:
    description = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    return judge_python((sys.version_info.major, sys.version_info.minor), 8 * struct.calcsize("P"), description)


CHECKS = (
    Check(
        "system",
        "the Python that runs us: version, 64 bits",
        "It does not run, or not for long.",
        _look_at_python,
    ),
    Check(
        "command",
        "another `undercroft` earlier on `PATH`, another virtual environment that is active, `PYTHONPATH`",
        "You change one installation and run another one.",
        _look_at_command,
    ),
    Check(
        "settings",
        "the settings file and the `UNDERCROFT_*` variables",
        "No command works but this one, which goes on with the defaults.",
        lambda scene: judge_settings(scene.settings_error),
    ),
)
