"""Whether questions can be asked of the releases of a promotion, said before one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.references import ReleaseReference
from undercroft.serving.promotions import Plan
from undercroft.storage.database import Database
from undercroft.watch.promotion.askable import check_askable

NEEDY = {"system": "You answer for {{shop}}.", "variables": {"shop": None}}
PLAIN = {"system": "You answer."}
QUESTION = "questions:\n  - {id: hours, text: Hello, checks: [{kind: no-refusal}]}\n"
GIVEN = QUESTION.replace("text: Hello", "text: Hello, variables: {shop: Corner}")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Prepared."""
    found = Home(tmp_path)
    found.prepare()
    return found


def check(home: Home, production: dict[str, Any], candidate: dict[str, Any], number: int = 2, **plan: Any) -> None:
    """Asks for the second release of ``bot``, with the first in production."""
    database = Database(home.database_file)
    with database.write() as connection:
        for prompt in (production, candidate):
            content = {"engine": "external", "settings": {"url": "http://127.0.0.1:9"}, "prompt": prompt}
            store.create(connection, "bot", check_content(content), actor="cli:me", reason=None)
        store.move_tags(connection, "bot", {"production": 1})
    with database.read() as connection:
        check_askable(home, connection, ReleaseReference("bot", number), Plan.model_validate(plan))


@pytest.mark.parametrize(("production", "candidate", "lacks"), [(PLAIN, NEEDY, "bot@2"), (NEEDY, PLAIN, "bot@1")])
def test_a_promotion_whose_questions_lack_values_is_refused(
    home: Home, production: dict[str, Any], candidate: dict[str, Any], lacks: str
) -> None:
    """Of the candidate's prompt or of production's, which it would be compared with."""
    (home.probes / "bot.yaml").write_text(QUESTION)
    with pytest.raises(ConflictError, match=f"the prompt of {lacks} needs a value for shop") as caught:
        check(home, production, candidate)
    assert caught.value.code == "questions-lack-values"
    assert "--no-probes" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "plan"), [(GIVEN, {}), (QUESTION, {"has_probes": False}), (None, {})], ids=["given", "unasked", "none"]
)
def test_what_can_be_asked_or_is_not_asked_is_promoted(home: Home, text: str | None, plan: dict[str, Any]) -> None:
    """With the values, without the questions, and where there are none."""
    if text is not None:
        (home.probes / "bot.yaml").write_text(text)
    check(home, PLAIN, NEEDY, **plan)


def test_a_judge_that_lacks_values_is_said_as_well(home: Home) -> None:
    """It would give no number to either release, which would then be as good as each other."""
    judge = "{kind: judge, model: bot, criterion: polite"
    (home.probes / "bot.yaml").write_text(GIVEN.replace("{kind: no-refusal}", f"{judge}}}"))
    with pytest.raises(ConflictError, match="the judge 'bot' needs a value for shop, which the question 'hours'"):
        check(home, NEEDY, PLAIN)
    (home.probes / "bot.yaml").write_text(GIVEN.replace("{kind: no-refusal}", f"{judge}, variables: {{shop: x}}}}"))
    check(home, NEEDY, PLAIN, number=3)


def test_questions_that_cannot_be_read_are_said_at_once(home: Home) -> None:
    """And a release that is not there."""
    (home.probes / "bot.yaml").write_text("questions: 5")
    with pytest.raises(InvalidError, match="has problems"):
        check(home, PLAIN, PLAIN)
    with pytest.raises(NotFoundError):
        check(home, PLAIN, PLAIN, number=9)
