"""Servers for end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the starter model, for all tests of a module that leave it as it was."""
    made = Server(tmp_path_factory.mktemp("shared") / "home")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet, for one test that may break it."""
    made = Server(tmp_path / "home")
    try:
        yield made
    finally:
        made.down()
