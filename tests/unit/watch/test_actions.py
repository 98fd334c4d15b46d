"""What rules do: bounded, once an incident, and then a human is asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.alerts import NOW
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.actions import (
    Deed,
    Done,
    Rule,
    longest_window,
    next_actions,
    read_rules,
    target_of,
)
from undercroft.watch.incidents.incidents import Incident


def rule(**others: Any) -> Rule:
    return Rule.model_validate({"name": "undo", "when": ["probe-failing"], "do": "roll-back", **others})


def incident(number: int = 1, kind: Kind = Kind.PROBE_FAILING, **others: Any) -> Incident:
    fields: dict[str, Any] = {
        "subject": "bot",
        "severity": Severity.CRITICAL,
        "since": NOW,
        "opened_at": NOW,
        "sentence": "",
        "figures": {},
        **others,
    }
    return Incident(number, kind, **fields)


def done(number: int = 1, *, hours: float = 1, problem: str = "", target: str = "bot") -> Done:
    return Done(NOW - timedelta(hours=hours), number, "undo", Deed.ROLL_BACK, target, problem)


def decide(
    rules: list[Rule], incidents: list[Incident], before: list[Done]
) -> tuple[list[tuple[str, str, int]], list[Finding]]:
    actions, findings = next_actions(rules, incidents, before, NOW)
    return [(one.rule.name, one.target, one.incident.id) for one in actions], findings


def test_without_rules_nothing_is_done(tmp_path: Path) -> None:
    """No file is no rule, and so is an empty one."""
    assert read_rules(tmp_path / "actions.yaml").rules == []
    (tmp_path / "actions.yaml").write_text("# none yet\n", encoding="utf-8")
    assert read_rules(tmp_path / "actions.yaml").rules == []
    assert decide([], [incident()], []) == ([], [])


def test_a_rule_acts_on_the_deployment_of_its_incident() -> None:
    """Which the probe names, or which the rule does."""
    assert decide([rule()], [incident()], []) == ([("undo", "bot", 1)], [])
    assert target_of(rule(), incident(figures={"deployment": "support"})) == "support"
    assert target_of(rule(target="other"), incident(figures={"deployment": "support"})) == "other"


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"when": ["latency"]}, {}),
        ({"subject": "other"}, {}),
        ({"from_severity": "critical"}, {"severity": Severity.WARNING}),
        ({"after_minutes": 5}, {}),
        ({}, {"quiet_since": NOW}),
        ({}, {"resolved_at": NOW}),
    ],
)
def test_a_rule_leaves_alone_what_it_is_not_meant_for(changed: dict[str, Any], seen: dict[str, Any]) -> None:
    """Another kind, subject or severity, one that is too young, one that is over."""
    assert decide([rule(**changed)], [incident(**seen)], []) == ([], [])


def test_a_rule_that_waits_acts_when_its_time_has_come() -> None:
    """As long after the incident was opened as it says."""
    old = incident(opened_at=NOW - timedelta(minutes=5))
    assert decide([rule(after_minutes=5)], [old], [])[0] == [("undo", "bot", 1)]


def test_a_rule_acts_once_on_an_incident() -> None:
    """However long that stays open."""
    assert decide([rule()], [incident()], [done()]) == ([], [])


def test_after_so_many_times_within_the_window_a_human_is_asked() -> None:
    """By a finding of its own, which says which rule and how often; what is older than the window does not count."""
    actions, (found,) = decide([rule()], [incident(3)], [done(1), done(2)])
    assert actions == []
    assert (found.kind, found.subject, found.severity) == (Kind.ACTIONS_EXHAUSTED, "bot", Severity.CRITICAL)
    assert dict(found.figures) == {"rule": "undo", "count": 2}
    assert decide([rule()], [incident(3)], [done(1), done(2, hours=25)])[0] == [("undo", "bot", 3)]
    assert decide([rule()], [incident(3)], [done(1), done(2, target="other")])[0] == [("undo", "bot", 3)]


def test_incidents_that_come_at_once_are_bounded_too() -> None:
    """Three incidents of one deployment at the same look: two actions, then a human."""
    incidents = [incident(number, figures={"deployment": "bot"}, subject=f"probe-{number}") for number in (1, 2, 3)]
    actions, findings = decide([rule()], incidents, [])
    assert [number for _, _, number in actions] == [1, 2]
    assert [one.kind for one in findings] == [Kind.ACTIONS_EXHAUSTED]


def test_what_could_not_be_done_is_for_people() -> None:
    """It is not tried again on the same incident."""
    actions, (found,) = decide([rule()], [incident()], [done(problem="nothing-to-roll-back-to")])
    assert actions == []
    assert (found.kind, dict(found.figures)) == (Kind.ACTION_FAILED, {"rule": "undo"})


def test_a_file_of_rules_is_read_with_every_field(tmp_path: Path) -> None:
    """As the guide shows it."""
    file = tmp_path / "actions.yaml"
    file.write_text(
        "rules:\n"
        "  - {name: undo, when: [probe-failing], subject: bot, do: roll-back, at_most: 1, window_hours: 48}\n"
        "  - {name: shed, when: [disk-low, latency], from_severity: critical, after_minutes: 2,"
        " do: lower-priority, target: batch, priority: -80}\n",
        encoding="utf-8",
    )
    first, second = read_rules(file).rules
    assert (first.do, first.at_most, first.subject) == (Deed.ROLL_BACK, 1, "bot")
    assert (second.target, second.priority, second.from_severity) == ("batch", -80, Severity.CRITICAL)
    assert longest_window([first, second]) == timedelta(hours=48)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: 5", "rules: expected a list"),
        ("rules:\n  - {name: a, when: [probe-failing], do: explode}", "line 2: rules[1].do: expected"),
        ("rules:\n  - {name: a, when: [nothing], do: pin}", "line 2: rules[1].when[1]: expected"),
        ("rules:\n  - {name: a, when: [actions-exhausted], do: pin}", "that a rule can act on"),
        ("rules:\n  - {name: a, when: [latency], do: pin, atmost: 2}", "nearest is 'at_most'"),
        ("rules:\n  - {name: a, when: [latency], do: pin}\n  - {name: a, when: [errors], do: pin}", "a stands twice"),
        ("rules: [", "it is not YAML"),
        ("rules: &a []\nmore: *a", "aliases"),
    ],
)
def test_a_file_with_problems_says_where(tmp_path: Path, text: str, said: str) -> None:
    """All of them, with their lines; then no rule acts."""
    file = tmp_path / "actions.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidError, match="bad-rules-file") as caught:
        read_rules(file)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    """A folder in its place, for example."""
    (tmp_path / "actions.yaml").mkdir()
    with pytest.raises(UnavailableError, match="rules-unreadable"):
        read_rules(tmp_path / "actions.yaml")
