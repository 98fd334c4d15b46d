"""What detectors make of the requests of users to one name: a quarter of an hour or twenty requests at a time. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from undercroft.watch.drift.detectors import LEARNT_SPANS, SpanDetector
from undercroft.watch.findings import Kind

LEAST_REQUESTS = 20
# Kind → a distance from the worst of what was learnt that nobody minds, and the least standard deviation.
MEASURES: Mapping[Kind, tuple[float, float]] = {
    Kind.LATENCY: (math.log(1.2), 0.15),
    Kind.THROUGHPUT: (math.log(1.2), 0.1),
    Kind.ERRORS: (0.02, 0.02),
    Kind.ANSWER_LENGTH: (math.log(1.3), 0.2),
    Kind.INPUT_LENGTH: (math.log(1.3), 0.2),
    Kind.INPUT_LANGUAGE: (0.1, 0.08),
    Kind.INPUT_TOPIC: (0.1, 0.08),
}
MIXES: Mapping[Kind, str] = {Kind.INPUT_LANGUAGE: "input_language", Kind.INPUT_TOPIC: "input_topic"}
# For these, more is worse and less is welcome, or the other way round; of the others both count.
RISES = frozenset({Kind.LATENCY, Kind.ERRORS, Kind.INPUT_LANGUAGE, Kind.INPUT_TOPIC})
FALLS = frozenset({Kind.THROUGHPUT})


@dataclass(slots=True)
class RequestState:
    """What is remembered of the requests to one name.

    Args:
        detectors: One a kind.
        mixes: Kind → counts by language or topic of each span, while they are learnt; later of all of them, in one.
        waiting: Requests of a time that had too few to be judged.
        release: Number of the release that answered most of the last span; None where the name has none.
        spans: That were judged or learnt from; count.
    """

    detectors: dict[Kind, SpanDetector] = field(default_factory=dict)
    mixes: dict[Kind, list[dict[str, int]]] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    release: int | None = None
    spans: int = 0

    def take(self, rows: Sequence[Mapping[str, Any]], at: str) -> None:
        """Judges the requests of a span, together with those that waited for company.

        Args:
            rows: Columns of the table ``usage``.
            at: When the span ended; ISO 8601.
        """
        waiting = [*self.waiting, *(_kept(row) for row in rows)]
        if len(waiting) < LEAST_REQUESTS:
            self.waiting = waiting
            return
        self.waiting = []
        self.spans += 1
        # A candidate answers a part of the requests; what is in production answers most.
        release = Counter(row["release"] for row in waiting).most_common(1)[0][0]
        if release != self.release:
            for detector in self.detectors.values():
                detector.forgive()
        self.release = release
        for kind, value in levels_of(waiting).items():
            self._take(kind, value, at)
        for kind, column in MIXES.items():
            counts = Counter(str(row[column]) for row in waiting if row[column] is not None)
            if counts.total() >= LEAST_REQUESTS / 2:
                self._take_mix(kind, dict(counts), at)

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "detectors": {kind.value: detector.to_plain() for kind, detector in self.detectors.items()},
            "mixes": {kind.value: spans for kind, spans in self.mixes.items()},
            "waiting": self.waiting,
            "release": self.release,
            "spans": self.spans,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RequestState:
        """Reads what `to_plain` made."""
        return cls(
            {Kind(kind): SpanDetector.from_plain(one) for kind, one in plain["detectors"].items()},
            {Kind(kind): [dict(span) for span in spans] for kind, spans in plain["mixes"].items()},
            [dict(row) for row in plain["waiting"]],
            plain["release"],
            plain["spans"],
        )

    def _take(self, kind: Kind, value: float, at: str) -> None:
        margin, prior = MEASURES[kind]
        detector = self.detectors.setdefault(kind, SpanDetector(directions_of(kind)))
        detector.take(value, at, margin=margin, prior=prior)

    def _take_mix(self, kind: Kind, counts: dict[str, int], at: str) -> None:
        spans = self.mixes.setdefault(kind, [])
        if kind not in self.detectors:
            spans.append(counts)
            if len(spans) < LEARNT_SPANS:
                return
            total: Counter[str] = Counter()
            for span in spans:
                total.update(span)
            for span in spans:
                # What each span adds to the whole is taken out of it, as it will not be in it later.
                self._take(kind, distance(span, total - Counter(span)), at)
            self.mixes[kind] = [dict(total)]
            return
        self._take(kind, distance(counts, spans[0]), at)


def directions_of(kind: Kind) -> tuple[int, ...]:
    """1 where a rise counts, -1 where a fall does."""
    return (1,) if kind in RISES else (-1,) if kind in FALLS else (1, -1)


def levels_of(rows: Sequence[Mapping[str, Any]]) -> dict[Kind, float]:
    """What is judged of the requests of a span; a kind of which too few tell is left out.

    Args:
        rows: Columns of the table ``usage``.

    Returns:
        Kind → logarithm of a median, for errors the share of the requests.
    """
    answered = [row for row in rows if row["status"] < 400]
    found = {
        Kind.LATENCY: [_less(row["first_token_seconds"], row["queue_seconds"]) for row in answered],
        Kind.THROUGHPUT: [_speed(row) for row in answered],
        Kind.ANSWER_LENGTH: [row["completion_tokens"] for row in answered],
        Kind.INPUT_LENGTH: [row["prompt_tokens"] for row in answered],
    }
    levels = {Kind.ERRORS: sum(row["status"] >= 500 for row in rows) / len(rows)}
    for kind, values in found.items():
        known = [value for value in values if value is not None and value > 0]
        if len(known) >= LEAST_REQUESTS / 2:
            levels[kind] = math.log(statistics.median(known))
    return levels


def distance(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """How far two mixes are from each other: the share that would have to be of another language or topic.

    Args:
        one: Counts; at least one.
        other: Counts; none is as far as can be.

    Returns:
        0.0 to 1.0.
    """
    of_one, of_other = sum(one.values()), sum(other.values())
    if not of_one or not of_other:
        return 1.0
    return sum(abs(one.get(key, 0) / of_one - other.get(key, 0) / of_other) for key in {*one, *other}) / 2


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS}


COLUMNS = (
    "status",
    "prompt_tokens",
    "completion_tokens",
    "queue_seconds",
    "first_token_seconds",
    "total_seconds",
    "release",
    "input_language",
    "input_topic",
)


def _less(first: float | None, queue: float) -> float | None:
    return first - queue if first is not None else None


def _speed(row: Mapping[str, Any]) -> float | None:
    """Tokens a second: after the first where it is known when that came, else over the whole answer."""
    tokens, first = row["completion_tokens"], row["first_token_seconds"]
    if not tokens or tokens < 2:
        return None
    seconds = row["total_seconds"] - (first if first is not None else row["queue_seconds"])
    return float((tokens - (first is not None)) / seconds) if seconds > 0 else None
