"""A home of its own for tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from undercroft.core.home import Home
from undercroft.storage.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty installation."""
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    """Its database."""
    opened = Database(home.database_file)
    yield opened
    opened.close()
