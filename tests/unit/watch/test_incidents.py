"""What happens to incidents: opened once, grouped, escalated, resolved when healthy again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.incidents import Change, Incident, Patience, Step, decide, is_at_least

NOW = datetime(2026, 11, 21, 7, tzinfo=UTC)
PATIENCE = Patience(quiet=timedelta(minutes=5), escalate=timedelta(minutes=60))
ALL = frozenset(Kind)


def finding(kind: Kind = Kind.PROBE_FAILING, subject: str = "bot", **others: object) -> Finding:
    fields = {"since": NOW, "severity": Severity.WARNING, "sentence": "It fails.", "figures": {"runs": 3}, **others}
    return Finding(kind, subject, **fields)  # type: ignore[arg-type]


def incident(number: int = 1, found: Finding | None = None, **others: object) -> Incident:
    found = found or finding()
    made = Incident(number, found.kind, found.subject, found.severity, found.since, NOW, found.sentence, found.figures)
    return replace(made, **others)  # type: ignore[arg-type]


def steps(changes: list[Change]) -> list[Step]:
    return [change.step for change in changes]


def test_what_is_found_is_opened() -> None:
    """A finding without an incident opens one."""
    found = finding()
    assert decide([], [found], ALL, PATIENCE, NOW) == [Change(Step.OPEN, found)]


def test_the_same_again_changes_nothing() -> None:
    """An open incident whose finding still holds is told to nobody again."""
    assert decide([incident()], [finding()], ALL, PATIENCE, NOW) == []


def test_two_findings_of_a_kind_and_subject_are_one_incident() -> None:
    """Of two the first counts; another subject or another kind is another incident."""
    both = [finding(), finding(sentence="Others say so, too.")]
    assert steps(decide([], both, ALL, PATIENCE, NOW)) == [Step.OPEN]
    others = [finding(), finding(subject="other"), finding(Kind.LATENCY)]
    assert steps(decide([], others, ALL, PATIENCE, NOW)) == [Step.OPEN] * 3


def test_new_figures_are_noted_without_telling() -> None:
    """What it is now stands in the incident."""
    now_worse = finding(figures={"runs": 4})
    assert decide([incident()], [now_worse], ALL, PATIENCE, NOW) == [Change(Step.NOTE, now_worse, incident())]


def test_what_becomes_graver_is_told_once_more() -> None:
    """From warning to critical at once; back to warning is only noted."""
    graver = finding(severity=Severity.CRITICAL)
    assert steps(decide([incident()], [graver], ALL, PATIENCE, NOW)) == [Step.ESCALATE]
    was_critical = incident(severity=Severity.CRITICAL, escalated_at=NOW)
    assert decide([was_critical], [finding()], ALL, PATIENCE, NOW) == []


def test_an_incident_that_stays_open_is_escalated_once() -> None:
    """After the time of the settings, not before and not again."""
    old = incident(opened_at=NOW - timedelta(minutes=60))
    assert steps(decide([old], [finding()], ALL, PATIENCE, NOW)) == [Step.ESCALATE]
    assert decide([replace(old, escalated_at=NOW)], [finding()], ALL, PATIENCE, NOW) == []
    assert decide([old], [finding()], ALL, PATIENCE, NOW - timedelta(seconds=1)) == []
    assert decide([old], [finding()], ALL, replace(PATIENCE, escalate=None), NOW) == []


def test_it_is_resolved_when_all_was_well_for_a_while() -> None:
    """Gone once is quiet; gone for the time of the settings is resolved; back before that goes on as it was."""
    assert steps(decide([incident()], [], ALL, PATIENCE, NOW)) == [Step.QUIET]
    quiet = incident(quiet_since=NOW)
    assert decide([quiet], [], ALL, PATIENCE, NOW + timedelta(minutes=4)) == []
    assert steps(decide([quiet], [], ALL, PATIENCE, NOW + timedelta(minutes=5))) == [Step.RESOLVE]
    assert steps(decide([quiet], [finding()], ALL, PATIENCE, NOW + timedelta(minutes=5))) == [Step.BACK]
    assert steps(decide([incident()], [], ALL, replace(PATIENCE, quiet=timedelta(0)), NOW)) == [Step.RESOLVE]


def test_what_could_not_be_looked_at_is_not_well() -> None:
    """A detector that failed says nothing, so its incidents stay as they are."""
    assert decide([incident()], [], ALL - {Kind.PROBE_FAILING}, PATIENCE, NOW + timedelta(days=1)) == []


def test_what_a_person_resolved_stays_resolved_until_it_was_well_once() -> None:
    """The same finding opens nothing; when it is gone the incident is cleared; then it opens a new one."""
    closed = incident(resolved_at=NOW, resolved_by="cli:anna")
    assert decide([closed], [finding()], ALL, PATIENCE, NOW) == []
    assert steps(decide([closed], [], ALL, PATIENCE, NOW)) == [Step.CLEAR]
    cleared = replace(closed, cleared_at=NOW)
    assert steps(decide([cleared], [finding()], ALL, PATIENCE, NOW)) == [Step.OPEN]
    assert decide([cleared], [], ALL, PATIENCE, NOW) == []


@pytest.mark.parametrize(("severity", "least", "wanted"), [("notice", "warning", False), ("critical", "warning", True)])
def test_severities_have_an_order(severity: str, least: str, wanted: bool) -> None:
    """Notice, warning, critical."""
    assert is_at_least(Severity(severity), Severity(least)) is wanted


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 90)), max_size=40))
def test_whatever_happens_an_incident_is_told_at_most_three_times(story: list[tuple[bool, bool, int]]) -> None:
    """Opened, escalated once by time and once by gravity, resolved; and never two open for the same."""
    now, known = NOW, list[Incident]()
    told: dict[int, list[Step]] = {}
    for is_found, is_grave, minutes in story:
        now += timedelta(minutes=minutes)
        found = [finding(severity=Severity.CRITICAL if is_grave else Severity.WARNING)] if is_found else []
        for change in decide([one for one in known if one.cleared_at is None], found, ALL, PATIENCE, now):
            old = change.incident
            if change.step is Step.OPEN:
                assert change.finding is not None
                known.append(incident(len(known) + 1, change.finding, opened_at=now))
                told[len(known)] = [change.step]
                continue
            assert old is not None
            if change.step in (Step.ESCALATE, Step.RESOLVE):
                told[old.id].append(change.step)
            worst = change.finding.severity if change.step is Step.ESCALATE and change.finding else old.severity
            known[old.id - 1] = {
                Step.NOTE: known[old.id - 1],
                Step.BACK: replace(known[old.id - 1], quiet_since=None),
                Step.ESCALATE: replace(known[old.id - 1], escalated_at=now, severity=worst),
                Step.QUIET: replace(known[old.id - 1], quiet_since=now),
                Step.RESOLVE: replace(known[old.id - 1], resolved_at=now, cleared_at=now),
            }[change.step]
        assert sum(one.is_open for one in known) <= 1
    for events in told.values():
        assert events.count(Step.OPEN) == 1
        assert events.count(Step.ESCALATE) <= 2
        assert events.count(Step.RESOLVE) <= 1
