"""What should be served: deployments, and the releases of a name as the deployments that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.store import Release
from undercroft.serving import deployments, promotions
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.serving.served import (
    Served,
    awaited_group,
    find_served,
    live_number,
    name_entry,
    replacing_groups,
    tell_names,
)
from undercroft.storage import journal
from undercroft.storage.database import Database

URL = "http://127.0.0.1:9"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Empty."""
    return Database(tmp_path / "undercroft.db")


def make(database: Database, url: str = URL, **others: Any) -> Release:
    """The next release of ``bot``, run by an external engine."""
    content = check_content({"engine": "external", "settings": {"url": url}, **others})
    with database.write() as connection:
        return store.create(connection, "bot", content, actor="cli:me", reason=None)


def begin(database: Database, release: Release, **plan: Any) -> Promotion:
    """A promotion that has begun."""
    with database.write() as connection:
        return promotions.begin(connection, release, Plan.model_validate(plan), actor="cli:me", reason="why not")


def end(database: Database, promotion: Promotion, state: State = State.DONE) -> None:
    """Its end."""
    with database.write() as connection:
        promotions.end(connection, promotion, state, "so it is")


def serve(database: Database, release: Release) -> None:
    """Puts a release into production at once."""
    end(database, begin(database, release))


def look(database: Database) -> Served:
    """What is wanted."""
    with database.read() as connection:
        return find_served(connection, keep_warm_seconds=60)


def tags(database: Database) -> dict[str, int]:
    """Of ``bot``."""
    with database.read() as connection:
        return store.tags_of(connection, "bot")


def test_releases_that_differ_in_prompt_or_sampling_share_their_replicas(database: Database) -> None:
    """One deployment for them, called after the first; another for another engine setting."""
    serve(database, make(database))
    make(database, prompt={"system": "Hi"})
    make(database, sampling={"temperature": 0})
    make(database, url="http://127.0.0.1:10")
    served = look(database)
    assert served.names["bot"].groups == {1: "bot@1", 2: "bot@1", 3: "bot@1", 4: "bot@4"}
    assert {d.name: d.settings.load for d in served.deployments} == {"bot@1": "always", "bot@4": "on-demand"}


def test_a_candidate_is_loaded_and_kept_beside_production(database: Database) -> None:
    """While it is promoted it is pinned; afterwards what it took the place of stays warm for a while."""
    serve(database, make(database))
    promotion = begin(database, make(database, url="http://127.0.0.1:10"))
    wanted = {d.name: d for d in look(database).deployments}
    assert wanted["bot@2"].settings.is_pinned
    assert wanted["bot@1"].is_running
    end(database, promotion)
    after = {d.name: d.settings for d in look(database).deployments}
    assert (after["bot@2"].load, after["bot@2"].is_pinned) == ("always", False)
    assert (after["bot@1"].load, after["bot@1"].idle_unload_seconds) == ("on-demand", 60)
    assert after["bot@1"].priority < after["bot@2"].priority
    assert tags(database) == {"production": 2, "previous": 1}


def test_without_memory_for_both_production_goes_first(database: Database) -> None:
    """It is not wanted until the candidate, which answers alone, has ended, and again once that has failed."""
    serve(database, make(database))
    promotion = begin(database, make(database, url="http://127.0.0.1:10"))
    with database.write() as connection:
        promotions.change(connection, promotion, State.REPLACING)
    assert {d.name: d.is_running for d in look(database).deployments} == {"bot@1": False, "bot@2": True}
    for state in (State.CHECKING, State.CANARY):
        with database.write() as connection:
            promotions.change(connection, promotions.get(connection, promotion.id), state)
        assert {d.name: d.is_running for d in look(database).deployments} == {"bot@1": False, "bot@2": True}
        assert live_number(look(database).names["bot"], {"bot@2": "loading"}, None) == 2
    end(database, promotion, State.FAILED)
    assert {d.name: d.is_running for d in look(database).deployments} == {"bot@1": True, "bot@2": True}
    assert tags(database) == {"production": 1}


def test_what_answers_is_not_unloaded_for_a_candidate(database: Database) -> None:
    """Until it has to make room it is worth more than the candidate, and everything else stays as it was."""
    serve(database, make(database))
    deployments.change(database, "bot", settings={"priority": 100}, actor="cli:me")
    promotion = begin(database, make(database, url="http://127.0.0.1:10"))
    assert {d.name: d.settings.priority for d in look(database).deployments} == {"bot@1": 101, "bot@2": 100}
    end(database, promotion, State.REVERTED)
    assert {d.name: d.settings.priority for d in look(database).deployments} == {"bot@1": 100, "bot@2": 99}


