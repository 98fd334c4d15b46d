"""Cellars with an encrypted and with a clear store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backups import KEY, Cellar


@pytest.fixture(params=["encrypted", "clear"])
def cellar(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cellar]:
    """One with a model, of either kind."""
    made = Cellar(tmp_path, KEY if request.param == "encrypted" else None)
    made.add_model()
    yield made
    made.database.close()


@pytest.fixture
def sealed_cellar(tmp_path: Path) -> Iterator[Cellar]:
    """One with a model and an encrypted store."""
    made = Cellar(tmp_path, KEY)
    made.add_model()
    yield made
    made.database.close()
