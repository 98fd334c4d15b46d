"""``undercroft release`` without a server: what it does to a home, and what it says of a wrong call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.support.releases import add_model
from undercroft.cli import build
from undercroft.cli.errors import exit_status
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.storage import journal
from undercroft.storage.database import Database

Run = Callable[..., str]

# What is typed after `undercroft release`, its exit status, and the code of its error.
_WRONG = [
    ("create bot", 2, "no-model"),
    ("create Bot --model pilot", 2, "bad-name"),
    ("create bot --model gone", 4, "no-such-model"),
    ("create bot --model pilot --engine vlm", 2, "unknown-engine"),
    ("create bot --model pilot --engine vllm", 2, "wrong-engine"),
    ("create bot --model pilot --sampling temprature=1", 2, "bad-release"),
    ("create bot --model pilot --sampling temperature", 2, "bad-sampling"),
    ("create bot --model pilot --system x --prompt y.md", 2, "two-prompts"),
    ("create bot --model pilot --prompt gone.md", 4, "no-such-file"),
    ("create bot --model pilot --prompt home", 2, "bad-prompt-file"),
    ("create bot --engine external --url ftp://x", 2, "bad-engine-url"),
    ("create bot --from bot@9", 4, "no-such-release"),
    ("create bot --from bot@x", 2, "bad-release-name"),
    ("apply gone.yaml", 4, "no-such-file"),
    ("apply home", 2, "no-plain-file"),
    ("list nobody", 4, "no-such-release"),
    ("show there:stable", 4, "no-such-tag"),
    ("show there@2", 4, "no-such-release"),
    ("diff there@1 nobody", 4, "no-such-release"),
    ("log nobody", 4, "no-such-release"),
    ("tag there@1 production", 5, "tag-is-kept"),
    ("tag there@1 Good", 2, "bad-tag"),
    ("untag there", 2, "no-tag"),
    ("untag there:good", 4, "no-such-tag"),
    ("prune nobody", 4, "no-such-release"),
    ("remove there@2", 4, "no-such-release"),
    ("promote there@2", 4, "no-such-release"),
    ("promote there --canary 10", 2, "bad-share"),
    ("promote there --canary 10% --hold soon", 2, "bad-period"),
    ("promote there --hold 2h", 2, "hold-without-trial"),
    ("promote there --rules gone.yaml", 4, "no-such-file"),
    ("status nobody", 4, "no-such-release"),
    ("rollback nobody", 4, "no-such-release"),
    ("rollback there", 4, "nothing-to-roll-back-to"),
    ("rollback there@1", 2, "bad-name"),
]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Of a home with one model."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("UNDERCROFT_HOME", str(home.root))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    opened = Database(home.database_file)
    add_model(opened, "pilot", "0", licence="apache-2.0")
    yield opened
    opened.close()


@pytest.fixture
def run(database: Database, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command as it is typed; what it printed."""
    command: Any = get_command(build("release", "promote", "rollback"))

    def call(*words: str) -> str:
        command(list(words), standalone_mode=False)
        return capsys.readouterr().out

    return call


def plain(run: Run, *words: str) -> Any:
    return json.loads(run("release", *words, "--json"))


def test_a_file_in_git_says_what_is_wanted(run: Run, tmp_path: Path) -> None:
    """A new number only where something differs; what ``show`` prints makes nothing new; a dry run changes nothing."""
    (tmp_path / "prompt.md").write_text("Answer with JSON.\n", encoding="utf-8")
    file = tmp_path / "bots.yaml"
    file.write_text("name: bot\nmodel: pilot\nprompt: {file: prompt.md}\n---\nname: desk\nmodel: pilot\n")
    assert "bot: a new release would be made" in run("release", "apply", "bots.yaml", "--dry-run")
    assert "There is no release." in run("release", "list")
    made = plain(run, "apply", "bots.yaml", "--because", "v1")
    assert [(one["is_new"], one["reason"]) for one in made] == [(True, "v1"), (True, "v1")]
    (tmp_path / "prompt.md").write_text("Answer with JSON only.\n", encoding="utf-8")
    planned = run("release", "apply", "bots.yaml", "--dry-run")
    assert "+Answer with JSON only." in planned
    assert "desk@1 would be unchanged" in planned
    assert run("release", "apply", "bots.yaml").splitlines()[:2] == ["bot@2 is made", "desk@1 is unchanged"]
    file.write_text(run("release", "show", "bot@2"), encoding="utf-8")
    assert run("release", "apply", "bots.yaml") == "bot@2 is unchanged\n"
    file.write_text(run("release", "show", "bot@1"), encoding="utf-8")
    assert [one["number"] for one in plain(run, "apply", "bots.yaml")] == [3]
    assert plain(run, "diff", "bot@1", "bot@3")["is_same"] is True


def test_without_a_server_a_release_is_in_production_at_once(run: Run) -> None:
    """And says that nothing was tried; the short forms do the same; status and log tell of it."""
    for text in ("One.", "Two."):
        run("release", "create", "bot", "--model", "pilot", "--system", text)
    assert "No server runs, so it was neither loaded nor tried" in " ".join(run("release", "promote", "bot@1").split())
    run("promote", "bot", "--because", "shorter")
    assert "No server runs" in run("rollback", "bot", "--because", "too short")
    status = plain(run, "status", "bot")["bot"]
    assert status["tags"] == {"previous": 2, "production": 1}
    assert (status["running"], status["last"]["reason"]) == (None, "shorter")
    assert [entry["action"] for entry in plain(run, "log", "bot", "--last", "2")] == [
        "release.rollback",
        "release.promoted",
    ]
    shown = run("release", "log", "bot")
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "too short" in " ".join(shown.split())
    assert "previous" in run("release", "list", "bot")


def test_what_is_needed_is_not_removed(run: Run, database: Database) -> None:
    """Neither by pruning nor by hand; a name that nothing serves can be forgotten, and then its model."""
    for text in ("One.", "Two.", "Three."):
        run("release", "create", "bot", "--model", "pilot", "--system", text)
    run("release", "promote", "bot@2")
    run("release", "tag", "bot@3", "good")
    pruned = plain(run, "prune", "bot", "--keep", "1")["names"]["bot"]
    assert pruned["removed"] == []
    assert pruned["kept"][0] == {"number": 1, "reason": "the engine of @2 is called after it"}
    with pytest.raises(UndercroftError, match="the tag production points at it"):
        run("release", "remove", "bot@2")
    run("release", "untag", "bot:good")
    assert "keeps @2: the tag production points at it" in run("release", "prune", "--dry-run")
    with pytest.raises(UndercroftError, match="cannot remove model 'pilot'"):
        models.remove(database, "pilot", actor="x")
    with database.read() as connection:
        assert journal.find_damage(connection) is None


def test_a_wrong_call_says_so_and_changes_nothing(run: Run, database: Database) -> None:
    """Each with its code and exit status; the journal has no entry of it."""
    run("release", "create", "there", "--model", "pilot")
    with database.read() as connection:
        before = journal.count(connection)
    for words, status, code in _WRONG:
        with pytest.raises(UndercroftError) as caught:
            run("release", *words.split())
        assert (words, caught.value.code, exit_status(caught.value)) == (words, code, status)
    with database.read() as connection:
        assert journal.count(connection) == before
