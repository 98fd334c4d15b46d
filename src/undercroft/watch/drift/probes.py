"""What detectors make of the outcomes of one probe of one deployment. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from undercroft.watch.drift.detectors import Detector, Rule, losses, run_levels, scores
from undercroft.watch.drift.references import Usual
from undercroft.watch.findings import Kind
from undercroft.watch.probes.outcome_rows import UNREACHED, Purpose

# One question after the other.
LOSSES: Mapping[Kind, str] = {
    Kind.PASSES: "has_passed",
    Kind.FORMAT: "is_valid",
    Kind.REFUSALS: "is_refusal",
    Kind.ANSWER_LANGUAGE: "language",
    Kind.ANSWERS: "likeness",
}
SCORES: Mapping[Kind, str] = {Kind.SCORE: "score", Kind.STYLE: "likeness"}
# One value a run: the median of how the logarithm of each question's value differs from what is usual of it.
LEVELS: Mapping[Kind, str] = {
    Kind.LATENCY: "first_token_seconds",
    Kind.THROUGHPUT: "tokens_per_second",
    Kind.ANSWER_LENGTH: "answer_tokens",
}
RULES: Mapping[Kind, Rule] = {
    **{kind: losses() for kind in LOSSES},
    # At temperature 0 a question is answered in the same words each time: one of ten in others is much.
    Kind.ANSWERS: losses(lost_share=0.1, limit=8.5),
    **{kind: scores() for kind in SCORES},
    Kind.LATENCY: run_levels(1, margin=math.log(1.1), prior=0.15),
    Kind.THROUGHPUT: run_levels(-1, margin=math.log(1.1), prior=0.1),
    Kind.ANSWER_LENGTH: run_levels(1, -1, margin=math.log(1.1), prior=0.1),
}
_RUN = "run"
# Times of a question from which its own level is known; runs are judged against each other after that.
_LEVEL_VALUES = 10


@dataclass(slots=True)
class ProbeState:
    """What is remembered of one probe.

    Args:
        detectors: One a kind.
        levels: Kind → question → the logarithm of its value as usual.
        languages: Question → language → answers, while it is learnt.
        release: That answered last.
        baseline_at: Of the baseline that was learnt from; empty without one.
        read: Outcomes; count.
    """

    detectors: dict[Kind, Detector] = field(default_factory=dict)
    levels: dict[Kind, dict[str, Usual]] = field(default_factory=dict)
    languages: dict[str, dict[str, int]] = field(default_factory=dict)
    release: str = ""
    baseline_at: str = ""
    read: int = 0

    def take_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Judges outcomes, whole runs of them.

        Args:
            rows: Columns of the table ``probe_outcomes``, in the order in which they were written.
        """
        run: list[Mapping[str, Any]] = []
        for row in rows:
            if row["purpose"] == Purpose.TRIAL or row["error"] in UNREACHED:
                continue
            if run and (row["run_at"] != run[0]["run_at"] or any(row["question"] == one["question"] for one in run)):
                self._take_run(run)
                run = []
            run.append(row)
        if run:
            self._take_run(run)

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "detectors": {kind.value: detector.to_plain() for kind, detector in self.detectors.items()},
            "levels": {
                kind.value: {question: usual.to_plain() for question, usual in own.items()}
                for kind, own in self.levels.items()
            },
            "languages": self.languages,
            "release": self.release,
            "baseline_at": self.baseline_at,
            "read": self.read,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ProbeState:
        """Reads what `to_plain` made."""
        return cls(
            {Kind(kind): Detector.from_plain(one) for kind, one in plain["detectors"].items()},
            {
                Kind(kind): {question: Usual(*usual) for question, usual in own.items()}
                for kind, own in plain["levels"].items()
            },
            {question: dict(own) for question, own in plain["languages"].items()},
            plain["release"],
            plain["baseline_at"],
            plain["read"],
        )

    def _take_run(self, run: list[Mapping[str, Any]]) -> None:
        first = run[0]
        if first["purpose"] == Purpose.BASELINE and first["run_at"] != self.baseline_at:
            # Somebody said that all is well: what was usual before, and every alarm, is over.
            self.detectors, self.levels, self.languages = {}, {}, {}
            self.baseline_at = first["run_at"]
        if self.release and first["release"] != self.release:
            for detector in self.detectors.values():
                detector.forgive()
        self.release = first["release"]
        for row in run:
            self.read += 1
            self._take_row(row)
        for kind, column in LEVELS.items():
            self._take_level(kind, column, run)

    def _take_row(self, row: Mapping[str, Any]) -> None:
        question, at = row["question"], row["at"]
        for kind, column in LOSSES.items():
            lost = self._is_lost(kind, row, column)
            if lost is not None:
                self._detector(kind).take(RULES[kind], question, float(lost), at)
        for kind, column in SCORES.items():
            if row[column] is not None:
                self._detector(kind).take(RULES[kind], question, row[column], at)

    def _is_lost(self, kind: Kind, row: Mapping[str, Any], column: str) -> bool | None:
        value = row[column]
        if value is None:
            return None
        if kind is Kind.REFUSALS:
            return bool(value)
        if kind is Kind.ANSWERS:
            return bool(value < 1)
        if kind is not Kind.ANSWER_LANGUAGE:
            return not value
        counts = self.languages.setdefault(row["question"], {})
        if sum(counts.values()) < _LEVEL_VALUES:
            counts[value] = counts.get(value, 0) + 1
        return bool(value != max(counts, key=lambda language: counts[language]))

    def _take_level(self, kind: Kind, column: str, run: list[Mapping[str, Any]]) -> None:
        own, away = self.levels.setdefault(kind, {}), []
        for row in run:
            value = row[column]
            if value is None or value <= 0:
                continue
            usual = own.get(row["question"], Usual())
            if usual.count:
                away.append(math.log(value) - usual.mean)
            if usual.count < _LEVEL_VALUES:
                own[row["question"]] = usual.with_value(math.log(value))
        if away:
            self._detector(kind).take(RULES[kind], _RUN, statistics.median(away), run[-1]["at"])

    def _detector(self, kind: Kind) -> Detector:
        return self.detectors.setdefault(kind, Detector())
