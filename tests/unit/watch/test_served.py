"""What serves a name, and how long its answers may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.storage.database import Database
from undercroft.watch.probes.served import answer_limit, served_release


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """With two releases of ``bot``: the first sets a limit and is in production."""
    found = Database(tmp_path / "undercroft.db")
    with found.write() as connection:
        for limit in (7, None):
            settings = {"url": "http://127.0.0.1:9"}
            content = {"engine": "external", "settings": settings, "sampling": {"max_tokens": limit}}
            store.create(connection, "bot", check_content(content), actor="cli:me", reason=None)
        store.move_tags(connection, "bot", {"production": 1, "canary": 2})
    return found


@pytest.mark.parametrize(
    ("name", "release", "limit"),
    [
        ("bot", "bot@1", 7),
        ("bot@1", "bot@1", 7),
        ("bot@2", "bot@2", None),
        ("bot:canary", "bot@2", None),
        ("bot@9", "bot@9", None),
        ("other", "other", None),
    ],
)
def test_a_name_is_served_by_a_release_with_its_limit(
    database: Database, name: str, release: str, limit: int | None
) -> None:
    """By name, number or tag; a standard question that sets no limit is asked with the release's own."""
    with database.read() as connection:
        assert served_release(connection, name) == release
        assert answer_limit(connection, name) == limit
