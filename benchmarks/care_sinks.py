"""An alert sink that is away for days while things go wrong: what was owed, what came, what is shown as dead."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.care_bank import NAME, Bank
from benchmarks.care_receivers import Receiver
from benchmarks.care_year import BEGIN
from undercroft.core.home import Home
from undercroft.core.settings import AlertSettings, Settings
from undercroft.storage.database import Database
from undercroft.storage.tables import alerts
from undercroft.watch.incidents import outbox
from undercroft.watch.incidents.alerting import Deliverer, Watcher
from undercroft.watch.incidents.delivery import State
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.incidents.looking import Looker, sources_of
from undercroft.watch.probes.history import begin_run, end_run
from undercroft.watch.probes.probe_files import probe_file

_STEP = timedelta(minutes=10)
_GOES, _COMES, _DAYS = timedelta(days=1), timedelta(days=4), 6
_HOURS_BETWEEN = 5.0
_FAILED_RUNS = 3
_QUESTIONS = 5
_SOURCES = frozenset({"probes", "sinks"})


@dataclass(frozen=True, slots=True)
class Outage:
    """What came of days without a sink. Notes and messages are counts.

    Args:
        owed: Notes that arose for the sink.
        by_itself: That it had a day and more after it came back.
        dead: That were shown as undeliverable then.
        after_retry: That it had after ``alert retry``.
        twice: Notes that it had more than once.
        out_of_order: Notes that came after one that arose later, before ``alert retry`` and, apart, after it.
        most_an_hour: Most messages that it got within an hour.
        tries: While it was away.
        told_elsewhere: Whether another sink heard that this one takes nothing.
        unsent_elsewhere: Notes that the other sink, which was there all the time, lacks.
    """

    owed: int
    by_itself: int
    dead: int
    after_retry: int
    twice: int
    out_of_order: int
    most_an_hour: int
    tries: int
    told_elsewhere: bool
    unsent_elsewhere: int


class _World:
    """A server's two loops, on a clock of their own, with a sink that goes away and one that stays."""

    def __init__(self, bank: Bank, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)
        probe_file(self.home, NAME).write_text(bank.probe, encoding="utf-8")
        self.away, self.there = Receiver(), Receiver()
        files = {
            "webhook_url_file": self.away.url,
            "webhook_secret_file": "a secret of the benchmark, long enough",
            "slack_url_file": self.there.url,
        }
        for name, text in files.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")
        given = {"site": "cellar-1", "timeout_seconds": 5.0, **{name: folder / name for name in files}}
        settings = Settings(alerts=AlertSettings.model_validate(given))
        self.now = BEGIN
        sources = [one for one in sources_of(self.home, self.database, settings, None) if one.name in _SOURCES]
        looker = Looker(sources, lambda: (self.now - BEGIN).total_seconds())
        cause = likely_cause(self.database, self.home)
        self.watcher = Watcher(self.home, self.database, settings.alerts, looker, None, cause)
        self.deliverer = Deliverer(self.database, settings.alerts)
        self.deliverer.begin(self.now)
        self.hours: list[tuple[datetime, int]] = []

    def step(self) -> None:
        """Both loops look once."""
        self.now += _STEP
        self.watcher.look(self.now)
        self.deliverer.look(self.now)
        self.hours.append((self.now, len(self.away.received)))

    def run_of_probe(self, *, is_good: bool) -> None:
        """A run that has ended."""
        run = begin_run(self.database, NAME, None, self.now)
        assert run is not None
        passed = _QUESTIONS if is_good else 1
        score = passed / _QUESTIONS
        end_run(
            self.database, run, self.now, release=f"{NAME}@1", asked=_QUESTIONS, passed=passed, score=score, note=""
        )

    def count(self, sink: str, *states: State) -> int:
        """Notes for a sink that are in one of some states."""
        query = select(func.count()).where(alerts.c.sink == sink, alerts.c.state.in_([one.value for one in states]))
        with self.database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def owed(self) -> list[tuple[int, str]]:
        """Notes for the sink that goes away, in the order in which they arose."""
        query = select(alerts.c.incident, alerts.c.event).where(alerts.c.sink == "webhook").order_by(alerts.c.id)
        with self.database.read() as connection:
            return [(int(row.incident), str(row.event)) for row in connection.execute(query)]

    def received(self) -> list[tuple[int, str]]:
        """Notes that it got, in the order in which it got them."""
        found = (note for _, body in self.away.received for note in body["data"]["alerts"])
        return [(int(note["incident"]), str(note["event"])) for note in found]

    def tries(self) -> int:
        """Of messages to it, so far; count."""
        query = select(func.max(alerts.c.attempts)).where(alerts.c.sink == "webhook", alerts.c.message.is_not(None))
        with self.database.read() as connection:
            return sum(connection.execute(query.group_by(alerts.c.message)).scalars())

    def most_an_hour(self) -> int:
        """Most messages that it got within an hour."""
        steps = timedelta(hours=1) // _STEP
        counts = [0] * steps + [count for _, count in self.hours]
        return max(later - earlier for earlier, later in zip(counts, counts[steps:], strict=False))


def live_through(bank: Bank, folder: Path, seed: int) -> Outage:
    """Six days with an incident about every five hours, three of them without the sink.

    Args:
        bank: For the probe's file.
        folder: Empty, for the home.
        seed: Of when things go wrong.
    """
    rng = random.Random(seed)
    world = _World(bank, folder)
    world.away.come()
    world.there.come()
    try:
        tries = _live(world, rng)
        by_itself = world.received()
        dead = world.count("webhook", State.DEAD)
        with world.database.write() as connection:
            outbox.retry(connection, "webhook", world.now)
        while world.count("webhook", State.WAITING, State.SENDING):
            world.step()
        received, owed = world.received(), world.owed()
        places = {note: place for place, note in enumerate(owed)}
        return Outage(
            owed=len(owed),
            by_itself=len(by_itself),
            dead=dead,
            after_retry=len(set(received)),
            twice=len(received) - len(set(received)),
            out_of_order=sum(
                places[one] > places[next_one]
                for part in (by_itself, received[len(by_itself) :])
                for one, next_one in itertools.pairwise(part)
            ),
            most_an_hour=world.most_an_hour(),
            tries=tries,
            told_elsewhere="webhook" in " ".join(str(body) for _, body in world.there.received),
            unsent_elsewhere=world.count("slack", State.WAITING, State.SENDING, State.DEAD),
        )
    finally:
        world.away.go()
        world.there.go()
        world.database.close()


def _live(world: _World, rng: random.Random) -> int:
    """Tries while the sink was away; count."""
    next_trouble = BEGIN + timedelta(hours=rng.uniform(0, _HOURS_BETWEEN))
    failing = 0
    before = tries = 0
    while world.now < BEGIN + timedelta(days=_DAYS):
        if world.now - BEGIN == _GOES:
            world.away.go()
            before = world.tries()
        if world.now - BEGIN == _COMES:
            tries = world.tries() - before
            world.away.come()
        if world.now >= next_trouble and world.now - BEGIN < _COMES:
            next_trouble += timedelta(hours=_HOURS_BETWEEN * rng.uniform(0.6, 1.4))
            failing = _FAILED_RUNS
        world.run_of_probe(is_good=failing == 0)
        failing = max(0, failing - 1)
        world.step()
    return tries
