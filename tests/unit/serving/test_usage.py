"""Usage: rows in batches, sums at once, ratings after the rows that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UnavailableError
from undercroft.serving.feedback import Feedback, Rated, Rating
from undercroft.serving.usage import UsageLog
from undercroft.storage.database import Database
from undercroft.storage.tables import usage


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    yield opened
    opened.close()


def row(**changes: Any) -> dict[str, Any]:
    return {
        "at": to_iso(utc_now()),
        "request_id": "r",
        "key_id": "key_a",
        "deployment": "bot",
        "replica": "rep_a",
        "route": "chat",
        "status": 200,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "queue_seconds": 0.0,
        "first_token_seconds": None,
        "total_seconds": 0.1,
        **changes,
    }


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(usage)).scalar_one())


def test_everything_added_is_written_by_the_end(database: Database) -> None:
    """More rows than one batch holds, none lost."""
    log = UsageLog(database, retention_days=30)
    log.begin()
    log.add(row() for _ in range(2500))
    log.end()
    assert count(database) == 2500
    assert log.dropped_rows == 0


def test_sums_are_there_at_once_and_survive_a_restart(database: Database) -> None:
    """Requests, errors and tokens by deployment; a later log begins with what was written."""
    log = UsageLog(database, retention_days=30)
    log.begin()
    log.add([row(), row(status=503), row(status=429), row(deployment="other")])
    sums = log.totals()["bot"]
    assert (sums["requests"], sums["errors"], sums["completion_tokens"]) == (3, 1, 15)
    assert sums["tokens_per_second"] == 0.25
    log.end()
    later = UsageLog(database, retention_days=30)
    later.begin()
    assert later.totals()["bot"]["requests"] == 3
    later.end()


def test_unknown_tokens_are_kept_as_unknown(database: Database) -> None:
    """A client that went away before the engine told of tokens is a row without numbers, which adds nothing."""
    log = UsageLog(database, retention_days=30)
    log.begin()
    log.add([row(status=499, prompt_tokens=None, completion_tokens=None)])
    assert log.totals()["bot"]["prompt_tokens"] == 0
    log.end()
    with database.read() as connection:
        assert connection.execute(select(usage.c.prompt_tokens)).scalar_one() is None
    later = UsageLog(database, retention_days=30)
    later.begin()
    assert (later.totals()["bot"]["requests"], later.totals()["bot"]["completion_tokens"]) == (1, 0)
    later.end()


def test_old_rows_are_dropped(database: Database) -> None:
    """Rows older than the retention go."""
    with database.write() as connection:
        connection.execute(insert(usage), [row(at=to_iso(utc_now() - timedelta(days=31))), row()])
    log = UsageLog(database, retention_days=30)
    log.begin()
    log.end()
    assert count(database) == 1


def test_a_rating_finds_the_row_that_came_just_before_it(database: Database) -> None:
    """However many rows are still to be written; what nobody asked is told apart."""
    log = UsageLog(database, retention_days=30)
    log.add([row(request_id="r1", release=7), *(row() for _ in range(25_000))])
    known = log.rate(Feedback("r1", "key_a", Rating.BAD))
    unknown = log.rate(Feedback("r2", "key_a", Rating.BAD))
    log.begin()
    log.end()
    assert known.result(0) == Rated("bot", 7)
    assert unknown.result(0) is None
    with database.read() as connection:
        assert connection.execute(select(usage.c.rating).where(usage.c.request_id == "r1")).scalar_one() == "bad"


def test_a_request_that_is_older_than_the_retention_is_not_rated(database: Database) -> None:
    """Also where its row has not been dropped yet."""
    log = UsageLog(database, retention_days=30)
    log.begin()
    log.add([row(request_id="r1", at=to_iso(utc_now() - timedelta(days=31)))])
    assert log.rate(Feedback("r1", "key_a", Rating.BAD)).result(30) is None
    log.end()


def test_whoever_rates_is_told_where_it_cannot_be_kept(database: Database) -> None:
    """An error instead of a rating that is lost in silence; the writer goes on."""
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE usage RENAME TO elsewhere")
        connection.exec_driver_sql("CREATE TABLE usage (id INTEGER PRIMARY KEY, at TEXT, deployment TEXT)")
    log = UsageLog(database, retention_days=30)
    promised = log.rate(Feedback("r1", "key_a", Rating.BAD))
    log._thread.start()
    with pytest.raises(UnavailableError, match="cannot use the database"):
        promised.result(30)
    log.end()
