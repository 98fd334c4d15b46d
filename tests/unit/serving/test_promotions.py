"""Promotions and rollbacks: tags, deployment and journal change together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from tests.support.releases import add_model
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving import deployments, promotions
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import metadata

_PLAN = Plan.model_validate({})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """With three releases of ``bot``, none in production."""
    opened = Database(tmp_path / "undercroft.db")
    add_model(opened, "tiny", "0")
    with opened.write() as connection:
        for number in range(1, 4):
            content = check_content({"model": "tiny", "prompt": {"system": f"prompt {number}"}})
            store.create(connection, "bot", content, actor="cli:test", reason=None)
    yield opened
    opened.close()


def begin(connection: Connection, number: int, plan: Plan = _PLAN) -> Promotion:
    return promotions.begin(connection, store.get(connection, "bot", number), plan, actor="cli:test", reason="a try")


def finish(connection: Connection, number: int) -> None:
    promotions.end(connection, begin(connection, number), State.DONE, "it is well")


def tags(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return store.tags_of(connection, "bot")


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with database.read() as connection:
        return {table.name: list(connection.execute(table.select())) for table in metadata.sorted_tables}


def test_a_promotion_ends_in_production(database: Database) -> None:
    """What was there is ``previous``, the tag ``canary`` is gone, a deployment of the name runs the model, and
    the journal says why it was wanted."""
    with database.write() as connection:
        running = begin(connection, 1)
        assert promotions.find_running(connection, "bot") == running
    assert tags(database) == {"canary": 1}
    with database.write() as connection:
        promotions.end(connection, running, State.DONE, "it is well")
        finish(connection, 2)
    assert tags(database) == {"production": 2, "previous": 1}
    with database.read() as connection:
        assert promotions.list_running(connection) == []
        assert [one.state for one in promotions.list_of(connection, "bot")] == [State.DONE, State.DONE]
        assert deployments.get(connection, "bot").model == "tiny"
        found = [(entry.action, entry.subject, entry.reason) for entry, _ in journal.entries(connection)][3:]
    assert found[:2] == [("release.promote", "bot@1", "a try"), ("release.promoted", "bot@1", "a try")]


@pytest.mark.parametrize("state", [State.REVERTED, State.FAILED, State.CANCELLED])
def test_other_ends_leave_production_alone(database: Database, state: State) -> None:
    """The tag ``canary`` goes, the journal has the word for it with its evidence."""
    with database.write() as connection:
        finish(connection, 1)
        promotions.end(connection, begin(connection, 2), state, "why", evidence={"requests": 5})
    assert tags(database) == {"production": 1}
    with database.read() as connection:
        entry = list(journal.entries(connection))[-1][0]
    assert (entry.action, entry.reason) == (f"release.{state.value}", "why")
    assert entry.after == {"tags": {"production": 1}, "evidence": {"requests": 5}}


def test_another_promotion_takes_the_place_of_one_that_runs(database: Database) -> None:
    """The first is cancelled and says for whom; one name has one promotion at a time."""
    with database.write() as connection:
        first = begin(connection, 1)
        second = begin(connection, 2)
        assert promotions.list_running(connection) == [second]
        assert promotions.get(connection, first.id).note == "the promotion of bot@2 took its place"
    assert tags(database) == {"canary": 2}


def test_what_is_in_production_cannot_be_promoted(database: Database) -> None:
    """Nothing would change."""
    with database.write() as connection:
        finish(connection, 1)
        with pytest.raises(ConflictError, match="bot@1 is in production already"):
            begin(connection, 1)


def test_a_rollback_goes_back_and_forth(database: Database) -> None:
    """Without a number to what was there before, and again to what was left; with one to that."""
    with database.write() as connection:
        for number in (1, 2, 3):
            finish(connection, number)
        for wanted, expected in ((None, (3, 2)), (None, (2, 3)), (1, (3, 1)), (None, (1, 3))):
            assert promotions.rollback(connection, "bot", wanted, actor="x", reason="bad") == expected
    assert tags(database) == {"production": 3, "previous": 1}
    with database.read() as connection:
        entry = list(journal.entries(connection))[-1][0]
    assert (entry.action, entry.subject, entry.reason) == ("release.rollback", "bot@3", "bad")
    assert entry.before == {"tags": {"production": 1, "previous": 3}}
    assert entry.after == {"tags": {"production": 3, "previous": 1}}


def test_a_rollback_ends_what_is_being_tried(database: Database) -> None:
    """While a promotion runs the candidate is what one wants to be rid of."""
    with database.write() as connection:
        finish(connection, 1)
        begin(connection, 2, Plan(canary_ratio=0.5))
        assert promotions.rollback(connection, "bot", None, actor="x", reason=None) == (2, 1)
        assert promotions.find_running(connection, "bot") is None
    assert tags(database) == {"production": 1}


def test_a_rollback_to_nowhere_is_refused(database: Database) -> None:
    """Nothing was there before, there is no such release, or it is there already."""
    with database.write() as connection:
        finish(connection, 1)
        with pytest.raises(NotFoundError, match="nothing was in production of 'bot' before"):
            promotions.rollback(connection, "bot", None, actor="x", reason=None)
        with pytest.raises(NotFoundError, match="there is no release bot@9"):
            promotions.rollback(connection, "bot", 9, actor="x", reason=None)
        with pytest.raises(ConflictError, match="bot@1 is in production already"):
            promotions.rollback(connection, "bot", 1, actor="x", reason=None)


@pytest.mark.parametrize(
    ("action", "step"),
    [
        ("release.promote", lambda connection: begin(connection, 3)),
        ("release.promoted", lambda connection: finish(connection, 3)),
        ("release.cancelled", lambda connection: begin(connection, 3)),
        ("release.rollback", lambda connection: promotions.rollback(connection, "bot", 1, actor="x", reason=None)),
    ],
)
def test_what_the_journal_cannot_tell_does_not_happen(database: Database, action: str, step: Any) -> None:
    """The database refuses the entry: not a row of any table has changed."""
    with database.write() as connection:
        finish(connection, 1)
        finish(connection, 2)
        begin(connection, 1)
        connection.execute(
            text(
                f"CREATE TRIGGER stop BEFORE INSERT ON journal WHEN NEW.action = '{action}' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )
    before = everything(database)
    with pytest.raises(IntegrityError), database.write() as connection:
        step(connection)
    assert everything(database) == before


def test_a_promotion_that_breaks_off_half_way_leaves_nothing(database: Database) -> None:
    """The process ends after tags and deployment were written and before the transaction was."""
    with database.write() as connection:
        finish(connection, 1)
    before = everything(database)
    with pytest.raises(KeyboardInterrupt), database.write() as connection:
        finish(connection, 2)
        assert store.tags_of(connection, "bot")["production"] == 2
        raise KeyboardInterrupt
    assert everything(database) == before


def test_a_deployment_that_is_removed_takes_production_with_it(database: Database) -> None:
    """Its releases stay, none in production, and its promotion is cancelled."""
    with database.write() as connection:
        finish(connection, 1)
        begin(connection, 2)
    deployments.remove(database, "bot", actor="x")
    assert tags(database) == {}
    with database.read() as connection:
        assert promotions.list_running(connection) == []
        assert len(store.list_releases(connection, "bot")) == 3
