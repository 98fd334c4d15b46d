"""Releases: numbered, never changed, never numbered twice; tags that people move; models that they hold."""

from __future__ import annotations

import pytest

from tests.support.releases import add_model
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ReleaseContent, check_content, content_digest
from undercroft.registry.releases.references import ReleaseReference, base_name, parse_release
from undercroft.registry.releases.store import Release
from undercroft.storage import journal
from undercroft.storage.database import Database


@pytest.fixture(autouse=True)
def _models(database: Database) -> None:
    add_model(database, "tiny", "0")
    add_model(database, "other", "1")


def made(database: Database, name: str = "bot", **values: object) -> Release:
    with database.write() as connection:
        content = check_content({"model": "tiny", **values})
        return store.create(connection, name, content, actor="cli:test", reason=None)


def actions(database: Database) -> list[str]:
    with database.read() as connection:
        return [f"{entry.action} {entry.subject}" for entry, _ in journal.entries(connection)]


def test_a_release_is_numbered_and_read_back(database: Database) -> None:
    """1, 2 … within a name, with all that it is made of, and an entry in the journal for each."""
    first = made(database, sampling={"temperature": 0, "stop": ["\n"]}, prompt={"system": "สวัสดี"})
    second, elsewhere = made(database), made(database, "desk")
    assert [str(one) for one in (first, second, elsewhere)] == ["bot@1", "bot@2", "desk@1"]
    with database.read() as connection:
        assert store.get(connection, "bot", 1) == first
        assert store.list_releases(connection, "bot") == [second, first]
        assert store.latest(connection, "desk") == elsewhere
    assert actions(database) == ["release.create bot@1", "release.create bot@2", "release.create desk@1"]


def test_a_number_is_never_given_twice(database: Database) -> None:
    """Neither that of a release that was removed, nor by a name that only begins in the same way."""
    made(database)
    newest = made(database)
    made(database, "bot-2")
    with database.write() as connection:
        store.forget(connection, newest, actor="cli:test", reason=None)
    assert str(made(database)) == "bot@3"


def test_apply_makes_only_what_differs(database: Database) -> None:
    """The same content is unchanged; another prompt, or another model of equal words, is a new number."""
    content = check_content({"model": "tiny", "prompt": {"system": "a"}})
    with database.write() as connection:
        first, is_new = store.apply(connection, "bot", content, actor="x", reason=None)
        assert is_new
        assert store.apply(connection, "bot", content, actor="x", reason=None) == (first, False)
        changed = check_content({"model": "other", "prompt": {"system": "a"}})
        assert store.apply(connection, "bot", changed, actor="x", reason=None)[0].number == 2
        assert store.apply(connection, "bot", content, actor="x", reason=None)[0].number == 3


def test_an_unknown_model_makes_no_release(database: Database) -> None:
    """Nothing is written, the journal included."""
    with pytest.raises(NotFoundError, match="there is no model 'gone'"):
        made(database, model="gone")
    assert actions(database) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot", ReleaseReference("bot")),
        ("bot@7", ReleaseReference("bot", 7)),
        ("my.bot-2:stable", ReleaseReference("my.bot-2", None, "stable")),
    ],
)
def test_a_release_is_named_in_three_ways(text: str, expected: ReleaseReference) -> None:
    """By its name alone, its number, or a tag; and written in the same way."""
    assert parse_release(text) == expected
    assert str(expected) == text
    assert base_name(text) == expected.name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bot",
        "bot@0",
        "bot@07",
        "bot@-1",
        "bot@",
        "bot:",
        "bot:A",
        "a b",
        "bot@1@2",
        "bot@1٢",
        "bot@1234567890",
        "../x",
    ],
)
def test_what_names_no_release_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(InvalidError, match="expected NAME, NAME@7 or NAME:tag"):
        parse_release(text)


def test_a_name_alone_is_what_is_in_production_or_the_newest(database: Database) -> None:
    """And a tag is where it points; one that is not there is said with those that are."""
    first, second = made(database), made(database)
    with database.write() as connection:
        assert store.resolve(connection, parse_release("bot")) == second
        store.move_tags(connection, "bot", {"production": 1})
        store.tag(connection, second, "stable", actor="x", reason="good")
        assert store.resolve(connection, parse_release("bot")) == first
        assert store.resolve(connection, parse_release("bot:stable")) == second
        with pytest.raises(NotFoundError, match="there are production, stable"):
            store.resolve(connection, parse_release("bot:canary"))
        with pytest.raises(NotFoundError, match="there is no release of 'nobody'"):
            store.resolve(connection, parse_release("nobody"))


