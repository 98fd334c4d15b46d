"""Recordings of what vendors' tools print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "recordings"


@pytest.fixture
def recording() -> Callable[[str], str]:
    """The text of a recording, by its file name."""
    return lambda name: (FOLDER / name).read_text(encoding="utf-8")