def test_a_deployment_without_releases_makes_room_for_the_first(database: Database) -> None:
    """Where there is no memory for both; it is wanted again once that has failed."""
    settings = deployments.check_settings({"url": URL})
    deployments.create(database, name="bot", engine="external", model=None, settings=settings, actor="cli:me")
    promotion = begin(database, make(database))
    assert {d.name: d.settings.priority for d in look(database).deployments} == {"bot": 1, "bot@1": 0}
    with database.write() as connection:
        promotions.change(connection, promotion, State.REPLACING)
    served = look(database)
    assert {d.name: d.is_running for d in served.deployments} == {"bot": False, "bot@1": True}
    assert live_number(served.names["bot"], {"bot@1": "loading"}, None) == 1
    end(database, promotion, State.FAILED)
    assert [(d.name, d.is_running) for d in look(database).deployments] == [("bot", True)]


def test_what_is_to_answer_and_cannot_yet_is_awaited(database: Database) -> None:
    """Though another answers meanwhile, and no request waits for it: without that it never got its memory. What was
    unloaded for a candidate is not."""
    serve(database, make(database))
    serve(database, make(database, url="http://127.0.0.1:10"))
    named = look(database).names["bot"]
    assert (awaited_group(named, 1), awaited_group(named, 2), awaited_group(named, None)) == (["bot@2"], [], [])
    promotion = begin(database, make(database, url="http://127.0.0.1:11"))
    with database.write() as connection:
        promotions.change(connection, promotion, State.REPLACING)
    assert awaited_group(look(database).names["bot"], 3) == []


def test_a_deployment_without_releases_answers_until_its_first_release_does(database: Database) -> None:
    """Its own settings stay those of the machine."""
    settings = deployments.check_settings({"url": URL, "priority": 5})
    deployments.create(database, name="bot", engine="external", model=None, settings=settings, actor="cli:me")
    promotion = begin(database, make(database))
    served = look(database)
    assert [d.name for d in served.deployments] == ["bot", "bot@1"]
    assert live_number(served.names["bot"], {"bot@1": "ready"}, None) is None
    end(database, promotion)
    served = look(database)
    assert [(d.name, d.settings.priority) for d in served.deployments] == [("bot@1", 5)]


@pytest.mark.parametrize(
    ("states", "last", "expected"),
    [
        ({"bot@1": "ready", "bot@2": "ready"}, 1, 2),
        ({"bot@1": "ready", "bot@2": "loading"}, 1, 1),
        ({"bot@1": "loading", "bot@2": "loading"}, 1, 2),
        ({"bot@1": "ready", "bot@2": "loading"}, None, 2),
        ({"bot@1": "ready", "bot@2": "failed"}, 2, 2),
        ({"bot@1": "ready", "bot@2": "partial"}, 1, 1),
        ({"bot@1": "partial", "bot@2": "partial"}, 1, 1),
        ({"bot@1": "loading", "bot@2": "partial"}, 1, 2),
    ],
)
def test_who_answered_goes_on_until_production_is_ready(
    database: Database, states: dict[str, str], last: int | None, expected: int
) -> None:
    """With 2 in production, and with all of its replicas; a release that can no longer answer is not waited for."""
    serve(database, make(database))
    serve(database, make(database, url="http://127.0.0.1:10"))
    assert live_number(look(database).names["bot"], states, last) == expected


def test_who_answered_last_is_remembered_until_another_does(database: Database) -> None:
    """After a restart in the middle of a rollback its engine is found a moment later: it goes on then, and what is in
    production takes over when it is ready."""
    serve(database, make(database))
    serve(database, make(database, url="http://127.0.0.1:10"))
    served, last = look(database), {"bot": 1}
    seen = []
    for one, two in (("loading", "loading"), ("ready", "loading"), ("ready", "ready")):
        names, last, _ = tell_names(served, {"bot@1": one, "bot@2": two}, last)
        seen.append((names["bot"].live, last))
    assert seen == [(2, {"bot": 1}), (1, {"bot": 1}), (2, {"bot": 2})]


def replacing(served: Served, states: dict[str, str], last: dict[str, int], before: frozenset[str]) -> frozenset[str]:
    """What takes the place of another."""
    names, last, _ = tell_names(served, states, last)
    return replacing_groups(names, last, states, served.taking_over, before)


def test_what_is_loaded_in_the_place_of_another_is_known_until_it_is_ready(database: Database) -> None:
    """A candidate for which production was unloaded; where that failed, what comes back; and what a rollback brings
    back when there is no memory for both."""
    serve(database, make(database))
    promotion = begin(database, make(database, url="http://127.0.0.1:10"))
    nothing: frozenset[str] = frozenset()
    loading = {"bot@1": "ready", "bot@2": "loading"}
    assert replacing(look(database), loading, {"bot": 1}, nothing) == nothing
    with database.write() as connection:
        promotions.change(connection, promotion, State.REPLACING)
    alone = look(database)
    assert replacing(alone, {"bot@2": "loading"}, {"bot": 1}, nothing) == {"bot@2"}
    assert replacing(alone, {"bot@2": "ready"}, {"bot": 1}, frozenset({"bot@2"})) == nothing
    end(database, promotion, State.FAILED)
    failed = look(database)
    assert replacing(failed, {"bot@1": "loading", "bot@2": "failed"}, {"bot": 1}, frozenset({"bot@2"})) == {"bot@1"}
    assert replacing(failed, {"bot@1": "ready", "bot@2": "failed"}, {"bot": 1}, frozenset({"bot@1"})) == nothing
    assert replacing(failed, {"bot@1": "loading", "bot@2": "unloaded"}, {"bot": 2}, nothing) == {"bot@1"}


