"""A year of a name, in minutes: each day its standard questions and its users' requests, and something that goes wrong.

Outcomes of standard questions are real answers of the starter, drawn from `care_bank`; their times, and those of the
users' requests, are the measured ones with noise. The clock is the year's own; what reads the rows is the product.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from benchmarks.care_bank import COARSE, GOOD, NAME, PROMPT, STARTER, Bank
from undercroft.core.clock import to_iso
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving import deployments
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import replica_samples, usage
from undercroft.watch.blame.causes import Measure
from undercroft.watch.blame.explaining import Explained, explain
from undercroft.watch.drift.surveying import look
from undercroft.watch.findings import Finding, Kind
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.outcome_rows import Purpose, baseline_rows, keep_rows, outcome_row
from undercroft.watch.probes.outcomes import Outcome, likeness_to

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365
_REQUESTS_A_DAY = 30
_ROUNDS_OF_BASELINE = 10
_SPEED = frozenset({Kind.LATENCY, Kind.THROUGHPUT})
_ANSWERS = frozenset({Kind.PASSES, Kind.SCORE, Kind.FORMAT, Kind.STYLE, Kind.ANSWER_LANGUAGE, Kind.REFUSALS})


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong on one day and stays.

    Args:
        name: What it is called in the report.
        kinds: Findings that tell of it.
        measure: What is blamed; None where nobody is asked to blame.
        variant: Of the answers from then on.
        entry: Action, subject, before and after of the journal; None where the diary has nothing.
        cause: How the likeliest cause must begin; empty: none may be named.
        slower: Factor of all times.
        busier: Factor of the number of requests.
        longer: Factor of the users' prompts.
        errors: Share of requests that fail.
        release: Number that answers from then on.
        act: Done to the home at that moment.
        leak_bytes_per_hour: That the replica grows by.
    """

    name: str
    kinds: frozenset[Kind]
    measure: Measure | None = None
    variant: str = GOOD
    entry: tuple[str, str, Mapping[str, Any] | None, Mapping[str, Any] | None] | None = None
    cause: str = ""
    slower: float = 1.0
    busier: float = 1.0
    longer: float = 1.0
    errors: float = 0.0
    release: int = 1
    act: Callable[[Home], None] | None = None
    leak_bytes_per_hour: int = 0


def _promoted(number: int) -> tuple[str, str, Mapping[str, Any], Mapping[str, Any]]:
    return "release.promoted", f"{NAME}@{number}", {"tags": {"production": 1}}, {"tags": {"production": number}}


