"""What is typed for a release becomes what it is made of, or an error that says what was expected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from undercroft.cli.release_options import (
    Given,
    content_from,
    given_prompt,
    parse_hold,
    parse_sampling,
    parse_share,
    plan_from,
    read_rules,
)
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.registry.releases.content import check_content

_NOTHING = Given(model=None, engine=None, settings={}, prompt=None, is_whole_prompt=False, sampling={})
_BASE = check_content(
    {
        "model": "tiny",
        "settings": {"slots": 2, "context_tokens": 512, "may_shrink_context": True},
        "prompt": {"system": "Be kind.", "examples": [{"user": "Hi", "assistant": "Hello"}]},
        "sampling": {"temperature": 0, "stop": ["\n"]},
    }
)


def changed(**given: Any) -> dict[str, Any]:
    return content_from(_BASE, replace(_NOTHING, **given)).to_dict()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        ([""], {}),
        (["temperature=0,max_tokens=200"], {"temperature": 0, "max_tokens": 200}),
        ([" temperature = .5 , top_p=1e-1 "], {"temperature": 0.5, "top_p": 0.1}),
        (["seed=1", "seed_=2"], {"seed": 1, "seed_": 2}),
        (['stop="\\n\\n",seed=3'], {"stop": ["\n\n"], "seed": 3}),
        (['stop=END,stop="a,b"', "stop=。"], {"stop": ["END", "a,b", "。"]}),
        (['stop=["a","b, c"]'], {"stop": ["a", "b, c"]}),
        (["temperature=none,stop=", "top_k=null"], {"temperature": None, "stop": None, "top_k": None}),
    ],
)
def test_sampling_is_read_as_people_write_it(texts: list[str], expected: dict[str, object]) -> None:
    """Numbers, texts with and without quotation marks, several stops, and nothing to take one away."""
    assert parse_sampling(texts) == expected


@pytest.mark.parametrize(
    "text", ["x", "=3", "temperature", "a=1,,b=2", 'stop="a', 'stop="a"b', "stop=[1", "seed=1,seed=2"]
)
def test_sampling_that_cannot_be_read_is_shown(text: str) -> None:
    """With the part that is wrong."""
    with pytest.raises(InvalidError, match="--sampling"):
        parse_sampling([text])


@pytest.mark.parametrize(
    ("text", "expected"), [("10%", 0.1), ("0.1", 0.1), ("100 %", 1.0), ("0.5%", 0.005), (" 2.5% ", 0.025)]
)
def test_a_share_is_a_percentage_or_a_ratio(text: str, expected: float) -> None:
    """As both are written."""
    assert parse_share(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "1", "10", "0", "0%", "0.0", "101%", "-1%", "nan", "1.5", "ten%", "٥%"])
def test_a_share_that_could_mean_two_things_is_refused(text: str) -> None:
    """``1`` may be meant as 1 % and as all; nothing, and more than all, are no shares."""
    with pytest.raises(InvalidError, match="expected a share such as 10%"):
        parse_share(text)


def test_a_hold_is_a_period() -> None:
    """Up to a year."""
    assert [parse_hold(text) for text in ("30s", "5m", "2h", "1d")] == [30, 300, 7200, 86_400]
    for text in ("2", "0h", "2y", "-1h", "999999d", "1h30m"):
        with pytest.raises(InvalidError, match="expected a time such as 30m, 2h or 1d"):
            parse_hold(text)


def test_a_plan_needs_users_to_hold(tmp_path: Path) -> None:
    """A share or copies; what was not given is left as it is."""
    given: dict[str, Any] = {"rules": None, "no_probes": False, "may_replace": True}
    plan = plan_from(canary="10%", shadow=False, hold="2h", **given)
    assert (plan.canary_ratio, plan.hold_seconds, plan.has_probes, plan.rules) == (0.1, 7200, True, {})
    assert plan_from(canary=None, shadow=True, hold="2h", **given).is_shadow
    with pytest.raises(InvalidError, match="only held while"):
        plan_from(canary=None, shadow=False, hold="2h", **given)


def test_rules_are_read_with_their_lines(tmp_path: Path) -> None:
    """Only what differs from the defaults stays; every problem is said with its line."""
    path = tmp_path / "rules.yaml"
    path.write_text("min_requests: 50\nalpha: 0.05\nerrors_worse_by: null\n")
    assert read_rules(path) == {"min_requests": 50, "errors_worse_by": None}
    path.write_text("# none\n")
    assert read_rules(path) == {}
    path.write_text("min_request: 50\nalpha: 2\n")
    with pytest.raises(InvalidError) as caught:
        read_rules(path)
    assert "line 1: min_request: there is no such field; nearest is 'min_requests'" in caught.value.message
    assert "line 2: alpha: expected less than 0.5, got 2" in caught.value.message
    for text in ("- 1\n", "a: [1\n", "a: 1\na: 2\n"):
        path.write_text(text)
        with pytest.raises(InvalidError):
            read_rules(path)
    with pytest.raises(NotFoundError):
        read_rules(tmp_path / "gone.yaml")


def test_nothing_given_changes_nothing() -> None:
    """A release that begins with another is made of the same."""
    assert content_from(_BASE, _NOTHING) == _BASE


def test_what_is_given_changes_that_alone() -> None:
    """A setting, a sampling value, the system prompt; the rest stays as it was."""
    plain = _BASE.to_dict()
    assert changed(model="other") == {**plain, "model": "other"}
    assert changed(settings={"slots": 4})["settings"] == {**plain["settings"], "slots": 4}
    assert changed(sampling={"top_p": 1})["sampling"] == {**plain["sampling"], "top_p": 1.0}
    assert changed(prompt={"system": "Be brief."})["prompt"] == {**plain["prompt"], "system": "Be brief."}


def test_what_is_given_can_take_away() -> None:
    """Zero a number, None a sampling value, an empty text the system prompt; false is a value of its own."""
    plain = _BASE.to_dict()
    assert changed(settings={"slots": 0})["settings"] == {"context_tokens": 512, "may_shrink_context": True}
    assert changed(settings={"may_shrink_context": False})["settings"]["may_shrink_context"] is False
    assert changed(sampling={"stop": None})["sampling"] == {"temperature": 0.0}
    assert changed(prompt={"system": ""})["prompt"] == {"examples": plain["prompt"]["examples"]}
    bare = check_content({"model": "tiny", "prompt": {"system": "x"}})
    assert content_from(bare, replace(_NOTHING, prompt={"system": ""})).prompt is None


def test_a_whole_prompt_replaces_what_was_there() -> None:
    """Examples and variables with it."""
    whole = {"system": "{{a}}", "variables": {"a": "b"}}
    assert changed(prompt=whole, is_whole_prompt=True)["prompt"] == whole


def test_another_engine_takes_what_belonged_to_the_first() -> None:
    """No model is left on an external one, and no URL on llama.cpp."""
    outside = changed(engine="external", settings={"url": "http://x"})
    assert "model" not in outside
    back = content_from(check_content(outside), replace(_NOTHING, engine="llama.cpp", model="tiny")).to_dict()
    assert back["settings"] == _BASE.to_dict()["settings"]
    with pytest.raises(InvalidError, match="takes no model"):
        content_from(check_content(outside), replace(_NOTHING, model="tiny"))


def test_a_prompt_is_given_once(tmp_path: Path) -> None:
    """As a file or as a text; a file's ending says what it holds."""
    (tmp_path / "a.md").write_text("Be kind.\n")
    (tmp_path / "a.yml").write_text("system: Be kind.\n")
    assert given_prompt(tmp_path / "a.md", None) == ({"system": "Be kind."}, False)
    assert given_prompt(tmp_path / "a.yml", None) == ({"system": "Be kind."}, True)
    assert given_prompt(None, "x") == ({"system": "x"}, False)
    assert given_prompt(None, None) == (None, False)
    with pytest.raises(InvalidError, match="got both"):
        given_prompt(tmp_path / "a.md", "x")
