"""Fixtures for engines as real processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Bench, bench


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="uc-") as folder:
        yield Path(folder)


@pytest.fixture
def fake(short_folder: Path) -> Iterator[Bench]:
    """llama.cpp through a binary that is a fake."""
    with bench("binary", short_folder) as made:
        yield made


@pytest.fixture
def wheel(short_folder: Path) -> Iterator[Bench]:
    """llama.cpp through the wheel."""
    with bench("wheel", short_folder) as made:
        yield made