def flip_a_bit(home: Home) -> None:
    """In the middle of the starter's stored file, as a disk does it that is dying."""
    whole = STARTER.read_bytes()
    path = next(p for p in home.blobs.rglob("*") if p.is_file() and p.read_bytes() == whole)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(len(whole) // 2)
        file.write(bytes([whole[len(whole) // 2] ^ 1]))


_THREADS = ({"settings": {"threads": 8}}, {"settings": {"threads": 1}})
TROUBLES = (
    Trouble("prompt edited", _SPEED, Measure.LATENCY, PROMPT, _promoted(2), f"put {NAME}@2", release=2),
    Trouble("coarser quantization", _ANSWERS, Measure.QUALITY, COARSE, _promoted(3), f"put {NAME}@3", release=3),
    Trouble(
        "new neighbour",
        _SPEED,
        Measure.LATENCY,
        entry=("deployment.create", "other", None, {"model": "coarse"}),
        cause="began to serve other",
        slower=2.2,
    ),
    Trouble(
        "fewer threads",
        _SPEED,
        Measure.LATENCY,
        entry=("deployment.change", NAME, *_THREADS),
        cause=f"changed the settings of {NAME}",
        slower=1.8,
    ),
    Trouble("another program's load", _SPEED, Measure.LATENCY, slower=2.5),
    Trouble(
        "more requests", _SPEED | {Kind.INPUT_LENGTH}, Measure.LATENCY, cause="Requests went", slower=1.7, busier=5.0
    ),
    Trouble(
        "longer questions",
        _SPEED | {Kind.INPUT_LENGTH},
        Measure.LATENCY,
        cause="Prompts went",
        slower=1.7,
        longer=5.0,
    ),
    Trouble(
        "release that fails",
        frozenset({Kind.ERRORS, Kind.PASSES}),
        Measure.ERRORS,
        entry=_promoted(2),
        cause=f"put {NAME}@2",
        errors=0.25,
        release=2,
    ),
    Trouble(
        "dearer prompt", _SPEED | {Kind.INPUT_LENGTH}, Measure.COST, PROMPT, _promoted(2), f"put {NAME}@2", release=2
    ),
    Trouble("leak", frozenset({Kind.MEMORY_LEAK}), Measure.MEMORY, leak_bytes_per_hour=30 * 1024**2),
    Trouble("flipped bit", frozenset({Kind.WEIGHTS_CHANGED}), act=flip_a_bit),
)


@dataclass(slots=True)
class Told:
    """What came of a year.

    Args:
        false_alarms: Findings that began to hold before anything went wrong, or are not about it; (kind, day).
        detected_after: Days from the trouble to the first finding that tells of it; None where none did.
        causes: Sentences of the likeliest causes, the likeliest first; None where no change was found.
    """

    false_alarms: list[tuple[str, int]] = field(default_factory=list)
    detected_after: int | None = None
    causes: list[str] | None = None


class Year:
    """One year.

    Args:
        bank: Outcomes to draw from.
        folder: For its home.
        seed: Of everything that is drawn.
        trouble: What goes wrong; None is a quiet year.
        day: When.
        days: Length.
    """

    def __init__(
        self, bank: Bank, folder: Path, seed: int, trouble: Trouble | None, day: int = 200, days: int = DAYS
    ) -> None:
        self._bank = bank
        self._rng = random.Random(seed)
        self._trouble = trouble
        self._day = day
        self._days = days
        self.home = Home(folder)
        self.home.prepare()
        self.database = Database(self.home.database_file)
        self._set_up()

    def run(self) -> Told:
        """Lives it day by day."""
        told = Told()
        holding: set[tuple[Kind, str]] = set()
        for day in range(self._days):
            morning = BEGIN + timedelta(days=day, hours=7)
            is_after = self._trouble is not None and day >= self._day
            if self._trouble is not None and day == self._day:
                self._happen(morning - timedelta(hours=1))
            self._ask(morning, is_after)
            self._use(morning - timedelta(hours=1), is_after)
            found = self._look(morning + timedelta(minutes=30), is_after)
            self._judge(found, holding, day, is_after, told)
            if told.detected_after is not None and day >= self._day + 12:
                break
        told.causes = self._blame()
        return told

    def _judge(
        self, found: list[Finding], holding: set[tuple[Kind, str]], day: int, is_after: bool, told: Told
    ) -> None:
        now = {(one.kind, one.subject) for one in found}
        for kind, _ in now - holding:
            if is_after and self._trouble is not None and kind in self._trouble.kinds:
                if told.detected_after is None:
                    told.detected_after = day - self._day
            elif not is_after:
                told.false_alarms.append((kind.value, day))
        holding.clear()
        holding.update(now)

    def _set_up(self) -> None:
        for name, path in self._bank.models.items():
            models.add_local(self.database, self.home, path, name=name, actor="cli:anna", must_copy=True)
        long = {"system": "You are the help desk. " * 80}
        with self.database.write() as connection:
            for model, prompt in (("ticket-pilot", None), ("ticket-pilot", long), ("coarse", None)):
                content = check_content({"model": model, "prompt": prompt})
                release = store.create(connection, NAME, content, actor="cli:anna", reason=None)
            store.move_tags(connection, NAME, {"production": 1})
            deployments.serve_release(connection, store.get(connection, NAME, 1))
            del release
            for day in range(10, self._days, 23):  # what people do otherwise
                at = BEGIN + timedelta(days=day, hours=self._rng.uniform(0, 24))
                action = self._rng.choice(["key.create", "key.revoke", "model.add", "licence.accept", "release.tag"])
                journal.record(connection, actor="cli:ben", action=action, subject="something", at=at)
        outcomes = {
            question.id: [self._drawn(GOOD, BEGIN)[position] for _ in range(_ROUNDS_OF_BASELINE)]
            for position, question in enumerate(self._bank.questions)
        }
        known = {question.id: baseline_of(question, outcomes[question.id]) for question in self._bank.questions}
        rows = baseline_rows(outcomes, self._bank.questions, known, run_at=BEGIN, probe=NAME, deployment=NAME)
        keep_rows(self.database, rows, BEGIN)

    def _drawn(self, variant: str, at: datetime, slower: float = 1.0) -> list[Outcome]:
        """A round of a variant with times of its own."""
        drawn = self._rng.choice(self._bank.rounds[variant])
        pace = slower * self._rng.lognormvariate(0, 0.1)
        made = []
        for outcome, question in zip(drawn, self._bank.questions, strict=True):
            answer = outcome.answer
            if answer is not None:
                noise = pace * self._rng.lognormvariate(0, 0.1)
                first = answer.first_token_seconds * noise if answer.first_token_seconds is not None else None
                answer = replace(answer, first_token_seconds=first, total_seconds=answer.total_seconds * noise)
            known = self._bank.baseline[question.id]
            likeness = likeness_to(known, answer.text) if answer is not None else None
            made.append(replace(outcome, at=at, answer=answer, likeness=likeness, noisy=known.noisy_checks()))
        return made

    def _ask(self, at: datetime, is_after: bool) -> None:
        trouble = self._trouble if is_after else None
        variant, slower = (trouble.variant, trouble.slower) if trouble else (GOOD, 1.0)
        release = f"{NAME}@{trouble.release if trouble else 1}"
        rows = [
            outcome_row(
                replace(outcome, release=release),
                question,
                run_at=at,
                probe=NAME,
                purpose=Purpose.PROBE,
                deployment=NAME,
            )
            for outcome, question in zip(self._drawn(variant, at, slower), self._bank.questions, strict=True)
        ]
        keep_rows(self.database, rows, at)

    def _use(self, at: datetime, is_after: bool) -> None:
        """The users' requests of a day, over ten hours from ``at`` on."""
        trouble = self._trouble if is_after else None
        count = round(_REQUESTS_A_DAY * (trouble.busier if trouble else 1.0) * self._rng.lognormvariate(0, 0.15))
        rows = []
        for number in range(count):
            outcome = self._rng.choice(
                self._drawn(trouble.variant if trouble else GOOD, at, trouble.slower if trouble else 1.0)
            )
            answer = outcome.answer
            if answer is None or answer.first_token_seconds is None:
                continue
            longer = (trouble.longer if trouble else 1.0) * self._rng.lognormvariate(0, 0.3)
            base = answer.prompt_tokens or 30
            rows.append(
                {
                    "at": to_iso(at + timedelta(hours=10) * (number / count)),
                    "request_id": "r",
                    "key_id": "key_1",
                    "deployment": NAME,
                    "release": trouble.release if trouble else 1,
                    "replica": "rep_1",
                    "route": "/v1/chat/completions",
                    "status": 500 if trouble and self._rng.random() < trouble.errors else 200,
                    "prompt_tokens": round(base * longer) if base < 200 else base,
                    "completion_tokens": answer.answer_tokens,
                    "queue_seconds": 0.0,
                    "first_token_seconds": answer.first_token_seconds * self._rng.lognormvariate(0, 0.3),
                    "total_seconds": answer.total_seconds * self._rng.lognormvariate(0, 0.3) + 1e-3,
                }
            )
        with self.database.write() as connection:
            connection.execute(insert(usage), rows)

    def _happen(self, at: datetime) -> None:
        trouble = self._trouble
        assert trouble is not None
        if trouble.entry is not None:
            action, subject, before, after = trouble.entry
            with self.database.write() as connection:
                journal.record(
                    connection, actor="key:ops-2", action=action, subject=subject, before=before, after=after, at=at
                )
        if trouble.act is not None:
            trouble.act(self.home)

    def _look(self, at: datetime, is_after: bool) -> list[Finding]:
        leak = self._trouble.leak_bytes_per_hour if self._trouble is not None and is_after else 0
        if self._trouble is not None and self._trouble.leak_bytes_per_hour:
            hours = 24 * (at - BEGIN).days - 24 * self._day
            rows = []
            for step in range(24):
                grown = leak * (hours + step) if is_after else 0
                noise = round(self._rng.gauss(0, 200_000))
                rows.append(
                    {
                        "at": to_iso(at - timedelta(hours=24 - step)),
                        "deployment": f"{NAME}@1",
                        "replica": "rep_1",
                        "private_bytes": 50_000_000 + grown + noise,
                        "gpu_bytes": None,
                        "open_files": 20,
                        "requests": 3,
                    }
                )
            with self.database.write() as connection:
                connection.execute(insert(replica_samples), rows)
        return look(self.database, self.home, at)

    def _blame(self) -> list[str] | None:
        if self._trouble is None or self._trouble.measure is None:
            return None
        since = BEGIN + timedelta(days=self._day - 40)
        with self.database.read() as connection:
            found: list[Explained] = explain(connection, self.home, self._trouble.measure, since, name=NAME)[0]
        if not found:
            return None
        return [cause.sentence for cause in found[0].causes]
