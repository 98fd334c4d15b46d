"""What a promotion makes of its trial's process, and of a deployment that nobody may load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.home import Home
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.references import ReleaseReference
from undercroft.serving import deployments, promotions, releasing
from undercroft.serving.promotions import Plan, State
from undercroft.serving.served import ServedName
from undercroft.serving.snapshot import DeploymentEntry
from undercroft.storage.database import Database
from undercroft.watch.promotion.promoting import Promoter, scores_of, stopped_sentence, why_it_ended
from undercroft.watch.promotion.promotion_steps import Scores

MODELS = ["bot@2", "bot@1"]


def line(model: str, score: float, *failed: str, problem: str = "") -> str:
    """What a trial prints of a release."""
    plain: dict[str, Any] = {"model": model, "score": score, "failed": list(failed), "problem": problem}
    return json.dumps(plain) + "\n"


def test_the_questions_that_only_the_candidate_fails_are_kept() -> None:
    """Those that production fails, too, say nothing of the candidate."""
    printed = line("bot@2", 0.4, "a", "b") + line("bot@1", 0.7, "b")
    assert scores_of((printed, ""), MODELS) == Scores(0.4, 0.7, ("a",))


@pytest.mark.parametrize(
    ("printed", "problem", "expected"),
    [
        (line("bot@2", 1.0) + '{"model": "bo', "was ended", "was ended"),
        (line("bot@2", 1.0), "", "nothing of bot@1"),
        ("", "", "nothing of bot@2, bot@1"),
        (line("bot@2", 0.0, problem="nobody answers") + line("bot@1", 1.0), "", "nobody answers"),
    ],
)
def test_a_trial_that_is_not_whole_proves_nothing(printed: str, problem: str, expected: str) -> None:
    """Killed in the middle of a line, ended without a word, or unable to ask: the questions count as not asked."""
    assert expected in scores_of((printed, problem), MODELS).problem


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, "a warning", ""),
        (1, "no such probe\n", "no such probe"),
        (-9, "", "their process was ended by signal 9"),
        (3, "  ", "their process ended with status 3"),
    ],
)
def test_a_process_that_is_killed_has_a_reason(status: int, said: str, expected: str) -> None:
    """Also where it said nothing, so that its silence is not taken for success."""
    assert why_it_ended(status, said) == expected


class NothingLoaded:
    """A server on which no deployment runs."""

    def names(self) -> dict[str, ServedName]:
        """None."""
        return {}

    def entry(self, name: str) -> DeploymentEntry | None:
        """There is none."""

    def outlook(self, name: str) -> str:
        """Nothing is forecast."""
        return ""

    def never_fits(self, name: str, without: str | None) -> bool:
        """Nobody asks for memory."""
        return False

    def lacks_memory(self, name: str) -> bool:
        """Nobody asks for memory."""
        return False

    def wake(self) -> None:
        """Nobody sleeps."""


class Loading(NothingLoaded):
    """A server that loads the second release of ``bot``."""

    def names(self) -> dict[str, ServedName]:
        """The name, with what runs its second release."""
        return {"bot": ServedName("bot", {}, {2: "bot@2"}, {}, plain=False, promotion=None)}

    def entry(self, name: str) -> DeploymentEntry | None:
        """It is not ready."""
        return DeploymentEntry(name, "loading", "", ("chat",), False, 0, None, 0)

    def outlook(self, name: str) -> str:
        """What it takes."""
        return "it needs a moment"


def test_questions_wait_for_engines_that_are_loaded_again(tmp_path: Path) -> None:
    """A server that was restarted in the middle of them asks nobody before both can answer, and says so."""
    home = Home(tmp_path)
    home.prepare()
    database = Database(home.database_file)
    content = check_content({"engine": "external", "settings": {"url": "http://127.0.0.1:9"}})
    with database.write() as connection:
        for _ in range(2):
            store.create(connection, "bot", content, actor="cli:anna", reason=None)
    reference = ReleaseReference("bot", 2)
    begun = releasing.promote(database, reference, Plan(), has_server=True, actor="cli:anna", reason=None)
    with database.write() as connection:
        promotions.change(connection, begun, State.CHECKING)
    Promoter(home, database, Loading(), 1.0, lambda: False).look()
    with database.read() as connection:
        waiting = promotions.get(connection, begun.id)
    assert (waiting.state, waiting.note) == (State.CHECKING, "its engine is being loaded again")


def test_a_promotion_of_a_stopped_deployment_says_what_it_waits_for(tmp_path: Path) -> None:
    """It would wait for ever without a word; after a start it goes on, and says so no more."""
    home = Home(tmp_path)
    home.prepare()
    database = Database(home.database_file)
    content = check_content({"engine": "external", "settings": {"url": "http://127.0.0.1:9"}})
    for number in (1, 2):
        with database.write() as connection:
            store.create(connection, "bot", content, actor="cli:anna", reason=None)
        begun = releasing.promote(
            database, ReleaseReference("bot", number), Plan(), has_server=number == 2, actor="cli:anna", reason=None
        )
    promoter = Promoter(home, database, NothingLoaded(), 1.0, lambda: False)
    promoter.look()
    with database.read() as connection:
        assert promotions.get(connection, begun.id).note == ""
    deployments.set_running(database, "bot", False, actor="cli:anna")
    promoter.look()
    with database.read() as connection:
        waiting = promotions.get(connection, begun.id)
    assert (waiting.state, waiting.note) == (State.LOADING, stopped_sentence("bot"))
    Promoter(home, database, Loading(), 1.0, lambda: False).look()
    with database.read() as connection:
        assert promotions.get(connection, begun.id).note == "it needs a moment"
