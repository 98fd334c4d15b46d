"""What else may be wrong, beside drift: judged from what is measured and kept elsewhere. Pure.

What is said of each holds names, numbers and times; no prompt, no path, nothing that an engine printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from undercroft.core.clock import from_iso
from undercroft.core.settings import BackupSettings
from undercroft.core.units import format_bytes
from undercroft.serving.backups import BackupState
from undercroft.serving.courses import Course
from undercroft.serving.doctor.disks import Room, judge_room
from undercroft.serving.promotions import Promotion, State
from undercroft.serving.snapshot import Snapshot
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.alert_texts import sentence_of
from undercroft.watch.incidents.outbox import SinkState
from undercroft.watch.probes.history import ENDED_WITH_SERVER, PastRun

_FULL_BYTES = 256 * 1024**2
# A candidate that was sent back is yesterday's news after a day.
_PROMOTION_LASTS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of a probe.

    Args:
        name: Of the probe.
        deployment: That it asks.
        failures_limit: Failed runs in a row that open an incident.
        runs: The last ones that have ended, the newest first.
        previous: Number of the older release that production can go back to; None where there is none.
    """

    name: str
    deployment: str
    failures_limit: int
    runs: Sequence[PastRun]
    previous: int | None = None


def judge_probe(probed: Probed) -> list[Finding]:
    """Whether its last runs failed, so many in a row; one that ended with the server counts neither way."""
    counted = [run for run in probed.runs if run.note != ENDED_WITH_SERVER]
    failed = []
    for run in counted:
        if not has_failed(run):
            break
        failed.append(run)
    if len(failed) < probed.failures_limit:
        return []
    figures: dict[str, float | int | str] = {
        "runs": len(failed),
        "asked": failed[0].asked,
        "passed": failed[0].passed,
        "deployment": probed.deployment,
    }
    if probed.previous is not None:
        figures["previous"] = probed.previous
    return [_found(Kind.PROBE_FAILING, probed.name, failed[-1].started_at, Severity.CRITICAL, figures)]


def has_failed(run: PastRun) -> bool:
    """Whether a question of a run failed, nobody could be asked, or its process broke off."""
    return bool(run.note) or run.score is None or run.passed < run.asked


def judge_probe_file(name: str, now: datetime) -> Finding:
    """A probe whose file cannot be used is asked by nobody."""
    return _found(Kind.PROBE_UNUSABLE, name, now, Severity.WARNING, {})


def judge_serving(snapshot: Snapshot, courses: Mapping[str, Course], now: datetime) -> list[Finding]:
    """Which of what answers users cannot, or has replicas that end. A candidate is the promotion's to judge.

    Args:
        snapshot: What the doors were told last.
        courses: Deployment → how it goes with it.
        now: The current time.
    """
    findings = []
    for name, entry in snapshot.deployments.items():
        if entry.serves is not None and not _is_live(snapshot, entry.serves, name):
            continue
        failures = courses[name].failures if name in courses else 0
        if entry.state != "failed" and not failures:
            continue
        severity = Severity.CRITICAL if entry.state == "failed" else Severity.WARNING
        figures: dict[str, float | int | str] = {"failures": max(failures, 1)}
        findings.append(_found(Kind.REPLICA_FAILING, entry.serves or name, now, severity, figures))
    return findings


def _is_live(snapshot: Snapshot, name: str, deployment: str) -> bool:
    named = snapshot.names.get(name)
    if named is None or named.live is None or named.live not in named.releases:
        return False
    return named.releases[named.live].deployment == deployment


def judge_promotions(newest: Sequence[Promotion], now: datetime) -> list[Finding]:
    """Which candidates did not go into production within the last day, and no other was promoted since.

    Args:
        newest: Of each name the newest promotion.
        now: The current time.
    """
    findings = []
    for promotion in newest:
        if promotion.state not in (State.FAILED, State.REVERTED) or promotion.ended_at is None:
            continue
        ended = from_iso(promotion.ended_at)
        if now - ended < _PROMOTION_LASTS:
            figures: dict[str, float | int | str] = {"number": promotion.to_number, "state": promotion.state.value}
            findings.append(_found(Kind.PROMOTION_FAILED, promotion.name, ended, Severity.WARNING, figures))
    return findings


def judge_backups(settings: BackupSettings, state: BackupState, now: datetime) -> list[Finding]:
    """Whether the last backup failed, or none was made in twice the time that one should take to come."""
    if state.is_failing and state.failed_at is not None:
        return [_found(Kind.BACKUP_FAILING, "backup", from_iso(state.failed_at), Severity.CRITICAL, {})]
    if settings.where is None or not settings.hours or state.created_at is None:
        return []
    due = from_iso(state.created_at) + timedelta(hours=settings.hours)
    if now < due + timedelta(hours=settings.hours):
        return []
    return [_found(Kind.BACKUP_FAILING, "backup", due, Severity.WARNING, {})]


def judge_journal(damage: str | None, now: datetime) -> list[Finding]:
    """Whether the diary holds together.

    Args:
        damage: Where it does not; None where it does.
        now: The current time.
    """
    return [] if damage is None else [_found(Kind.JOURNAL_BROKEN, "journal", now, Severity.CRITICAL, {})]


def judge_disk(room: Room, now: datetime) -> list[Finding]:
    """Whether the home has room to grow; `undercroft doctor` judges by the same rule."""
    if all(verdict.level == "ok" for verdict in judge_room(room, "home")):
        return []
    is_full = room.is_read_only or room.free_bytes < _FULL_BYTES
    figures: dict[str, float | int | str] = {"free": format_bytes(room.free_bytes)}
    return [_found(Kind.DISK_LOW, "home", now, Severity.CRITICAL if is_full else Severity.WARNING, figures)]


def judge_weights(models: Sequence[str], now: datetime) -> list[Finding]:
    """Models of which a stored file is not what it was when it was hashed."""
    return [_found(Kind.WEIGHTS_CHANGED, name, now, Severity.CRITICAL, {}) for name in models]


def judge_sinks(states: Sequence[SinkState], now: datetime) -> list[Finding]:
    """Which sinks did not take what they were told."""
    return [
        _found(Kind.ALERTS_UNDELIVERED, state.sink, now, Severity.WARNING, {"count": state.dead})
        for state in states
        if state.dead
    ]


def _found(
    kind: Kind, subject: str, since: datetime, severity: Severity, figures: Mapping[str, float | int | str]
) -> Finding:
    return Finding(kind, subject, since, severity, sentence_of(kind, subject, figures), figures)
