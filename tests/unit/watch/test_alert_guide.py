"""docs/guide/alerts.md says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.support.alerts import NOW, message, note
from undercroft.core.settings import AlertSettings
from undercroft.watch.findings import Kind
from undercroft.watch.incidents.actions import Deed, read_rules
from undercroft.watch.incidents.alert_texts import text_of
from undercroft.watch.sinks.all import ALERTMANAGER, SINKS

_TEXT = (Path(__file__).parent.parent.parent.parent / "docs" / "guide" / "alerts.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", _TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_settings_of_the_guide_are_settings() -> None:
    """As they stand there."""
    assert AlertSettings.model_validate(tomllib.loads(block("toml"))["alerts"]).site == "cellar-1"
    rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \|", _TEXT.partition("## Who is told")[2], re.MULTILINE)
    named = {
        name: re.findall(r"`([a-z]+_[a-z_]+)`", settings) for name, settings in rows if name in (*SINKS, ALERTMANAGER)
    }
    assert set(named) == {*SINKS, ALERTMANAGER}
    assert {setting for settings in named.values() for setting in settings} <= set(AlertSettings.model_fields)


def test_the_rules_of_the_guide_are_rules(tmp_path: Path) -> None:
    """A file to begin with that is refused would be a bad beginning."""
    (tmp_path / "actions.yaml").write_text(block("yaml"), encoding="utf-8")
    rules = read_rules(tmp_path / "actions.yaml").rules
    assert [rule.name for rule in rules] == ["undo-a-bad-release", "before-it-bursts", "make-room"]
    assert {deed.value for deed in Deed} <= set(re.findall(r"^\| `([a-z-]+)` \|", _TEXT, re.MULTILINE))


def test_every_kind_is_in_the_table() -> None:
    """What is looked at and not said to be would surprise somebody at night."""
    table = _TEXT.partition("## What is looked at")[2].partition("## Who is told")[0]
    assert {kind.value for kind in Kind} <= set(re.findall(r"`([a-z-]+)`", table))


def test_the_message_of_the_guide_is_what_is_sent() -> None:
    """Letter by letter."""
    since = NOW.replace(hour=21, minute=1)
    one = note(1, subject="ticket-pilot", since=since, figures={"runs": 3, "asked": 2, "passed": 1})
    assert text_of(message(one)) in _TEXT


def test_the_defaults_of_the_guide_are_those_of_the_code() -> None:
    """A number in the guide that the code does not have is a lie."""
    for name in ("quiet_minutes", "escalate_minutes", "rate_per_hour"):
        assert f"`{name}` ({AlertSettings.model_fields[name].get_default():g})" in _TEXT.replace("`**", "`"), name
    assert f"{AlertSettings.model_fields['attempts'].get_default()}\n  times (`attempts`)" in _TEXT
