"""What probably caused a finding, from blame, in words that may leave the house: no person, no reason that one gave."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.units import format_duration
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Entry, Search
from undercroft.storage.settings_diary import SETTINGS_CHANGE
from undercroft.watch.blame.abilities import Measure, ability, changed_names
from undercroft.watch.blame.explaining import explain
from undercroft.watch.findings import Finding, Kind
from undercroft.watch.incidents.conditions import has_failed
from undercroft.watch.incidents.incidents import Cause
from undercroft.watch.probes.history import newest_runs

_log = structlog.get_logger("incidents")

# How far back before a finding blame looks.
_BEFORE = timedelta(days=3)
_MEASURES: Mapping[Kind, Measure] = {
    **dict.fromkeys((Kind.LATENCY, Kind.THROUGHPUT), Measure.LATENCY),
    **dict.fromkeys((Kind.ERRORS, Kind.REPLICA_FAILING), Measure.ERRORS),
    **dict.fromkeys((Kind.MEMORY_LEAK, Kind.GPU_MEMORY_LEAK), Measure.MEMORY),
    **dict.fromkeys(
        (
            Kind.PROBE_FAILING,
            Kind.PASSES,
            Kind.SCORE,
            Kind.FORMAT,
            Kind.REFUSALS,
            Kind.STYLE,
            Kind.ANSWERS,
            Kind.ANSWER_LANGUAGE,
        ),
        Measure.QUALITY,
    ),
}
_SHORTLY = timedelta(hours=1)
# What changes answers at once.
_CHANGES = ("release.promoted", "release.rollback", "deployment.change", "deployment.create", "deployment.shrink")
# Of 1: settings that can do less to a measure are not told as its cause.
_ABLE = 0.5
# Settings that a sentence names.
_NAMED = 3
# Subjects that name a thing and no person, as keys may.
_THINGS = ("release.", "deployment.", "model.")


def likely_cause(database: Database, home: Home) -> Cause:
    """A function that says what probably caused a finding; None where nothing explains it.

    Args:
        database: Of the home.
        home: Of the server.
    """

    def ask(finding: Finding) -> str | None:
        measure = _MEASURES.get(finding.kind)
        if measure is None:
            return None
        try:
            return _cause(database, home, measure, finding)
        except (UndercroftError, OSError, SQLAlchemyError) as error:
            _log.error("no cause was found", kind=finding.kind, subject=finding.subject, error=str(error))
            return None

    return ask


def _cause(database: Database, home: Home, measure: Measure, finding: Finding) -> str | None:
    # Quality is measured by a probe's name, everything else by the deployment's.
    name = finding.subject if measure is Measure.QUALITY else str(finding.figures.get("deployment") or finding.subject)
    with database.read() as connection:
        explained, _ = explain(connection, home, measure, finding.since - _BEFORE, name=name)
        causes = [(one.change.at, cause) for one in explained for cause in one.causes[:1]]
        if not causes:
            return _last_change(connection, finding)
        at, cause = causes[0]
        if cause.entry is None:
            return cause.sentence
        found = journal.get(connection, cause.entry)
    changed_at = datetime.fromtimestamp(at, finding.since.tzinfo)
    return entry_sentence(found[0], changed_at, measure) if found is not None else None


def _last_change(connection: Connection, finding: Finding) -> str | None:
    """The last change of the deployment since all was still well, where there is too little to measure by."""
    is_counted = finding.kind is Kind.PROBE_FAILING
    probe = finding.subject if is_counted else finding.figures.get("probe")
    if probe is None and finding.kind is not Kind.REPLICA_FAILING:
        return None
    deployment = str(finding.figures.get("deployment") or finding.subject)
    since = finding.since - _SHORTLY
    if probe is not None:
        # A detector holds that all was well until it began, whether or not a question failed then.
        runs = [run for run in newest_runs(connection, str(probe), limit=1000) if run.started_at < finding.since]
        well = [run.started_at for run in runs if not (is_counted and has_failed(run))]
        since = well[0] if well else since
    found = journal.find(connection, Search(name=deployment, since=to_iso(since), until=to_iso(finding.since)))
    found += journal.find(connection, Search(action=SETTINGS_CHANGE, since=to_iso(since), until=to_iso(finding.since)))
    measure = _MEASURES[finding.kind]
    changes = sorted((entry for entry, _ in found if _may_have_done_it(entry, measure)), key=lambda entry: entry.seq)
    return entry_sentence(changes[-1], finding.since, measure) if changes else None


def _may_have_done_it(entry: Entry, measure: Measure) -> bool:
    if entry.action == SETTINGS_CHANGE:
        return ability(entry, measure) >= _ABLE
    return entry.action in _CHANGES


def entry_sentence(entry: Entry, changed_at: datetime, measure: Measure) -> str:
    """A journal entry as a cause: what and how long before, not who and not why.

    Args:
        entry: Of the journal.
        changed_at: When it became worse.
        measure: What became worse; of many settings those are named that can do that.
    """
    what = f"{entry.action} {entry.subject}" if entry.action.startswith(_THINGS) else entry.action
    if entry.action == SETTINGS_CHANGE:
        what = f"{entry.action} {', '.join(changed_names(entry, measure)[:_NAMED])}"
    seconds = (changed_at - from_iso(entry.at)).total_seconds()
    when = f"{format_duration(seconds)} before" if seconds >= 1 else "at that time"
    return f"{what}, {when} (undercroft journal show {entry.seq})"