def test_an_ordinary_load_takes_nobodys_place(database: Database) -> None:
    """A first load, one after a crash, and one beside who answers."""
    serve(database, make(database))
    nothing: frozenset[str] = frozenset()
    assert replacing(look(database), {"bot@1": "loading"}, {}, nothing) == nothing
    assert replacing(look(database), {"bot@1": "loading"}, {"bot": 1}, nothing) == nothing
    serve(database, make(database, url="http://127.0.0.1:10"))
    assert replacing(look(database), {"bot@1": "ready", "bot@2": "loading"}, {"bot": 1}, nothing) == nothing


def test_a_deployment_without_releases_that_comes_back_takes_the_place_of_its_candidate(database: Database) -> None:
    """It has no entry among the names any more when its first release failed."""
    settings = deployments.check_settings({"url": URL})
    deployments.create(database, name="bot", engine="external", model=None, settings=settings, actor="cli:me")
    promotion = begin(database, make(database))
    with database.write() as connection:
        promotions.change(connection, promotion, State.REPLACING)
    assert replacing(look(database), {"bot@1": "loading"}, {}, frozenset()) == {"bot@1"}
    end(database, promotion, State.FAILED)
    assert replacing(look(database), {"bot": "loading"}, {}, frozenset({"bot@1"})) == {"bot"}


def test_doors_are_told_of_a_canary_only_while_it_is_tried(database: Database) -> None:
    """Before, its tag can be asked for and nobody is sent there."""
    serve(database, make(database))
    promotion = begin(database, make(database), canary_ratio=0.2)
    named = look(database).names["bot"]
    assert (name_entry(named, 1).canary, named.tags["canary"]) == (None, 2)
    with database.write() as connection:
        promotions.change(connection, promotion, State.CANARY)
    entry = name_entry(look(database).names["bot"], 1)
    assert (entry.canary, entry.canary_ratio, entry.salt) == (2, 0.2, str(promotion.id))


def test_a_promotion_takes_the_place_of_one_that_runs(database: Database) -> None:
    """The earlier one is cancelled in the same transaction, and the diary has both."""
    serve(database, make(database))
    first = begin(database, make(database))
    begin(database, make(database))
    with database.read() as connection:
        assert promotions.get(connection, first.id).state is State.CANCELLED
        assert [entry.action for entry, _ in journal.find(connection, journal.Search(action="release"))][-2:] == [
            "release.cancelled",
            "release.promote",
        ]


def test_rolling_back_returns_to_what_was_and_back_again(database: Database) -> None:
    """Without a number to ``previous``; the tags change places."""
    serve(database, make(database))
    serve(database, make(database))
    with database.write() as connection:
        assert promotions.rollback(connection, "bot", None, actor="cli:me", reason="bad") == (2, 1)
    assert tags(database) == {"production": 1, "previous": 2}


def test_rolling_back_during_a_promotion_ends_it(database: Database) -> None:
    """What is in production stays there."""
    serve(database, make(database))
    serve(database, make(database))
    running = begin(database, make(database))
    with database.write() as connection:
        assert promotions.rollback(connection, "bot", None, actor="cli:me", reason="bad") == (3, 2)
        assert promotions.get(connection, running.id).state is State.CANCELLED
    assert tags(database) == {"production": 2, "previous": 1}


def test_there_is_nothing_to_roll_back_to_at_first(database: Database) -> None:
    """The sentence says how to name one; a release that is in production already is no way back."""
    serve(database, make(database))
    with database.write() as connection, pytest.raises(NotFoundError, match="nothing was in production"):
        promotions.rollback(connection, "bot", None, actor="cli:me", reason=None)
    with database.write() as connection, pytest.raises(ConflictError, match="already"):
        promotions.rollback(connection, "bot", 1, actor="cli:me", reason=None)


def test_what_a_release_fixes_is_not_changed_on_the_machine(database: Database) -> None:
    """The rest is: priority, load, replicas."""
    serve(database, make(database))
    with pytest.raises(ConflictError, match="never changes"):
        deployments.change(database, "bot", settings={"url": "http://127.0.0.1:11"}, actor="cli:me")
    deployments.change(database, "bot", settings={"priority": 3}, replicas=2, actor="cli:me")
    assert [(d.replicas, d.settings.priority) for d in look(database).deployments] == [(2, 3)]


def test_removing_a_deployment_takes_its_tags_and_ends_its_promotion(database: Database) -> None:
    """The releases stay, and can be promoted again."""
    serve(database, make(database))
    running = begin(database, make(database))
    deployments.remove(database, "bot", actor="cli:me")
    assert tags(database) == {}
    assert look(database).deployments == []
    with database.read() as connection:
        assert promotions.get(connection, running.id).state is State.CANCELLED
    serve(database, make(database))
    assert tags(database) == {"production": 3}
