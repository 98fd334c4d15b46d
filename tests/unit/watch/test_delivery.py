"""When what is told to whom: the rate, what is gathered, when a try is repeated."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.support.alerts import NOW, note
from undercroft.core.settings import AlertSettings
from undercroft.watch.findings import Severity
from undercroft.watch.incidents.alerting import told_notes
from undercroft.watch.incidents.delivery import State, Waiting, judge, next_messages, pause
from undercroft.watch.incidents.notes import Event
from undercroft.watch.sinks.contract import Outcome, Result


def waiting(number: int, message: str | None = None, *, minutes: float = 0, attempts: int = 0) -> Waiting:
    return Waiting(number, note(number), message, attempts, NOW + timedelta(minutes=minutes))


def planned(rows: list[Waiting], *, sent: int = 0, rate: int = 20) -> list[list[int]]:
    messages = next_messages(rows, sent_last_hour=sent, rate_per_hour=rate, now=NOW)
    return [[one.id for one in message] for message in messages]


def test_each_is_a_message_as_long_as_the_hour_has_room() -> None:
    """In order."""
    assert planned([waiting(1), waiting(2)]) == [[1], [2]]
    assert planned([]) == []


def test_the_last_message_of_the_hour_gathers_the_rest() -> None:
    """And when the hour is full everything waits."""
    rows = [waiting(number) for number in range(1, 6)]
    assert planned(rows, sent=17) == [[1], [2], [3, 4, 5]]
    assert planned(rows, sent=19) == [[1, 2, 3, 4, 5]]
    assert planned(rows, sent=20) == []
    assert planned(rows, sent=21) == []


def test_a_message_that_was_tried_keeps_its_notes() -> None:
    """So that the sink may know a copy by its key."""
    rows = [waiting(1, "a", attempts=1), waiting(2, "a", attempts=1), waiting(3)]
    assert planned(rows) == [[1, 2], [3]]
    assert planned(rows, sent=19) == [[1, 2]]


def test_a_service_that_is_away_is_left_alone() -> None:
    """While one of its messages waits for the next try, the others wait with it."""
    assert planned([waiting(1, "a", minutes=1, attempts=1), waiting(2)]) == []


@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=60), st.integers(0, 30), st.integers(1, 30))
def test_never_more_than_the_rate_and_nothing_twice(kinds: list[str], sent: int, rate: int) -> None:
    """Whatever waits."""
    rows = [waiting(number, kind or None) for number, kind in enumerate(kinds)]
    messages = planned(rows, sent=sent, rate=rate)
    assert len(messages) <= max(rate - sent, 0)
    ids = [one for message in messages for one in message]
    assert len(ids) == len(set(ids))
    assert all(messages)
    if len(messages) < rate - sent:
        assert set(ids) == {row.id for row in rows}


def test_what_becomes_of_a_message() -> None:
    """Sent, tried again after a pause that grows, given up at the last try or at once where it was refused."""
    later = Outcome(Result.LATER, "busy")
    assert judge(Outcome(Result.SENT), attempts=1, most_attempts=3, now=NOW).state is State.SENT
    again = judge(later, attempts=2, most_attempts=3, now=NOW)
    assert (again.state, again.not_before - NOW, again.problem) == (State.WAITING, timedelta(minutes=1), "busy")
    assert judge(later, attempts=3, most_attempts=3, now=NOW).state is State.DEAD
    assert judge(Outcome(Result.REFUSED, "no"), attempts=1, most_attempts=3, now=NOW).state is State.DEAD
    asked = judge(Outcome(Result.LATER, "busy", 300.0), attempts=1, most_attempts=3, now=NOW)
    assert asked.not_before - NOW == timedelta(minutes=5)


def test_pauses_grow_and_end() -> None:
    """30 s, twice as long each time, never more than a quarter of an hour."""
    assert [pause(tries).total_seconds() for tries in (1, 2, 3, 4, 5, 6, 1000)] == [30, 60, 120, 240, 480, 900, 900]


def test_who_is_told_what_the_settings_say() -> None:
    """Nothing below the least severity; what is open for long to whom the settings name."""
    settings = AlertSettings.model_validate(
        {"slack_url_file": "s", "email_host": "mail", "escalate_to": ["email"], "from_severity": "warning"}
    )
    notes = [
        note(1),
        note(2, severity=Severity.NOTICE),
        note(3, Event.ESCALATED),
        note(4, Event.RESOLVED, severity=Severity.WARNING),
    ]
    told = [([one.incident for one in each], sinks) for each, sinks in told_notes(notes, settings)]
    assert told == [([1, 4], ("slack", "email")), ([3], ("email",))]
