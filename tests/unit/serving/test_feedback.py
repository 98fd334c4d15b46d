"""Ratings of answers: which request is meant, whose answer it was, and what becomes of an earlier one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from tests.unit.serving.test_usage import row
from undercroft.serving.feedback import Feedback, Rated, Rating, Ratings, keep, ratings_since
from undercroft.storage.database import Database
from undercroft.storage.tables import usage

_LONG_AGO, _THEN, _NOW = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-02-02T00:00:00.000Z"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    yield opened
    opened.close()


def asked(database: Database, *rows: dict[str, Any]) -> None:
    """Requests that were answered, in this order."""
    with database.write() as connection:
        for one in rows:
            connection.execute(insert(usage), row(**{"at": _NOW, **one}))


def rate(database: Database, request_id: str, rating: Rating, *, key: str = "key_a") -> Rated | None:
    """What came of a rating, where requests before `_THEN` are forgotten."""
    with database.write() as connection:
        return keep(connection, Feedback(request_id, key, rating), since=_THEN)


def kept(database: Database) -> list[tuple[str, str | None, bool]]:
    """Request, rating, and whether it is known when it was rated; in the order of the requests."""
    query = select(usage.c.request_id, usage.c.rating, usage.c.rated_at.is_not(None)).order_by(usage.c.id)
    with database.read() as connection:
        return [tuple(found) for found in connection.execute(query)]  # type: ignore[misc]


def test_a_rating_is_of_the_release_that_answered(database: Database) -> None:
    """Nobody has to say which; a name without releases has none."""
    asked(database, {"request_id": "r1", "release": 7}, {"request_id": "r2"})
    assert rate(database, "r1", Rating.BAD) == Rated("bot", 7)
    assert rate(database, "r2", Rating.GOOD) == Rated("bot", None)
    assert kept(database) == [("r1", "bad", True), ("r2", "good", True)]


def test_a_later_rating_replaces_the_earlier(database: Database) -> None:
    """Who thinks again has one voice, not two."""
    asked(database, {"request_id": "r1"})
    rate(database, "r1", Rating.GOOD)
    rate(database, "r1", Rating.BAD)
    assert kept(database) == [("r1", "bad", True)]


@pytest.mark.parametrize(
    ("request_id", "key", "at"), [("r2", "key_a", _NOW), ("r1", "key_b", _NOW), ("r1", "key_a", _LONG_AGO)]
)
def test_what_the_key_did_not_ask_or_long_ago_is_not_known(
    database: Database, request_id: str, key: str, at: str
) -> None:
    """An id that nobody knows, one of another key, and one that is forgotten are the same to whoever rates."""
    asked(database, {"request_id": "r1", "at": at})
    assert rate(database, request_id, Rating.BAD, key=key) is None
    assert kept(database) == [("r1", None, False)]


def test_of_requests_with_the_same_id_the_newest_is_rated(database: Database) -> None:
    """A client may send the same id again; what it said of the earlier answer stays."""
    asked(database, {"request_id": "r1", "release": 1})
    rate(database, "r1", Rating.GOOD)
    asked(database, {"request_id": "r1", "release": 2}, {"request_id": "r1", "release": 3, "key_id": "key_b"})
    assert rate(database, "r1", Rating.BAD) == Rated("bot", 2)
    assert [rating for _, rating, _ in kept(database)] == ["good", "bad", None]


def test_ratings_are_counted_by_release(database: Database) -> None:
    """Of requests since a moment; what nobody rated is not counted."""
    wanted = [("r1", 1, Rating.BAD), ("r2", 1, Rating.GOOD), ("r3", 2, Rating.GOOD), ("r4", None, Rating.BAD)]
    asked(database, *({"request_id": name, "release": release} for name, release, _ in wanted))
    asked(database, {"request_id": "r5", "release": 1}, {"request_id": "r6", "release": 1, "at": _THEN})
    for name, _, rating in [*wanted, ("r6", 1, Rating.BAD)]:
        assert rate(database, name, rating) is not None
    with database.read() as connection:
        found = ratings_since(connection, _NOW)
    assert list(found) == [Ratings("bot", 1, 1), Ratings("bot@1", 1, 2), Ratings("bot@2", 0, 1)]


def test_a_long_history_is_not_read_for_it(database: Database) -> None:
    """Finding a request and counting ratings go by indexes made for it, however many requests there were."""
    said: list[str] = []
    with database.write() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_trace_callback(said.append)
        keep(connection, Feedback("r1", "key_a", Rating.BAD), since=_THEN)
        ratings_since(connection, _THEN)
        raw.set_trace_callback(None)
        found, counted = (str(raw.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()) for one in said if "SELECT" in one)
    assert "ix_usage_request_id" in found
    assert "ix_usage_rated" in counted
