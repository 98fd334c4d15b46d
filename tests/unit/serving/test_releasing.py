"""What people do with releases, in one transaction each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.releases import add_model
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import parse_use
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from undercroft.registry.licences import LicenceGate
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.references import parse_release
from undercroft.serving import promotions, releasing
from undercroft.serving.promotions import Plan, State
from undercroft.serving.releasing import Wanted
from undercroft.storage import journal
from undercroft.storage.database import Database

_PLAN = Plan.model_validate({})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    add_model(opened, "tiny", "0", licence="apache-2.0")
    add_model(opened, "research", "1", licence="cc-by-nc-4.0")
    yield opened
    opened.close()


def gate(database: Database, tmp_path: Path, *, is_accepted: bool = False) -> LicenceGate:
    use = parse_use("commercial")
    return LicenceGate(database, load_licences(tmp_path), use, is_accepted=is_accepted, actor="cli:test")


def wanted(name: str = "bot", model: str = "tiny", **values: object) -> Wanted:
    return Wanted(name, check_content({"model": model, **values}))


def make(database: Database, tmp_path: Path, count: int = 1, **values: object) -> None:
    for _ in range(count):
        releasing.create(
            database,
            wanted(**values),
            gate=gate(database, tmp_path),
            actor="cli:test",
            reason=None,  # type: ignore[arg-type]
        )


def promote(database: Database, which: str, *, has_server: bool = False) -> promotions.Promotion:
    return releasing.promote(
        database, parse_release(which), _PLAN, has_server=has_server, actor="cli:test", reason=None
    )


def numbers(database: Database) -> list[int]:
    with database.read() as connection:
        return [release.number for release in store.list_releases(connection, "bot")]


def test_the_licence_gate_is_asked(database: Database, tmp_path: Path) -> None:
    """A model whose licence does not cover the use makes no release, until somebody accepts it."""
    one = wanted(model="research")
    with pytest.raises(RefusedError):
        releasing.create(database, one, gate=gate(database, tmp_path), actor="x", reason=None)
    with pytest.raises(RefusedError):
        releasing.apply(database, [one], gate=gate(database, tmp_path), actor="x", reason=None)
    assert numbers(database) == []
    accepting = gate(database, tmp_path, is_accepted=True)
    assert releasing.create(database, one, gate=accepting, actor="x", reason=None).number == 1


def test_a_file_of_several_is_applied_whole_or_not(database: Database, tmp_path: Path) -> None:
    """One that names no model leaves the others unmade."""
    several = [wanted(), wanted("desk", "gone")]
    with pytest.raises(NotFoundError, match="there is no model 'gone'"):
        releasing.apply(database, several, gate=gate(database, tmp_path), actor="x", reason=None)
    assert numbers(database) == []
    good = [wanted(), wanted("desk")]
    made = releasing.apply(database, good, gate=gate(database, tmp_path), actor="x", reason=None)
    assert [(str(release), is_new) for release, is_new in made] == [("bot@1", True), ("desk@1", True)]
    again = releasing.apply(database, good, gate=gate(database, tmp_path), actor="x", reason=None)
    assert [is_new for _, is_new in again] == [False, False]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "ftp://x"}, "expected the http"),
        ({"url": "http://user:secret@x"}, "one with|without user"),
        ({"url": "http://x", "key_file": "/nowhere/key"}, "there is no file /nowhere/key"),
    ],
)
def test_an_external_engine_has_to_be_reachable_in_form(
    database: Database, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    """A URL that can be one, a key file that is there; a secret in a URL is not repeated."""
    one = Wanted("bot", check_content({"engine": "external", "settings": settings}))
    with pytest.raises(InvalidError, match=words) as caught:
        releasing.create(database, one, gate=gate(database, tmp_path), actor="x", reason=None)
    assert "secret" not in str(caught.value)


def test_without_a_server_a_release_is_in_production_at_once(database: Database, tmp_path: Path) -> None:
    """In one transaction, and it says that nothing was tried; a name alone is its newest."""
    make(database, tmp_path, 2)
    done = promote(database, "bot")
    assert (done.to_number, done.state) == (2, State.DONE)
    assert "nothing was tried" in done.note
    with database.read() as connection:
        assert store.tags_of(connection, "bot") == {"production": 2}
        assert journal.find_damage(connection) is None
    assert promote(database, "bot@1", has_server=True).state is State.LOADING
    with pytest.raises(NotFoundError):
        promote(database, "nobody")


def test_a_plan_does_not_contradict_itself() -> None:
    """A hold without a share and without copies would try nothing; who gets copies answers nobody."""
    with pytest.raises(InvalidError, match="answers no share of the users"):
        releasing.check_plan(Plan(canary_ratio=0.1, is_shadow=True))
    with pytest.raises(InvalidError, match="only held while"):
        releasing.check_plan(Plan(hold_seconds=60))
    releasing.check_plan(Plan(hold_seconds=60, is_shadow=True))
    releasing.check_plan(Plan(hold_seconds=60, canary_ratio=0.1))


def test_releases_made_at_the_same_time_have_numbers_of_their_own(database: Database, tmp_path: Path) -> None:
    """Writers wait for each other; none is lost and the journal is whole."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make(database, tmp_path), range(16)))
    assert numbers(database) == list(range(16, 0, -1))
    with database.read() as connection:
        assert journal.find_damage(connection) is None


