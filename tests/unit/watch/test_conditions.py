"""What else is wrong: probes in a row, replicas, promotions, backups, disk, journal, weights, sinks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.alerts import NOW
from tests.support.doors import deployment
from undercroft.core.clock import to_iso
from undercroft.core.settings import BackupSettings
from undercroft.serving.backups import BackupState
from undercroft.serving.courses import Course
from undercroft.serving.doctor.disks import Room
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.serving.snapshot import DeploymentEntry, NameEntry, ReleaseEntry, Snapshot
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents import conditions
from undercroft.watch.incidents.conditions import Probed
from undercroft.watch.incidents.outbox import SinkState
from undercroft.watch.probes.history import ENDED_WITH_SERVER, PastRun

GIB = 1024**3


def run(passed: int = 5, *, note: str = "", hours: int = 0, score: float | None = 1.0) -> PastRun:
    at = NOW - timedelta(hours=hours)
    return PastRun("bot", None, at, at, 5, passed, score, note)


def probed(*runs: PastRun, limit: int = 3, previous: int | None = None) -> Probed:
    return Probed("bot", "support", limit, runs, previous)


def test_three_failed_runs_in_a_row_are_an_incident() -> None:
    """Since the first of them; it names the deployment and the release to go back to."""
    (found,) = conditions.judge_probe(probed(run(1), run(0, hours=1), run(4, hours=2), run(hours=3), previous=6))
    assert (found.kind, found.subject, found.severity) == (Kind.PROBE_FAILING, "bot", Severity.CRITICAL)
    assert found.since == NOW - timedelta(hours=2)
    assert dict(found.figures) == {"runs": 3, "asked": 5, "passed": 1, "deployment": "support", "previous": 6}
    assert found.sentence == "bot failed its standard questions 3 times in a row; the last time 1 of 5 passed."


@pytest.mark.parametrize(
    ("runs", "limit", "is_found"),
    [
        ([run(1), run(1)], 3, False),
        ([run(1), run(5), run(1), run(1)], 3, False),
        ([run(5), run(1), run(1), run(1)], 3, False),
        ([run(1)], 1, True),
        ([run(1), run(1)], 2, True),
        ([run(1), run(score=None, note=ENDED_WITH_SERVER), run(1), run(1)], 3, True),
        ([run(score=None, note=ENDED_WITH_SERVER)] * 9, 1, False),
        ([run(0, note="not-running"), run(score=None, note="its process ended early"), run(4)], 3, True),
    ],
)
def test_only_failures_in_a_row_count(runs: list[PastRun], limit: int, is_found: bool) -> None:
    """One that passed ends a row; one that ended with the server counts neither way; nobody there is a failure."""
    assert bool(conditions.judge_probe(probed(*runs, limit=limit))) is is_found


def snapshot(*entries: DeploymentEntry, **names: NameEntry) -> Snapshot:
    return Snapshot(1, deployments={entry.name: entry for entry in entries}, names=names)


def test_a_deployment_that_cannot_be_served_is_critical_and_a_restart_a_warning() -> None:
    """One that is well, loading or unloaded is neither."""
    seen = snapshot(
        deployment("well"),
        deployment("dead", state="failed", note="it printed: what a user asked"),
        deployment("shaky", state="ready"),
        deployment("idle", state="unloaded"),
    )
    found = conditions.judge_serving(seen, {"shaky": Course(failures=2, note="secret"), "well": Course()}, NOW)
    assert [(one.subject, one.severity, dict(one.figures)) for one in found] == [
        ("dead", Severity.CRITICAL, {"failures": 1}),
        ("shaky", Severity.WARNING, {"failures": 2}),
    ]
    assert not any("user asked" in one.sentence or "secret" in one.sentence for one in found)


def test_of_a_name_with_releases_only_what_answers_counts() -> None:
    """A candidate that fails is the promotion's to judge; the incident is about the name."""
    releases = {number: ReleaseEntry(number, f"bot@{number}", None, {}, 0) for number in (1, 2)}
    name = NameEntry("bot", live=1, tags={"production": 1}, releases=releases)
    entries = [deployment(f"bot@{number}", state="failed", serves="bot") for number in (1, 2)]
    (found,) = conditions.judge_serving(snapshot(*entries, bot=name), {}, NOW)
    assert found.subject == "bot"
    none_live = NameEntry("bot", live=None, tags={}, releases=releases)
    assert conditions.judge_serving(snapshot(*entries, bot=none_live), {}, NOW) == []


