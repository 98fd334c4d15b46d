"""A machine in a folder: the files that a kernel would show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.hardware.machine import HostMemory, Machine, Processor
from undercroft.serving.doctor.scene import Scene

GIB = 1024**3

PROCESSOR = Processor("AMD EPYC 9354", "x86_64", 8, 16, frozenset({"avx", "avx2", "fma", "f16c"}))
MEMORY = HostMemory(32 * GIB, 20 * GIB, 32 * GIB, None, 0)


def plain_machine() -> Machine:
    """Eight cores, 32 GiB, no GPU, nothing wrong."""
    return Machine(processor=PROCESSOR, memory=MEMORY, disks=(), accelerators=())


@pytest.fixture
def made_scene(tmp_path: Path) -> Callable[..., Scene]:
    """Makes a scene from files: ``made_scene({"proc/swaps": "…"}, variables={…})``."""

    def make(files: dict[str, str] | None = None, **options: object) -> Scene:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        given = {
            "variables": {},
            "machine": plain_machine(),
            "settings": Settings(),
            "patience_seconds": 60.0,
            **options,
        }
        return Scene(Home(tmp_path / "home"), root=root, **given)  # type: ignore[arg-type]

    return make
