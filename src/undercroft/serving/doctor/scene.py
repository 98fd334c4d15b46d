"""What the checks look at: one home, its settings, and the machine below a root folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from undercroft.core.environment import environment
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.hardware.detection import detect
from undercroft.hardware.machine import Machine
from undercroft.serving.keeper_client import ask, ask_control

_Made = TypeVar("_Made")


class _Once(Generic[_Made]):
    """Makes a thing when it is first asked for; who asks at the same time waits."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[_Made] = []

    def __call__(self) -> _Made:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


class Scene:
    """What the checks may look at. What costs much is looked at once for all of them.

    Args:
        home: Need not exist.
        settings: In force; the defaults where the real ones cannot be read.
        settings_error: Why the real ones cannot be read; None where they can.
        variables: The environment; None is this process's.
        root: Folder under which ``proc``, ``sys`` and ``dev`` lie.
        package_folders: Where installed Python packages are looked for; None is where this Python looks.
        machine: As detected; None detects it when it is first needed.
        patience_seconds: A check that takes longer is given up; a disk that hangs must not hang the doctor.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        settings_error: UndercroftError | None = None,
        variables: Mapping[str, str] | None = None,
        root: Path = Path("/"),
        package_folders: Sequence[str] | None = None,
        machine: Machine | None = None,
        patience_seconds: float = 2.0,
    ) -> None:
        self.home = home
        self.settings = settings
        self.settings_error = settings_error
        self.variables = environment() if variables is None else variables
        self.root = root
        self.package_folders = package_folders
        self.patience_seconds = patience_seconds
        self.machine: Callable[[], Machine] = _Once(lambda: machine or detect(home.root))
        self.keeper: Callable[[], dict[str, Any] | None] = _Once(lambda: ask(home, "status"))
        self.status: Callable[[], dict[str, Any] | None] = _Once(self._ask_status)

    def read(self, name: str) -> str:
        """A small file below the root, such as ``proc/swaps``; empty where it cannot be read."""
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def find(self, pattern: str) -> list[Path]:
        """Paths below the root that match, sorted; none where a folder cannot be read."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []

    def _ask_status(self) -> dict[str, Any] | None:
        if not self.home.control_socket.exists():
            return None
        return ask_control(self.home, "GET", "/internal/status", timeout_seconds=self.patience_seconds)
