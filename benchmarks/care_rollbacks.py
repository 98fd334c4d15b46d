"""A bad release that is in production, untried, and a rule that rolls back: what users got until then. Moved clock."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.care_bank import GOOD, NAME, Bank
from benchmarks.care_year import BEGIN
from undercroft.core.home import Home
from undercroft.core.settings import AlertSettings, Settings
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving import deployments
from undercroft.storage.database import Database
from undercroft.watch.incidents.alerting import Watcher
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.incidents.looking import Looker, sources_of
from undercroft.watch.probes.history import begin_run, end_run
from undercroft.watch.probes.outcomes import mean_score
from undercroft.watch.probes.probe_files import probe_file

# As in a schedule "*/15 * * * *".
_BETWEEN_RUNS = timedelta(minutes=15)
_REQUESTS_AN_HOUR = 12
_GOOD_RUNS, _MOST_RUNS = 8, 40
_RULE = "rules: [{name: back, when: [probe-failing], do: roll-back}]\n"


@dataclass(frozen=True, slots=True)
class Undone:
    """How a bad release was undone; counts.

    Args:
        bad_runs: Runs of the standard questions that failed until it was left; None where it was not.
        bad_answers: To standard questions, in these runs.
        users_bad_answers: That users got of it, at a request every five minutes.
    """

    bad_runs: int | None
    bad_answers: int
    users_bad_answers: int


class _Reconciler:
    """What rules act on, of a server whose engines are not part of this."""

    def restart(self, name: str) -> None:
        """No rule here asks for it."""
        raise AssertionError(name)

    def wake(self) -> None:
        """The tags in the database say who answers."""


def undo(bank: Bank, folder: Path, variant: str, seed: int, *, failures: int, bad_share: float) -> Undone:
    """Puts a bad release into production and waits until the rule has put it back.

    Args:
        bank: Outcomes to draw from.
        folder: Empty, for the home.
        variant: Of the bad release's answers.
        seed: Of everything that is drawn.
        failures: Failed runs in a row that make an incident.
        bad_share: Of the release's answers to users.
    """
    rng = random.Random(seed)
    home = Home(folder)
    home.prepare()
    database = Database(home.database_file)
    try:
        _set_up(home, database, bank)
        settings = Settings(alerts=AlertSettings.model_validate({"probe_failures": failures}))
        now = BEGIN
        sources = [one for one in sources_of(home, database, settings, None) if one.name in ("probes", "drift")]
        looker = Looker(sources, lambda: (now - BEGIN).total_seconds())
        cause = likely_cause(database, home)
        watcher = Watcher(home, database, settings.alerts, looker, _Reconciler(), cause)
        bad_runs = bad_answers = users = 0
        for number in range(_GOOD_RUNS + _MOST_RUNS):
            if number == _GOOD_RUNS:
                with database.write() as connection:
                    store.move_tags(connection, NAME, {"production": 2, "previous": 1})
                # Between two runs, so that users may be answered before the next.
                users += _bad_requests(rng, rng.random(), bad_share)
            with database.read() as connection:
                production = store.tags_of(connection, NAME)["production"]
            if number > _GOOD_RUNS and production == 1:
                return Undone(bad_runs, bad_answers, users)
            failed = _run(database, bank, variant if production == 2 else GOOD, rng, now, production)
            bad_runs += failed > 0
            bad_answers += failed
            watcher.look(now + timedelta(seconds=10))
            with database.read() as connection:
                is_bad = store.tags_of(connection, NAME)["production"] == 2
            users += _bad_requests(rng, 1.0, bad_share) if is_bad and number >= _GOOD_RUNS else 0
            now += _BETWEEN_RUNS
        return Undone(None, bad_answers, users)
    finally:
        database.close()


def _set_up(home: Home, database: Database, bank: Bank) -> None:
    probe_file(home, NAME).write_text(bank.probe, encoding="utf-8")
    home.actions_file.write_text(_RULE, encoding="utf-8")
    models.add_local(database, home, bank.models["ticket-pilot"], name="ticket-pilot", actor="cli:anna", must_copy=True)
    with database.write() as connection:
        for prompt in (None, {"system": "Another."}):
            content = check_content({"model": "ticket-pilot", "prompt": prompt})
            store.create(connection, NAME, content, actor="cli:anna", reason=None)
        store.move_tags(connection, NAME, {"production": 1})
        deployments.serve_release(connection, store.get(connection, NAME, 1))


def _run(database: Database, bank: Bank, variant: str, rng: random.Random, now: datetime, production: int) -> int:
    """One run of the standard questions; how many failed."""
    outcomes = rng.choice(bank.rounds[variant])
    run = begin_run(database, NAME, now, now)
    assert run is not None
    passed = sum(outcome.has_passed for outcome in outcomes)
    end_run(
        database,
        run,
        now,
        release=f"{NAME}@{production}",
        asked=len(outcomes),
        passed=passed,
        score=mean_score(outcomes),
        note="",
    )
    return len(outcomes) - passed


def _bad_requests(rng: random.Random, spans: float, bad_share: float) -> int:
    """Bad answers that users got within so many times between two runs."""
    left = spans * _BETWEEN_RUNS.total_seconds()
    found = 0
    while (left := left - rng.expovariate(_REQUESTS_AN_HOUR / 3600)) > 0:
        found += rng.random() < bad_share
    return found