def test_tags_of_ones_own_are_moved_and_journalled(database: Database) -> None:
    """Where it points already is no entry; those that promotions move cannot be touched."""
    first, second = made(database), made(database)
    with database.write() as connection:
        for release in (first, first, second):
            store.tag(connection, release, "stable", actor="x", reason=None)
        assert store.tags_of(connection, "bot") == {"stable": 2}
        store.untag(connection, "bot", "stable", actor="x", reason=None)
        for tag in store.KEPT_TAGS:
            with pytest.raises(ConflictError, match="promotions and rollbacks only"):
                store.tag(connection, first, tag, actor="x", reason=None)
            with pytest.raises(ConflictError):
                store.untag(connection, "bot", tag, actor="x", reason=None)
        with pytest.raises(InvalidError):
            store.tag(connection, first, "7up", actor="x", reason=None)
        with pytest.raises(NotFoundError):
            store.untag(connection, "bot", "stable", actor="x", reason=None)
    assert actions(database)[2:] == ["release.tag bot:stable"] * 2 + ["release.untag bot:stable"]


def test_a_tagged_release_and_a_used_model_stay(database: Database) -> None:
    """Both are refused by name until nothing needs them."""
    release = made(database)
    with pytest.raises(ConflictError, match="cannot remove model 'tiny': release bot@1 uses it"):
        models.remove(database, "tiny", actor="x")
    with database.write() as connection:
        store.tag(connection, release, "stable", actor="x", reason=None)
        with pytest.raises(ConflictError, match="the tag stable points at it"):
            store.forget(connection, release, actor="x", reason=None)
        store.untag(connection, "bot", "stable", actor="x", reason=None)
        store.forget(connection, release, actor="x", reason=None)
    models.remove(database, "tiny", actor="x")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "model: is missing"),
        (
            {"model": "tiny", "sampling": {"temprature": 1}},
            "sampling.temprature: there is no such field; nearest is 'temp",
        ),
        ({"model": "tiny", "sampling": {"temperature": 3}}, "sampling.temperature: expected at most 2, got 3"),
        (
            {"model": "tiny", "sampling": {"temperature": float("nan")}},
            "sampling.temperature: expected a finite number",
        ),
        ({"model": "Tiny!"}, "model: expected a name"),
        ({"model": "tiny", "engine": "lama"}, "engine: expected 'llama.cpp'"),
        ({"model": "tiny", "settings": {"dtype": "float16"}}, "dtype belongs to the engine vllm, llama.cpp has none"),
        ({"model": "tiny", "settings": {"url": "http://x"}}, "belong to an attached engine"),
        ({"engine": "external", "settings": {}}, "needs settings.url"),
        ({"engine": "external", "model": "tiny", "settings": {"url": "http://x"}}, "takes no model"),
        ({"engine": "external", "settings": {"url": "http://x", "key_file": "k"}}, "expected an absolute path"),
        ({"model": "tiny", "prompt": {}}, "expected system, examples or both"),
        ({"model": "tiny", "prompt": {"system": "{{a}}"}}, "a stands in the text and not in variables"),
        ({"model": "tiny", "prompt": {"system": "x", "variables": {"a": "b"}}}, "a stands nowhere in the text"),
        ({"model": "tiny", "prompt": {"system": "x", "variables": {"1": "b"}}}, "expected a name of letters"),
        ({"model": "tiny", "prompt": {"examples": [{"user": "u"}]}}, "prompt.examples[1].assistant: is missing"),
        ("text", "expected a mapping"),
    ],
)
def test_what_no_release_can_be_made_of_is_named(values: object, words: str) -> None:
    """Field by field, with what was expected."""
    with pytest.raises(InvalidError) as caught:
        check_content(values)
    assert words in caught.value.message


def test_every_problem_of_a_release_is_said_at_once() -> None:
    """Not one after the other."""
    with pytest.raises(InvalidError) as caught:
        check_content({"model": "tiny", "sampling": {"top_p": 2}, "settings": {"slots": 0}, "promt": {}})
    assert caught.value.message.count(";") >= 2
    assert "nearest is 'prompt'" in caught.value.message


def test_the_digest_is_of_what_it_is_made_of() -> None:
    """What is left out and what is given as it would be anyway are the same; order does not matter; the model does."""
    plain = check_content({"model": "tiny", "sampling": {"temperature": 0, "top_p": 1}})
    same = check_content(
        {"sampling": {"top_p": 1.0, "temperature": 0.0, "seed": None}, "model": "tiny", "settings": {}}
    )
    assert content_digest(plain, "a") == content_digest(same, "a")
    assert content_digest(plain, "a") != content_digest(plain, "b")
    assert content_digest(plain, "a") != content_digest(ReleaseContent(model="tiny"), "a")
