"""What serves a name, and how long its answers may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.storage.database import Database
from undercroft.watch.probes.served import answer_limit, prompt_variables, served_release


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


def test_variables_are_those_of_the_release_that_serves(database: Database) -> None:
    """With their own values; None where a request has to give one, none where there is no prompt or no release."""
    prompt = {"system": "{{shop}}, be {{tone}}", "variables": {"shop": None, "tone": "brief"}}
    content = {"engine": "external", "settings": {"url": "http://127.0.0.1:9"}, "prompt": prompt}
    with database.write() as connection:
        store.create(connection, "bot", check_content(content), actor="cli:me", reason=None)
        assert prompt_variables(connection, "bot@3") == {"shop": None, "tone": "brief"}
        assert [prompt_variables(connection, name) for name in ("bot", "bot@9", "other")] == [{}, {}, {}]