def test_pruning_keeps_what_is_needed(database: Database, tmp_path: Path) -> None:
    """Tags, the newest, and the release that an engine is called after; a dry run removes nothing."""
    make(database, tmp_path, 1, settings={"slots": 2})
    make(database, tmp_path, 5)
    promote(database, "bot@4")
    with database.write() as connection:
        store.tag(connection, store.get(connection, "bot", 1), "first", actor="x", reason=None)
    planned = releasing.prune(database, ["bot"], 1, is_dry_run=True, actor="x", reason=None)["bot"]
    assert [release.number for release in planned.removed] == [3, 5]
    assert planned.kept[2] == "the engine of @4 is called after it"
    assert numbers(database) == [6, 5, 4, 3, 2, 1]
    assert releasing.prune(database, ["bot"], 1, is_dry_run=False, actor="x", reason=None)["bot"] == planned
    assert numbers(database) == [6, 4, 2, 1]
    with database.read() as connection:
        gone = [entry for entry, _ in journal.entries(connection) if entry.action == "release.remove"]
    assert [(entry.subject, entry.reason) for entry in gone] == [
        ("bot@3", "the newest 1 are kept"),
        ("bot@5", "the newest 1 are kept"),
    ]


def test_a_running_promotion_keeps_both_of_its_releases(database: Database, tmp_path: Path) -> None:
    """What it comes from and what it goes to."""
    make(database, tmp_path, 4)
    promote(database, "bot@1")
    promote(database, "bot@2", has_server=True)
    assert releasing.prune(database, ["bot"], 1, is_dry_run=False, actor="x", reason=None)["bot"].kept[2]
    assert numbers(database) == [4, 2, 1]
    with pytest.raises(ConflictError, match="cannot remove bot@2"):
        releasing.remove(database, parse_release("bot@2"), actor="x", reason=None)
    with pytest.raises(ConflictError):
        releasing.remove(database, parse_release("bot"), actor="x", reason=None)
    assert numbers(database) == [4, 2, 1]


def test_a_name_that_nobody_serves_can_be_forgotten(database: Database, tmp_path: Path) -> None:
    """One release, or all of them; the next number goes on."""
    make(database, tmp_path, 3)
    assert [r.number for r in releasing.remove(database, parse_release("bot@3"), actor="x", reason=None)] == [3]
    releasing.remove(database, parse_release("bot"), actor="x", reason=None)
    assert numbers(database) == []
    make(database, tmp_path)
    assert numbers(database) == [4]


def test_a_rollback_to_what_is_there_ends_the_promotion(database: Database, tmp_path: Path) -> None:
    """Whoever names what is in production wants the candidate gone; an unknown name is said to be one."""
    make(database, tmp_path, 3)
    promote(database, "bot@1")
    promote(database, "bot@2", has_server=True)
    done = releasing.rollback(database, "bot", 1, actor="x", reason=None)
    assert (done.left, done.number, done.has_cancelled) == (2, 1, True)
    promote(database, "bot@3")
    back = releasing.rollback(database, "bot", None, actor="x", reason=None)
    assert (back.left, back.number, back.has_cancelled) == (3, 1, False)
    with pytest.raises(NotFoundError, match="there is no release of 'nobody'"):
        releasing.rollback(database, "nobody", None, actor="x", reason=None)
