"""What requests took, and how they were rated: kept in rows, a batch at a time, and summed up for whoever looks now."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import case, delete, func, insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UndercroftError
from undercroft.serving import feedback
from undercroft.serving.feedback import Feedback, Rated
from undercroft.storage.database import Database
from undercroft.storage.tables import usage

_log = structlog.get_logger("usage")

_QUEUE_ROWS = 50_000
_BATCH_ROWS = 10_000
_PAUSE_SECONDS = 0.5
_WINDOW_SECONDS = 60.0
_PRUNE_SECONDS = 3600.0
_COLUMNS = frozenset(column.name for column in usage.columns) - {"id"}


@dataclass(slots=True)
class Totals:
    """Sums of one deployment over the usage rows that are kept.

    Args:
        recent: [monotonic second, completion tokens] of the last minute, one entry a second that had any.
        recent_tokens: Their sum.
    """

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    recent: deque[list[int]] = field(default_factory=deque)
    recent_tokens: int = 0

    def add_tokens(self, tokens: int, now: float) -> None:
        """Adds the completion tokens of a request that ended now."""
        self._forget(now)
        if not self.recent or self.recent[-1][0] != int(now):
            self.recent.append([int(now), 0])
        self.recent[-1][1] += tokens
        self.recent_tokens += tokens

    def tokens_per_second(self, now: float) -> float:
        """Completion tokens of requests that ended in the last minute, per second of that minute."""
        self._forget(now)
        return self.recent_tokens / _WINDOW_SECONDS

    def _forget(self, now: float) -> None:
        while self.recent and self.recent[0][0] < now - _WINDOW_SECONDS:
            self.recent_tokens -= self.recent.popleft()[1]


class UsageLog:
    """Takes rows from the doors and writes them in batches; never makes anybody wait.

    Args:
        database: Where they go.
        retention_days: Older ones are dropped.
    """

    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._rows: list[dict[str, Any]] = []
        self._ratings: list[tuple[Feedback, Future[Rated | None]]] = []
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._totals: dict[str, Totals] = {}
        self._thread = threading.Thread(target=self._write_all, name="usage", daemon=True)
        self.dropped_rows = 0

    def begin(self) -> None:
        """Starts the writer."""
        self._recall()
        self._thread.start()

    def end(self) -> None:
        """Writes what is there and ends the writer."""
        self._ending.set()
        self._thread.join(10)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes rows with the columns of the table ``usage``; drops and counts what the writer cannot keep up with."""
        now = time.monotonic()
        with self._lock:
            for row in rows:
                self._sum(row, now)
                if len(self._rows) < _QUEUE_ROWS:
                    self._rows.append({name: row.get(name) for name in _COLUMNS})
                else:
                    self.dropped_rows += 1

    def rate(self, given: Feedback) -> Future[Rated | None]:
        """Writes a rating with the next batch, after the rows that are there.

        Args:
            given: What somebody says of an answer.

        Returns:
            What is known once it is written: whose answer it was, or None where the key has no such request. It raises
            `UnavailableError` where the database cannot be written.
        """
        promised: Future[Rated | None] = Future()
        with self._lock:
            self._ratings.append((given, promised))
        return promised

    def totals(self) -> dict[str, dict[str, float]]:
        """Sums by deployment, or by release (``NAME@7``) where a name has them, as plain data."""
        now = time.monotonic()
        with self._lock:
            return {
                name: {
                    "requests": total.requests,
                    "errors": total.errors,
                    "prompt_tokens": total.prompt_tokens,
                    "completion_tokens": total.completion_tokens,
                    "tokens_per_second": round(total.tokens_per_second(now), 2),
                }
                for name, total in self._totals.items()
            }

    def _sum(self, row: Mapping[str, Any], now: float) -> None:
        total = self._totals.setdefault(_counted_as(row["deployment"], row.get("release")), Totals())
        total.requests += 1
        total.errors += int(row["status"]) >= 500
        completion_tokens = int(row["completion_tokens"] or 0)
        total.prompt_tokens += int(row["prompt_tokens"] or 0)
        total.completion_tokens += completion_tokens
        total.add_tokens(completion_tokens, now)

    def _recall(self) -> None:
        """Adds what earlier control processes wrote, so that a restart does not begin the sums anew."""
        errors = func.sum(case((usage.c.status >= 500, 1), else_=0))
        tokens = [func.coalesce(func.sum(column), 0) for column in (usage.c.prompt_tokens, usage.c.completion_tokens)]
        whose = (usage.c.deployment, usage.c.release)
        query = select(*whose, func.count(), errors, *tokens).group_by(*whose)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        with self._lock:
            for name, release, requests, failed, prompt, completion in rows:
                total = self._totals.setdefault(_counted_as(name, release), Totals())
                total.requests += requests
                total.errors += failed
                total.prompt_tokens += prompt
                total.completion_tokens += completion

    def _write_all(self) -> None:
        pruned = 0.0
        while True:
            is_last = self._ending.wait(_PAUSE_SECONDS)
            batch, ratings = self._take()
            try:
                if batch or ratings:
                    self._write(batch, ratings)
                if time.monotonic() - pruned > _PRUNE_SECONDS or not pruned:
                    pruned = time.monotonic()
                    self._prune()
            except UndercroftError as error:
                # A full disk must not end serving; the rows are lost and that is said.
                self.dropped_rows += len(batch)
                _log.error("usage rows lost", rows=len(batch), error=str(error))
            if is_last and not self._rows:
                return

    def _write(self, batch: list[dict[str, Any]], ratings: list[tuple[Feedback, Future[Rated | None]]]) -> None:
        """One transaction; whoever rated is told when it is over, not before."""
        since = self._kept_since()
        try:
            with self._database.write() as connection:
                if batch:
                    connection.execute(insert(usage), batch)
                found = [feedback.keep(connection, given, since=since) for given, _ in ratings]
        except UndercroftError as error:
            for _, promised in ratings:
                promised.set_exception(error)
            raise
        for (_, promised), rated in zip(ratings, found, strict=True):
            promised.set_result(rated)

    def _take(self) -> tuple[list[dict[str, Any]], list[tuple[Feedback, Future[Rated | None]]]]:
        """The next rows; ratings only with the last of them, for they are of rows that came before."""
        with self._lock:
            batch, self._rows = self._rows[:_BATCH_ROWS], self._rows[_BATCH_ROWS:]
            ratings = []
            if not self._rows:
                ratings, self._ratings = self._ratings, ratings
        # Who does not wait any more was never told that it is kept.
        return batch, [(given, promised) for given, promised in ratings if promised.set_running_or_notify_cancel()]

    def _kept_since(self) -> str:
        return to_iso(utc_now() - self._retention)

    def _prune(self) -> None:
        with self._database.write() as connection:
            connection.execute(delete(usage).where(usage.c.at < self._kept_since()))


def _counted_as(name: object, release: object) -> str:
    return str(name) if release is None else f"{name}@{release}"
