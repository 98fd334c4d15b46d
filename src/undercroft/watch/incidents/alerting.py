"""The server looks at what may be wrong, keeps incidents of it, does what rules say, and tells who wants to know.

Two loops: one looks and writes what is to be told into the outbox, the other empties that. Either can be killed at any
time; the next one goes on with what the database says.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from undercroft.core.clock import utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import AlertSettings
from undercroft.storage.database import Database
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents import incident_store, outbox
from undercroft.watch.incidents.acting import Server, act, done_since
from undercroft.watch.incidents.actions import Rule, longest_window, next_actions, read_rules
from undercroft.watch.incidents.alert_texts import sentence_of, word
from undercroft.watch.incidents.delivery import State, Waiting, judge, next_messages
from undercroft.watch.incidents.incidents import Cause, Incident, Patience, Step, decide, is_at_least
from undercroft.watch.incidents.looking import Looker
from undercroft.watch.incidents.notes import Event, Message, Note
from undercroft.watch.sinks import alertmanager
from undercroft.watch.sinks.all import (
    ALERTMANAGER,
    WITH_MEMORY,
    alertmanager_url,
    configured,
    make_sink,
    site_of,
    told_of_escalations,
    wire_of,
)
from undercroft.watch.sinks.contract import Outcome, Post, Result, judge_status
from undercroft.watch.sinks.posting import post, why

_log = structlog.get_logger("incidents")

_LOOK_SECONDS = 2.0
_DELIVER_SECONDS = 1.0
_HOUR = timedelta(hours=1)
_RULE_KINDS = frozenset({Kind.ACTION_FAILED, Kind.ACTIONS_EXHAUSTED, Kind.RULES_UNUSABLE})


def look_after_incidents(watcher: Watcher, ending: threading.Event) -> None:
    """Until the server ends."""
    while not ending.wait(_LOOK_SECONDS):
        try:
            watcher.look(utc_now())
        except (UndercroftError, OSError, SQLAlchemyError) as error:
            _log.error("incidents failed", error=str(error))


def look_after_alerts(deliverer: Deliverer, ending: threading.Event) -> None:
    """Until the server ends; a try that runs then is repeated by the next server."""
    has_begun = False
    while not ending.wait(_DELIVER_SECONDS):
        try:
            if not has_begun:
                deliverer.begin(utc_now())
                has_begun = True
            deliverer.look(utc_now())
        except (UndercroftError, OSError, SQLAlchemyError) as error:
            _log.error("alerts failed", error=str(error))
            has_begun = False  # a try may have been left in the middle


def told_notes(notes: Sequence[Note], settings: AlertSettings) -> list[tuple[list[Note], tuple[str, ...]]]:
    """Which notes go to which sinks. Pure.

    Args:
        notes: Of one look.
        settings: In force.
    """
    grave = [note for note in notes if is_at_least(note.severity, Severity(settings.from_severity))]
    escalated = [note for note in grave if note.event is Event.ESCALATED]
    others = [note for note in grave if note.event is not Event.ESCALATED]
    return [(others, configured(settings)), (escalated, told_of_escalations(settings))]


def patience_of(settings: AlertSettings) -> Patience:
    """How long things may take."""
    escalate = timedelta(minutes=settings.escalate_minutes) if settings.escalate_minutes else None
    return Patience(timedelta(minutes=settings.quiet_minutes), escalate)


class Watcher:
    """Keeps incidents, and acts.

    Args:
        home: Of the server.
        database: Of the home.
        settings: In force.
        looker: What may be wrong.
        server: What rules act on; None where none runs, and so nothing is done.
        cause: Says what probably caused a finding.
    """

    def __init__(
        self,
        home: Home,
        database: Database,
        settings: AlertSettings,
        looker: Looker,
        server: Server | None,
        cause: Cause,
    ) -> None:
        self._home = home
        self._database = database
        self._settings = settings
        self._looker = looker
        self._server = server
        self._cause = cause

    def look(self, now: datetime) -> None:
        """One look at everything."""
        findings, looked = self._looker.look(now)
        rules, unusable = self._rules(now)
        findings += [*unusable, *self._for_people(rules, now)]
        looked |= _RULE_KINDS if not unusable else {Kind.RULES_UNUSABLE}
        patience = patience_of(self._settings)
        with self._database.read() as connection:
            changes = decide(incident_store.known(connection), findings, looked, patience, now)
        if changes:
            # Before the transaction: looking for causes may take a while, and others have to write, too.
            opened = [change.finding for change in changes if change.step is Step.OPEN and change.finding is not None]
            causes = {(finding.kind, finding.subject): self._cause(finding) for finding in opened}
            with self._database.write() as connection:
                # Decided again: a person may have resolved one meanwhile.
                changes = decide(incident_store.known(connection), findings, looked, patience, now)
                notes = incident_store.apply(
                    connection, changes, lambda finding: causes.get((finding.kind, finding.subject)), now
                )
                for told, sinks in told_notes(notes, self._settings):
                    outbox.put(connection, told, sinks, now)
            for note in notes:
                _log.warning("incident", number=note.incident, what=note.event, kind=note.kind, subject=note.subject)
        self._act(rules, now)

    def _rules(self, now: datetime) -> tuple[list[Rule], list[Finding]]:
        try:
            return read_rules(self._home.actions_file).rules, []
        except UndercroftError:
            name = self._home.actions_file.name
            sentence = sentence_of(Kind.RULES_UNUSABLE, name, {})
            return [], [Finding(Kind.RULES_UNUSABLE, name, now, Severity.WARNING, sentence, {})]

    def _for_people(self, rules: Sequence[Rule], now: datetime) -> list[Finding]:
        if not rules:
            return []
        with self._database.read() as connection:
            incidents = incident_store.list_open(connection)
            done = done_since(connection, now - longest_window(rules), [incident.id for incident in incidents])
        return next_actions(rules, incidents, done, now)[1]

    def _act(self, rules: Sequence[Rule], now: datetime) -> None:
        if not rules or self._server is None:
            return
        with self._database.read() as connection:
            incidents = incident_store.list_open(connection)
            done = done_since(connection, now - longest_window(rules), [incident.id for incident in incidents])
        for action in next_actions(rules, incidents, done, now)[0]:
            seen = act(self._database, self._server, action, configured(self._settings), now)
            _log.warning("rule acted", rule=seen.rule, deed=seen.deed, target=seen.target, problem=seen.problem)


@dataclass(slots=True)
class Mirror:
    """What Alertmanager was told last.

    Args:
        at: When; None for never.
        told: Numbers of the incidents, and whether each was open.
        failures: Tries in a row that failed; count.
    """

    at: datetime | None = None
    told: tuple[tuple[int, bool], ...] = ()
    failures: int = 0


class Deliverer:
    """Empties the outbox, each sink for itself, and keeps Alertmanager informed.

    Args:
        database: Of the home.
        settings: In force.
    """

    def __init__(self, database: Database, settings: AlertSettings) -> None:
        self._database = database
        self._settings = settings
        self._sinks = configured(settings)
        self.mirror = Mirror()

    def begin(self, now: datetime) -> None:
        """What an earlier server left."""
        with self._database.write() as connection:
            outbox.recover(connection, WITH_MEMORY)
            outbox.give_up(connection, self._sinks, now)
            outbox.forget_old(connection, now)

    def look(self, now: datetime) -> None:
        """Sends what is due; one sink that is slow keeps no other waiting."""
        jobs: list[Callable[[], None]] = [lambda sink=sink: self._empty(sink, now) for sink in self._due(now)]  # type: ignore[misc]
        if self._settings.alertmanager_url_file is not None:
            jobs.append(lambda: self._reflect(now))
        if not jobs:
            return
        with ThreadPoolExecutor(len(jobs), thread_name_prefix="alert") as pool:
            for result in [pool.submit(job) for job in jobs]:
                result.result()

    def _due(self, now: datetime) -> list[str]:
        with self._database.read() as connection:
            return [sink for sink in self._sinks if self._messages(connection, sink, now)]

    def _messages(self, connection: Connection, sink: str, now: datetime) -> list[tuple[Waiting, ...]]:
        return next_messages(
            outbox.waiting_for(connection, sink),
            sent_last_hour=outbox.count_sent(connection, sink, now - _HOUR),
            rate_per_hour=self._settings.rate_per_hour,
            now=now,
        )

    def _empty(self, sink: str, now: datetime) -> None:
        with self._database.read() as connection:
            messages = self._messages(connection, sink, now)
        for group in messages:
            if self._send(sink, group, now).result is Result.LATER:
                return

    def _send(self, sink: str, group: Sequence[Waiting], now: datetime) -> Outcome:
        with self._database.write() as connection:
            key = outbox.take(connection, group)
        message = Message(
            key=key,
            language=self._settings.language,
            site=site_of(self._settings),
            notes=tuple(one.note for one in group),
            is_repeat=any(one.is_repeat for one in group),
        )
        outcome = try_sink(sink, self._settings, message, now)
        verdict = judge(outcome, attempts=group[0].attempts + 1, most_attempts=self._settings.attempts, now=now)
        with self._database.write() as connection:
            outbox.settle(connection, group, verdict, now)
        if verdict.state is not State.SENT:
            _log.warning("alert not sent", sink=sink, state=verdict.state, problem=verdict.problem)
        return outcome

    def _reflect(self, now: datetime) -> None:
        with self._database.read() as connection:
            newest = incident_store.list_newest(connection, limit=500, since=now - timedelta(minutes=15))
        told = tuple((incident.id, incident.is_open) for incident in newest)
        is_due = self.mirror.at is None or now - self.mirror.at >= alertmanager.RESEND
        if not is_due and (told == self.mirror.told or self.mirror.failures):
            return
        outcome = tell_alertmanager(self._settings, newest, now)
        self.mirror.at, self.mirror.told = now, told
        self.mirror.failures = 0 if outcome.result is Result.SENT else self.mirror.failures + 1
        if self.mirror.failures:
            _log.warning("alertmanager not told", problem=outcome.problem)

    def judge_mirror(self, now: datetime) -> list[Finding]:
        """Whether Alertmanager took what it was told the last times."""
        if self.mirror.failures < 3:
            return []
        figures: dict[str, float | int | str] = {"count": self.mirror.failures}
        sentence = sentence_of(Kind.ALERTS_UNDELIVERED, "alertmanager", figures)
        return [Finding(Kind.ALERTS_UNDELIVERED, "alertmanager", now, Severity.WARNING, sentence, figures)]


def try_sink(name: str, settings: AlertSettings, message: Message, now: datetime) -> Outcome:
    """One try of one sink; whatever goes wrong in it is an outcome."""
    try:
        return make_sink(name, settings).send(message, now)
    except UndercroftError as error:
        return Outcome(Result.LATER, error.message)
    except Exception as error:  # noqa: BLE001  (a sink is a plug-in: what is odd in one must not end the others)
        _log.exception("sink failed", sink=name)
        return Outcome(Result.LATER, f"it failed in an unforeseen way: {type(error).__name__}")


def tell_alertmanager(settings: AlertSettings, newest: Sequence[Incident], now: datetime) -> Outcome:
    """One try to tell Alertmanager what is open."""
    return _post_alerts(
        settings, lambda url: alertmanager.request(url, newest, settings.language, site_of(settings), now)
    )


def send_test(settings: AlertSettings, names: Sequence[str], now: datetime) -> dict[str, Outcome]:
    """Tells some sinks that nothing is wrong, at once and beside the outbox; how each took it.

    Args:
        settings: In force.
        names: Of sinks that the settings name; ``alertmanager`` may be one.
        now: The current time.
    """
    note = Note(Event.TEST, Severity.NOTICE, now)
    message = Message(secrets.token_hex(16), settings.language, site_of(settings), (note,))
    text = word("try", settings.language)
    return {
        name: _post_alerts(settings, lambda url: alertmanager.trial(url, text, site_of(settings), now))
        if name == ALERTMANAGER
        else try_sink(name, settings, message, now)
        for name in names
    }


def _post_alerts(settings: AlertSettings, request: Callable[[str], Post]) -> Outcome:
    """One request to Alertmanager; whatever goes wrong is an outcome."""
    try:
        url = alertmanager_url(settings)
        assert url is not None
        return judge_status(post(request(url), wire_of(settings)))
    except UndercroftError as error:
        return Outcome(Result.LATER, error.message)
    except (OSError, HTTPException) as error:
        return Outcome(Result.LATER, f"no answer: {why(error)}")
