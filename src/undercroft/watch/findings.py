"""What a detector found: the one word that detectors and incidents share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from undercroft.core.clock import to_iso


class Kind(StrEnum):
    """What is no longer as it was."""

    PASSES = "pass-rate"  # fewer standard questions pass
    SCORE = "score"  # standard questions score lower, against the same question on the release before
    FORMAT = "format"  # fewer answers are JSON as the schema wants it
    REFUSALS = "refusals"  # more answers are refusals
    STYLE = "style"  # answers are less like those of the baseline
    ANSWERS = "other-answers"  # standard questions are answered in other words than those of the baseline
    ANSWER_LENGTH = "answer-length"
    ANSWER_LANGUAGE = "answer-language"  # fewer answers are in the language that was wanted
    LATENCY = "latency"  # the first token comes later
    THROUGHPUT = "throughput"  # fewer tokens a second after it
    ERRORS = "errors"  # more requests end in a server error
    INPUT_LENGTH = "input-length"
    INPUT_LANGUAGE = "input-language"
    INPUT_TOPIC = "input-topic"
    MEMORY_LEAK = "memory-leak"  # of a replica
    GPU_MEMORY_LEAK = "gpu-memory-leak"
    FILE_LEAK = "file-leak"  # open files of a replica
    WEIGHTS_CHANGED = "weights-changed"  # a stored file is not what it was
    # What `watch.conditions` looks at.
    PROBE_FAILING = "probe-failing"  # its last runs failed, so many in a row
    PROBE_UNUSABLE = "probe-unusable"  # its file has problems, so nobody is asked
    REPLICA_FAILING = "replica-failing"
    PROMOTION_FAILED = "promotion-failed"  # a candidate could not be loaded, or was judged worse
    BACKUP_FAILING = "backup-failing"  # the last one failed, or none was made in time
    JOURNAL_BROKEN = "journal-broken"
    DISK_LOW = "disk-low"
    ALERTS_UNDELIVERED = "alerts-undelivered"  # a sink did not take what it was told
    RULES_UNUSABLE = "rules-unusable"  # the file of rules has problems, so none acts
    ACTION_FAILED = "action-failed"  # a rule could not do what it says
    ACTIONS_EXHAUSTED = "actions-exhausted"  # a rule acted as often as it may; now it is for people


class Severity(StrEnum):
    """How much it matters."""

    NOTICE = "notice"  # somebody should know: the questions that users ask have changed
    WARNING = "warning"  # users may feel it
    CRITICAL = "critical"  # answers are wrong, or the replica will die of it


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a detector holds to be true just now. Kind and subject say which; there is one a pair.

    `drift.look` gives all that hold at each look, old and new: one that is missing is over.

    Args:
        kind: What is no longer as it was.
        subject: The deployment, or the model whose weights changed.
        since: When it began, as the detector holds; it was noticed later. UTC.
        severity: How much it matters.
        sentence: For people, in English; no prompt, no answer and no personal data is in it.
        figures: What the sentence says, as numbers and short words, to say it in another language.
    """

    kind: Kind
    subject: str
    since: datetime
    severity: Severity
    sentence: str
    figures: Mapping[str, float | int | str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "since": to_iso(self.since),
            "severity": self.severity.value,
            "sentence": self.sentence,
            "figures": dict(self.figures),
        }