def promotion(state: State, *, hours: float = 1, note: str = "") -> Promotion:
    moment = to_iso(NOW - timedelta(hours=hours))
    ended = moment if state in (State.FAILED, State.REVERTED, State.DONE) else None
    return Promotion(1, "bot", 7, 8, state, Plan.model_validate({}), {}, note, moment, moment, ended, "cli:anna", None)


def test_a_candidate_that_was_sent_back_is_told_for_a_day() -> None:
    """Failed and reverted; done, running and yesterday's are not; the note of a promotion is not repeated."""
    (found,) = conditions.judge_promotions([promotion(State.REVERTED, note="what a user asked")], NOW)
    assert (found.kind, found.subject, dict(found.figures)) == (
        Kind.PROMOTION_FAILED,
        "bot",
        {"number": 8, "state": "reverted"},
    )
    assert found.sentence == "bot@8 did not go into production."
    assert len(conditions.judge_promotions([promotion(State.FAILED)], NOW)) == 1
    for other in (promotion(State.DONE), promotion(State.CANARY), promotion(State.FAILED, hours=24)):
        assert conditions.judge_promotions([other], NOW) == []


def backup(**others: Any) -> BackupState:
    return BackupState(**{name: to_iso(value) if name.endswith("_at") else value for name, value in others.items()})


def test_backups_that_fail_or_do_not_come_are_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One that failed is critical, one that is late by its own time a warning; none that is set up is neither."""
    settings = BackupSettings(folder=tmp_path_factory.mktemp("store"), hours=24)
    failed = backup(created_at=NOW - timedelta(hours=9), failed_at=NOW - timedelta(hours=1), failure="/home/anna: full")
    (found,) = conditions.judge_backups(settings, failed, NOW)
    assert (found.severity, found.since) == (Severity.CRITICAL, NOW - timedelta(hours=1))
    assert "anna" not in found.sentence
    (late,) = conditions.judge_backups(settings, backup(created_at=NOW - timedelta(hours=48)), NOW)
    assert (late.severity, late.since) == (Severity.WARNING, NOW - timedelta(hours=24))
    assert conditions.judge_backups(settings, backup(created_at=NOW - timedelta(hours=47)), NOW) == []
    assert conditions.judge_backups(BackupSettings(), backup(created_at=NOW - timedelta(days=900)), NOW) == []


@pytest.mark.parametrize(
    ("room", "wanted"),
    [
        (Room(10 * GIB, 0, 0, False), None),
        (Room(GIB, 0, 0, False), Severity.WARNING),
        (Room(GIB // 8, 0, 0, False), Severity.CRITICAL),
        (Room(10 * GIB, 0, 0, True), Severity.CRITICAL),
        (Room(10 * GIB, 1_000_000, 10, False), Severity.WARNING),
    ],
)
def test_a_disk_that_is_nearly_full_is_told(room: Room, wanted: Severity | None) -> None:
    """By the rule of the doctor; the path is not told."""
    found = conditions.judge_disk(room, NOW)
    assert [one.severity for one in found] == ([] if wanted is None else [wanted])
    assert all(one.subject == "home" for one in found)


def test_damage_and_sinks_that_take_nothing_are_told() -> None:
    """What is whole is not."""
    assert conditions.judge_journal(None, NOW) == []
    assert conditions.judge_journal("entry 3 was changed", NOW)[0].severity is Severity.CRITICAL
    assert [one.subject for one in conditions.judge_weights(["a", "b"], NOW)] == ["a", "b"]
    states = [SinkState("slack", dead=2), SinkState("email", waiting=5)]
    assert [(one.subject, dict(one.figures)) for one in conditions.judge_sinks(states, NOW)] == [
        ("slack", {"count": 2})
    ]
