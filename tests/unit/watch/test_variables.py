"""Values that questions give to the variables of a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from undercroft.checks.questions import Question
from undercroft.core.errors import InvalidError
from undercroft.watch.probes.variables import (
    check_values,
    fitting,
    missing,
    missing_sentence,
    read_assignments,
    stand_ins,
    without_place,
)

KNOWN = {"shop": None, "tone": "friendly"}


def question(name: str, **values: str) -> Question:
    """A question that gives these values."""
    plain: dict[str, Any] = {"id": name, "text": "Hello", "checks": [{"kind": "no-refusal"}]}
    return Question.model_validate({**plain, "variables": values})


def test_a_prompt_gets_the_values_that_it_has_variables_for() -> None:
    """Those of a release that is yet to come are left out, so that the one before can be asked as well."""
    assert fitting({"shop": "Corner", "later": "x"}, KNOWN) == {"shop": "Corner"}
    assert fitting({"shop": "Corner"}, {}) == {}
    assert without_place([question("a", shop="x", shpo="y"), question("b", shpo="z")], KNOWN) == ("shpo",)


def test_only_what_has_no_value_of_its_own_is_missed() -> None:
    """A variable with a value in the prompt needs none of the question."""
    assert missing({}, KNOWN) == ["shop"]
    assert missing({"shop": ""}, KNOWN) == []
    assert stand_ins(KNOWN) == {"shop": "shop"}


def test_what_is_missing_is_said_with_release_file_and_questions() -> None:
    """The first three by name, the others counted; nothing where nothing is missing."""
    asked = [question(name) for name in ("a", "b", "c", "d", "e")]
    said = missing_sentence("bot", "bot@2", [*asked, question("f", shop="Corner")], KNOWN)
    assert said == (
        "the prompt of bot@2 needs a value for shop, which the questions 'a', 'b', 'c' and 2 more of probes/bot.yaml "
        "do not give; write it below variables: of the question"
    )
    assert missing_sentence("bot", "bot@2", [question("f", shop="Corner")], KNOWN) == ""


def test_a_question_without_values_is_the_one_that_it_always_was() -> None:
    """Baselines that were taken before questions had variables still count; another value is another question."""
    judged = {"id": "a", "text": "Hello", "checks": [{"kind": "judge", "model": "j", "criterion": "polite"}]}
    assert Question.model_validate(judged).digest() == "cb04024e2b4feb12"
    assert question("a").digest() == "3bf602e62c3bea07"
    assert len({question("a", **values).digest() for values in ({}, {"shop": "x"}, {"shop": "y"})}) == 3


def test_values_on_a_command_line_are_read() -> None:
    """A value may hold anything, another equals sign and nothing too."""
    assert read_assignments(["shop=Corner = Shop", "tone="]) == {"shop": "Corner = Shop", "tone": ""}


@pytest.mark.parametrize(
    ("given", "said"),
    [(["shop"], "got 'shop'"), (["1=x"], "got '1=x'"), (["shop=a", "shop=b"], "shop is given twice")],
)
def test_what_is_no_value_is_said(given: list[str], said: str) -> None:
    """Without its name or its sign, or twice."""
    with pytest.raises(InvalidError, match=said):
        read_assignments(given)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"shop": "x", "shpo": "y"}, "has no variable shpo; it has shop, tone"), ({}, "needs a value for shop")],
)
def test_values_that_do_not_fit_a_prompt_are_said_before_it_is_asked(values: dict[str, str], said: str) -> None:
    """One that it does not have, or one that it lacks."""
    with pytest.raises(InvalidError, match=said):
        check_values(values, KNOWN, "bot")
    check_values({"shop": "x"}, KNOWN, "bot")
