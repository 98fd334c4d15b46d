"""When what is told to whom: how many messages, which are gathered, when a try is repeated. Pure.

state    what is true                                       goes on to
───────  ─────────────────────────────────────────────────  ──────────────────────
waiting  it is to be sent, not before a time                sending
sending  a try began; after a kill it is waiting again      sent, waiting, dead
sent     the sink has it                                    -
dead     it was tried as often as it may, or was refused;   waiting, when asked to
         it is kept, and shown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from undercroft.watch.incidents.notes import Note
from undercroft.watch.sinks.contract import Outcome, Result

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=15)


class State(StrEnum):
    """See the table above."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A note that one sink is to get.

    Args:
        id: Its row.
        note: What is told.
        message: Key of the message that it was tried in; None where it was not tried.
        attempts: Tries so far; count.
        not_before: When it may be tried.
        is_repeat: Whether the sink may have it.
    """

    id: int
    note: Note
    message: str | None
    attempts: int
    not_before: datetime
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message after a try.

    Args:
        state: ``sent``, ``waiting`` or ``dead``.
        not_before: When it may be tried again.
        problem: In plain words; empty where there is none.
    """

    state: State
    not_before: datetime
    problem: str


def next_messages(
    waiting: Sequence[Waiting], *, sent_last_hour: int, rate_per_hour: int, now: datetime
) -> list[tuple[Waiting, ...]]:
    """The messages that a sink gets now, in order.

    A message that was tried keeps its notes. While one of them waits for its next try nothing else is sent: the service
    is away. Of what is new each is a message of its own as long as the hour has room; the last one that has takes all
    the rest, and what comes after that waits.

    Args:
        waiting: All that wait for the sink, the oldest first.
        sent_last_hour: Messages that it got within the last hour; count.
        rate_per_hour: Most of them.
        now: The current time.
    """
    tried: dict[str, list[Waiting]] = {}
    fresh = []
    for one in waiting:
        if one.message is None:
            fresh.append(one)
        else:
            tried.setdefault(one.message, []).append(one)
    if any(one.not_before > now for group in tried.values() for one in group):
        return []
    room = rate_per_hour - sent_last_hour
    messages = [tuple(group) for group in tried.values()][: max(room, 0)]
    room -= len(messages)
    due = [one for one in fresh if one.not_before <= now]
    if room <= 0 or not due:
        return messages
    alone = due if len(due) <= room else due[: room - 1]
    rest = due[len(alone) :]
    messages += [(one,) for one in alone]
    return [*messages, tuple(rest)] if rest else messages


def judge(outcome: Outcome, *, attempts: int, most_attempts: int, now: datetime) -> Verdict:
    """What becomes of a message.

    Args:
        outcome: Of the try.
        attempts: With this one; count.
        most_attempts: After which it is given up.
        now: The current time.
    """
    if outcome.result is Result.SENT:
        return Verdict(State.SENT, now, outcome.problem)
    if outcome.result is Result.REFUSED or attempts >= most_attempts:
        return Verdict(State.DEAD, now, outcome.problem)
    wanted = timedelta(seconds=outcome.wait_seconds or 0.0)
    return Verdict(State.WAITING, now + max(pause(attempts), wanted), outcome.problem)


def pause(attempts: int) -> timedelta:
    """Until the next try: 30 s after the first, twice as long each time, at most 15 minutes."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(max(attempts - 1, 0), 10)))
