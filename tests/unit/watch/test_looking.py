"""Looking at sources: each as often as it is worth, none waited for that is slow, and what fails says nothing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from tests.support.alerts import NOW
from undercroft.core.clock import to_iso
from undercroft.core.errors import UnavailableError
from undercroft.storage.journal import Entry
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.likely_causes import entry_sentence
from undercroft.watch.incidents.looking import Looker, Source


def finding(sentence: str) -> Finding:
    return Finding(Kind.DISK_LOW, "home", NOW, Severity.WARNING, sentence, {})


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_source_is_looked_at_as_often_as_it_says() -> None:
    """Between two looks what it found last holds."""
    looks: list[datetime] = []
    clock = Clock()

    def look(now: datetime) -> list[Finding]:
        looks.append(now)
        return [finding(f"look {len(looks)}")]

    looker = Looker([Source("disk", frozenset({Kind.DISK_LOW}), 60.0, look)], clock)
    for seconds, wanted in ((0, "look 1"), (59, "look 1"), (60, "look 2")):
        clock.seconds = seconds
        findings, looked = looker.look(NOW)
        assert ([one.sentence for one in findings], looked) == ([wanted], {Kind.DISK_LOW})


def test_a_source_that_fails_says_nothing_and_keeps_no_other_from_looking() -> None:
    """Its kinds were not looked at, so its incidents stay as they are; the next look may work again."""
    clock, broken = Clock(), True

    def look(now: datetime) -> list[Finding]:
        if broken:
            raise UnavailableError("disk-away", "the disk is away")
        return [finding("low")]

    sources = [
        Source("disk", frozenset({Kind.DISK_LOW}), 0.0, look),
        Source("journal", frozenset({Kind.JOURNAL_BROKEN}), 0.0, lambda _now: []),
    ]
    looker = Looker(sources, clock)
    assert looker.look(NOW) == ([], {Kind.JOURNAL_BROKEN})
    broken = False
    findings, looked = looker.look(NOW)
    assert ([one.sentence for one in findings], looked) == (["low"], {Kind.DISK_LOW, Kind.JOURNAL_BROKEN})
    broken = True
    assert looker.look(NOW) == ([], {Kind.JOURNAL_BROKEN})


def test_nobody_waits_for_a_slow_source() -> None:
    """It is not looked at until it has ended, and not begun twice."""
    may_end, begun = threading.Event(), threading.Semaphore(0)

    def look(now: datetime) -> list[Finding]:
        begun.release()
        assert may_end.wait(60)
        return [finding("low")]

    looker = Looker([Source("disk", frozenset({Kind.DISK_LOW}), 0.0, look, is_slow=True)], Clock(), has_patience=False)
    assert looker.look(NOW) == ([], frozenset())
    assert begun.acquire(timeout=60)
    assert looker.look(NOW) == ([], frozenset())
    assert not begun.acquire(blocking=False)
    (thread,) = [one for one in threading.enumerate() if one.name == "look-disk"]
    may_end.set()
    thread.join(60)
    findings, looked = looker.look(NOW)
    assert ([one.sentence for one in findings], looked) == (["low"], {Kind.DISK_LOW})


def test_a_cause_names_a_thing_and_a_time_and_no_person() -> None:
    """Not who, not their reason; the name of a key is often a person's."""

    def entry(action: str, subject: str) -> Entry:
        return Entry(9, to_iso(NOW - timedelta(minutes=4)), "cli:anna", action, subject, None, None, "for Ben", "")

    assert entry_sentence(entry("release.promoted", "bot@8"), NOW, Measure.LATENCY) == (
        "release.promoted bot@8, 4 m before (undercroft journal show 9)"
    )
    assert (
        entry_sentence(entry("key.create", "anna"), NOW, Measure.LATENCY)
        == "key.create, 4 m before (undercroft journal show 9)"
    )
    early = entry_sentence(entry("deployment.change", "bot"), NOW - timedelta(minutes=5), Measure.LATENCY)
    assert early == "deployment.change bot, at that time (undercroft journal show 9)"
