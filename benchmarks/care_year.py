"""A year of a name, in minutes: each day its standard questions, its users' requests, and now and then some trouble.

Outcomes of standard questions are real answers of the starter, drawn from `care_bank`; their times, and those of the
users' requests, are the measured ones with noise. The clock is the year's own; what reads the rows, opens incidents and
looks for causes is the product.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from benchmarks.care_bank import COARSE, NAME, SLIGHT, Bank
from benchmarks.care_peers import Day, day_of
from benchmarks.care_rows import Draws, samples
from benchmarks.care_troubles import TROUBLES, Trouble
from undercroft.core.clock import to_iso
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving import deployments
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Entry, Search
from undercroft.storage.tables import replica_samples, usage
from undercroft.watch.blame.explaining import explain
from undercroft.watch.incidents import incident_store
from undercroft.watch.incidents.alerting import Watcher
from undercroft.watch.incidents.incidents import Incident
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.incidents.looking import Looker, sources_of
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.history import begin_run, end_run
from undercroft.watch.probes.outcome_rows import Purpose, baseline_rows, keep_rows, outcome_row
from undercroft.watch.probes.outcomes import mean_score
from undercroft.watch.probes.probe_files import probe_file
from undercroft.watch.reports.report_files import append_line, report_file
from undercroft.watch.reports.report_rows import row_line

# After all that the product itself stamps with the clock of this machine while a year is set up.
BEGIN = datetime(2041, 1, 1, tzinfo=UTC)
DAYS = 365
# Quarters of an hour with enough requests to learn from are one or two a day here.
_FIRST_TROUBLE_DAY, _DAYS_BETWEEN = 75, 24
_LASTS = timedelta(days=9)
_LOOKED_BACK = timedelta(days=12)
_ROUNDS_OF_BASELINE = 10
_MORNING, _EVENING = timedelta(hours=7, minutes=30), timedelta(hours=19)
# A quiet replica is sampled by the minute now and then, too, so that a false alarm of a leak could be seen.
_SAMPLED_EVERY_DAYS, _SAMPLED_DAYS = 150, 1
_DAYS_BETWEEN_ENTRIES = 6
_HARMLESS = (
    ("key.create", "key_app"),
    ("key.revoke", "key_app"),
    ("model.add", "something"),
    ("licence.accept", "something"),
    ("backup.prune", "backup"),
    ("release.create", f"{NAME}@5"),
    ("release.tag", f"{NAME}@1"),
)
# Free space on this machine's disk is not the year's, and whether the diary was tampered with is no matter of its days.
_NOT_THE_YEARS = frozenset({"disk", "journal"})
# When, action, subject, before, after.
_Line = tuple[datetime, str, str, Mapping[str, Any] | None, Mapping[str, Any] | None]


@dataclass(slots=True)
class Told:
    """What came of one trouble.

    Args:
        trouble: Which.
        begin: When it began.
        noticed: When the first incident that tells of it was opened; None where none was.
        cause: What the alert said of the cause; None where nothing.
        causes_then: Sentences of blame at that time, the likeliest first; None where no change was found.
        causes_later: The same when it was put right.
        last_entries: The journal's entries of the week before it was noticed.
    """

    trouble: Trouble
    begin: datetime
    noticed: datetime | None = None
    cause: str | None = None
    causes_then: list[str] | None = None
    causes_later: list[str] | None = None
    last_entries: list[Entry] = field(default_factory=list)

    @property
    def end(self) -> datetime:
        """When it is put right."""
        return self.begin + _LASTS

    @property
    def days_to_notice(self) -> float | None:
        """None where it was not noticed."""
        return (self.noticed - self.begin).total_seconds() / 86_400 if self.noticed is not None else None


@dataclass(slots=True)
class Lived:
    """What came of a year.

    Args:
        told: Of each trouble, in the order of time.
        false_alarms: Kind and day of incidents that were opened while nothing was wrong.
        quiet_days: Without trouble; count.
        days: What the peers look at.
    """

    told: list[Told]
    false_alarms: list[tuple[str, int]] = field(default_factory=list)
    quiet_days: int = 0
    days: list[Day] = field(default_factory=list)


class Year:
    """One year.

    Args:
        bank: Outcomes to draw from.
        folder: For its home.
        seed: Of everything that is drawn.
        has_trouble: Whether anything goes wrong.
    """

    def __init__(self, bank: Bank, folder: Path, seed: int, *, has_trouble: bool) -> None:
        self._rng = random.Random(seed)
        self._bank = bank
        self._draws = Draws(bank, self._rng)
        self._lived = Lived(self._plan() if has_trouble else [])
        self._now = self._born = self._sampled_at = BEGIN
        self._replica = 0
        self._seen = 0
        self.home = Home(folder)
        self.home.prepare()
        self.database = Database(self.home.database_file)
        probe_file(self.home, NAME).write_text(bank.probe, encoding="utf-8")
        settings = Settings()
        sources = [
            one for one in sources_of(self.home, self.database, settings, None) if one.name not in _NOT_THE_YEARS
        ]
        looker = Looker(sources, lambda: (self._now - BEGIN).total_seconds())
        cause = likely_cause(self.database, self.home)
        self._watcher = Watcher(self.home, self.database, settings.alerts, looker, None, cause)
        self._diary = self._set_up()

    def run(self) -> Lived:
        """Lives it day by day."""
        for day in range(DAYS):
            self._live(day)
        self.database.close()
        return self._lived

    def _plan(self) -> list[Told]:
        *others, last = TROUBLES
        self._rng.shuffle(others)
        return [
            Told(
                trouble,
                BEGIN + timedelta(days=_FIRST_TROUBLE_DAY + _DAYS_BETWEEN * position, hours=6 + 9 * self._rng.random()),
            )
            for position, trouble in enumerate([*others, last])
        ]

    def _set_up(self) -> list[_Line]:
        """Models, releases and a baseline; gives what will stand in the diary."""
        for name in ("ticket-pilot", COARSE, SLIGHT):
            path = self._bank.models[name]
            models.add_local(self.database, self.home, path, name=name, actor="cli:anna", must_copy=True)
        long = {"system": "You are the help desk. " * 80}
        with self.database.write() as connection:
            for model, prompt in (("ticket-pilot", None), ("ticket-pilot", long), (COARSE, None), (SLIGHT, None)):
                content = check_content({"model": model, "prompt": prompt})
                store.create(connection, NAME, content, actor="cli:anna", reason=None)
            store.move_tags(connection, NAME, {"production": 1})
            deployments.serve_release(connection, store.get(connection, NAME, 1))
        rounds = [self._draws.outcomes(None, BEGIN) for _ in range(_ROUNDS_OF_BASELINE)]
        outcomes = {
            question.id: [each[position] for each in rounds] for position, question in enumerate(self._bank.questions)
        }
        known = {question.id: baseline_of(question, outcomes[question.id]) for question in self._bank.questions}
        rows = baseline_rows(outcomes, self._bank.questions, known, run_at=BEGIN, probe=NAME, deployment=NAME)
        keep_rows(self.database, rows, BEGIN)
        harmless = [
            (BEGIN + timedelta(days=day + self._rng.random() * _DAYS_BETWEEN_ENTRIES), *self._rng.choice(_HARMLESS))
            for day in range(5, DAYS, _DAYS_BETWEEN_ENTRIES)
        ]
        diary: list[_Line] = [(at, action, subject, None, None) for at, action, subject in harmless]
        for one in self._lived.told:
            diary += [(one.begin, *one.trouble.entry)] if one.trouble.entry is not None else []
            diary += [(one.end, *one.trouble.undone)] if one.trouble.undone is not None else []
        return sorted(diary, key=lambda entry: entry[0])

    def _active(self, at: datetime) -> Told | None:
        return next((one for one in self._lived.told if one.begin <= at < one.end), None)

    def _live(self, day: int) -> None:
        midnight = BEGIN + timedelta(days=day)
        begun = [one for one in self._lived.told if midnight <= one.begin < midnight + timedelta(days=1)]
        ended = [one for one in self._lived.told if midnight <= one.end < midnight + timedelta(days=1)]
        if not begun and self._active(midnight) is None:
            self._lived.quiet_days += 1
        requests = self._draws.requests(midnight + timedelta(hours=6), self._active)
        outcomes = self._ask(midnight + timedelta(hours=7))
        self._lived.days.append(day_of(outcomes, requests))
        is_watched = bool(begun) or self._active(midnight) is not None
        if is_watched:  # a quiet day is looked at in the evening alone, which costs less and changes no verdict
            self._go_to(midnight + _MORNING, [row for row in requests if row[0] <= midnight + _MORNING])
        for one in begun:
            self._begin(one)
        for hour in range(8, 19):
            if self._is_sampled(midnight + timedelta(hours=hour)):
                self._go_to(midnight + timedelta(hours=hour), [])
        for one in ended:
            self._end(one)
        morning = midnight + _MORNING if is_watched else midnight
        self._go_to(midnight + _EVENING, [row for row in requests if row[0] > morning])
        for hour in range(20, 30):
            if self._is_sampled(midnight + timedelta(hours=hour)):
                self._go_to(midnight + timedelta(hours=hour), [])

    def _begin(self, one: Told) -> None:
        if one.trouble.release != 1:
            with self.database.write() as connection:
                store.move_tags(connection, NAME, {"production": one.trouble.release, "previous": 1})
        if one.trouble.act is not None:
            one.trouble.act(self.home)

    def _end(self, one: Told) -> None:
        if one.trouble.measure is not None:
            one.causes_later = self._blame(one, one.end)
        if one.trouble.release != 1:
            with self.database.write() as connection:
                store.move_tags(connection, NAME, {"production": 1, "previous": one.trouble.release})

    def _is_sampled(self, at: datetime) -> bool:
        """Whether replicas are sampled by the minute: around a leak until it is noticed, and now and then."""
        for one in self._lived.told:
            is_near = one.begin - timedelta(days=1) <= at < one.begin + timedelta(days=3)
            if one.trouble.leak_bytes_per_hour and is_near:
                return one.noticed is None or one.noticed > at - timedelta(hours=1)
        return (at - BEGIN).days % _SAMPLED_EVERY_DAYS < _SAMPLED_DAYS and self._active(at) is None

    def _ask(self, at: datetime) -> list[Any]:
        """The standard questions, written down as a run writes them."""
        told = self._active(at)
        release = f"{NAME}@{told.trouble.release if told is not None else 1}"
        outcomes = self._draws.outcomes(told.trouble if told is not None else None, at, release)
        run = begin_run(self.database, NAME, at, at)
        assert run is not None
        lines = "".join(row_line(outcome, "UTC", keep_answer=False) for outcome in outcomes)
        append_line(report_file(self.home, NAME), lines)
        rows = [
            outcome_row(outcome, question, run_at=at, probe=NAME, purpose=Purpose.PROBE, deployment=NAME)
            for outcome, question in zip(outcomes, self._bank.questions, strict=True)
        ]
        keep_rows(self.database, rows, at)
        passed = sum(outcome.has_passed for outcome in outcomes)
        score = mean_score(outcomes)
        end_run(self.database, run, at, release=release, asked=len(outcomes), passed=passed, score=score, note="")
        return outcomes

    def _go_to(self, at: datetime, requests: list[tuple[datetime, dict[str, Any]]]) -> None:
        """Time goes on: what was measured until then is written, and the server looks once."""
        while self._diary and self._diary[0][0] <= at:
            moment, action, subject, before, after = self._diary.pop(0)
            with self.database.write() as connection:
                journal.record(
                    connection,
                    actor="key:ops-2",
                    action=action,
                    subject=subject,
                    before=before,
                    after=after,
                    at=moment,
                )
        sampled = self._samples(at) if self._is_sampled(at) else []
        with self.database.write() as connection:
            if requests:
                connection.execute(insert(usage), [row for _, row in requests])
            if sampled:
                connection.execute(insert(replica_samples), sampled)
        self._now = at
        self._watcher.look(at)
        self._read_incidents(at)

    def _samples(self, at: datetime) -> list[dict[str, Any]]:
        """Of the hour before, or less; a replica that was not sampled just before is a new one."""
        since = max(self._sampled_at, at - timedelta(hours=1))
        if since > self._sampled_at:
            self._replica, self._born = self._replica + 1, since
        self._sampled_at = at
        told = self._active(at)
        leak = told if told is not None and told.trouble.leak_bytes_per_hour else None
        return samples(
            self._rng,
            f"rep_{self._replica}",
            since,
            at,
            born=self._born,
            leaks_since=leak.begin if leak is not None else None,
            bytes_per_hour=leak.trouble.leak_bytes_per_hour if leak is not None else 0,
        )

    def _read_incidents(self, at: datetime) -> None:
        with self.database.read() as connection:
            newest = incident_store.list_newest(connection, limit=50)
        for incident in reversed(newest):
            if incident.id <= self._seen:
                continue
            self._seen = incident.id
            self._take(incident, at)

    def _take(self, incident: Incident, at: datetime) -> None:
        told = self._active(at)
        if told is None:
            self._lived.false_alarms.append((incident.kind.value, (at - BEGIN).days))
        elif incident.kind in told.trouble.kinds and told.noticed is None:
            told.noticed, told.cause = at, incident.cause
            if told.trouble.measure is not None:
                told.causes_then = self._blame(told, at)
            with self.database.read() as connection:
                told.last_entries = [entry for entry, _ in journal.find(connection, Search(until=to_iso(at)))][-20:]

    def _blame(self, told: Told, at: datetime) -> list[str] | None:
        assert told.trouble.measure is not None
        with self.database.read() as connection:
            found, _ = explain(connection, self.home, told.trouble.measure, at - _LOOKED_BACK, name=NAME)
        return [cause.sentence for cause in found[0].causes] if found else None
