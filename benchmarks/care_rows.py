"""What is drawn for the days of a year: outcomes of standard questions, requests of users, samples of a replica."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from benchmarks.care_bank import GOOD, NAME, Bank
from benchmarks.care_troubles import Trouble
from undercroft.core.clock import to_iso
from undercroft.watch.probes.outcomes import Outcome

_MIB = 1024 * 1024
_REQUESTS_A_DAY = 40
_OPEN_HOURS = 10
_WEEKEND = 0.6
# A prompt of the release's own is as long as it is; what users write varies.
_SHORT_TOKENS = 200
_WARM_UP_BYTES, _WARM_UP_HOURS = 40 * _MIB, 2.0


class Active(Protocol):
    """Something that goes wrong just now."""

    @property
    def trouble(self) -> Trouble:
        """What."""


class Draws:
    """Draws from a bank.

    Args:
        bank: Real outcomes.
        rng: Seeded.
    """

    def __init__(self, bank: Bank, rng: random.Random) -> None:
        self._bank = bank
        self._rng = rng

    def outcomes(self, trouble: Trouble | None, at: datetime, release: str = f"{NAME}@1") -> list[Outcome]:
        """A run of the standard questions, with times of its own.

        Args:
            trouble: That holds then; None where all is well.
            at: When they are asked.
            release: That answers.
        """
        variant, slower = (trouble.variant, trouble.slower) if trouble is not None else (GOOD, 1.0)
        pace = slower * self._rng.lognormvariate(0, 0.1)
        made = []
        for outcome in self._rng.choice(self._bank.rounds[variant]):
            answer = outcome.answer
            if trouble is not None and self._rng.random() < trouble.errors:
                made.append(replace(outcome, at=at, release=release, answer=None, results=(), error="engine-error"))
                continue
            if answer is not None:
                noise = pace * self._rng.lognormvariate(0, 0.1)
                first = answer.first_token_seconds
                answer = replace(
                    answer,
                    first_token_seconds=None if first is None else first * noise,
                    total_seconds=answer.total_seconds * noise,
                )
            made.append(replace(outcome, at=at, release=release, answer=answer))
        return made

    def requests(
        self, opens: datetime, active: Callable[[datetime], Active | None]
    ) -> list[tuple[datetime, dict[str, Any]]]:
        """The users' requests of a day: when each ended, and its row of the table ``usage``.

        Args:
            opens: When the first may come; the last comes ten hours later.
            active: What is wrong at a time.
        """
        usual = _REQUESTS_A_DAY * (_WEEKEND if opens.weekday() > 4 else 1.0) * self._rng.lognormvariate(0, 0.15)
        moments: list[datetime] = []
        at = opens
        while at < opens + timedelta(hours=_OPEN_HOURS):
            moments.append(at)
            told = active(at)
            busier = told.trouble.busier if told is not None else 1.0
            at += timedelta(hours=_OPEN_HOURS * self._rng.expovariate(usual * busier))
        made = []
        for moment in moments:
            told = active(moment)
            row = self._request(moment, told.trouble if told is not None else None)
            made += [(moment, row)] if row is not None else []
        return made

    def _request(self, at: datetime, trouble: Trouble | None) -> dict[str, Any] | None:
        answer = self._rng.choice(self._rng.choice(self._bank.rounds[trouble.variant if trouble else GOOD])).answer
        if answer is None or answer.first_token_seconds is None:
            return None
        slower = (trouble.slower if trouble else 1.0) * self._rng.lognormvariate(0, 0.1)
        longer = (trouble.longer if trouble else 1.0) * self._rng.lognormvariate(0, 0.3)
        base = answer.prompt_tokens or 30
        first = answer.first_token_seconds * slower * self._rng.lognormvariate(0, 0.3)
        rest = (answer.total_seconds - answer.first_token_seconds) * slower * self._rng.lognormvariate(0, 0.3)
        has_failed = trouble is not None and self._rng.random() < trouble.errors
        return {
            "at": to_iso(at),
            "request_id": "r",
            "key_id": "key_1",
            "deployment": NAME,
            "release": trouble.release if trouble else 1,
            "replica": "rep_1",
            "route": "/v1/chat/completions",
            "status": 500 if has_failed else 200,
            "prompt_tokens": round(base * longer) if base < _SHORT_TOKENS else base,
            "completion_tokens": answer.answer_tokens,
            "queue_seconds": 0.0,
            "first_token_seconds": first,
            "total_seconds": first + rest + 1e-3,
        }


def samples(
    rng: random.Random,
    replica: str,
    since: datetime,
    until: datetime,
    *,
    born: datetime,
    leaks_since: datetime | None,
    bytes_per_hour: int,
) -> list[dict[str, Any]]:
    """Samples of a replica, one a minute as the server takes them: a warm-up that ends, noise, and perhaps a leak.

    Args:
        rng: Seeded.
        replica: Its id.
        since: Of the sample before.
        until: Of the last one.
        born: When it was loaded.
        leaks_since: When it began to leak; None is never.
        bytes_per_hour: That it leaks.
    """
    made = []
    at = since + timedelta(minutes=1)
    while at <= until:
        grown = _WARM_UP_BYTES * (1 - math.exp(-_hours(born, at) / _WARM_UP_HOURS))
        if leaks_since is not None and at > leaks_since:
            grown += bytes_per_hour * _hours(leaks_since, at)
        made.append(
            {
                "at": to_iso(at),
                "deployment": f"{NAME}@1",
                "replica": replica,
                "private_bytes": round(60 * _MIB + grown + rng.gauss(0, 0.4 * _MIB)),
                "gpu_bytes": None,
                "open_files": 20 + rng.randrange(3),
                "requests": int(rng.random() < _REQUESTS_A_DAY / (60 * _OPEN_HOURS)),
            }
        )
        at += timedelta(minutes=1)
    return made


def _hours(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() / 3600
