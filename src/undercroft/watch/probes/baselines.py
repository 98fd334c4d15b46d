"""What a probe's answers were when all was well, and which checks were noisy even then. No answer's text is kept."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from undercroft.core.clock import to_iso
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.core.ids import check_name

_SKETCHES_LIMIT = 20


class CheckBaseline(BaseModel):
    """How one check went.

    Args:
        passed: Times that it passed; count.
        lowest: Score of its worst time.
        highest: Score of its best time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: int = Field(ge=0)
    lowest: float = Field(ge=0, le=1)
    highest: float = Field(ge=0, le=1)


class QuestionBaseline(BaseModel):
    """How one question went.

    Args:
        digest: Of the question as it was.
        runs: Times that it was answered; count.
        checks: Name → how it went.
        answers: Digest of an answer → times that it came.
        sketches: Counts of hashed n-grams of each different answer, at most 20; they compare, and hold no text.
        first_token_seconds: Median; None where no text came.
        total_seconds: Median; None where no answer came.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    runs: int = Field(ge=0)
    checks: dict[str, CheckBaseline]
    answers: dict[str, int]
    sketches: list[dict[str, int]] = Field(max_length=_SKETCHES_LIMIT)
    first_token_seconds: float | None
    total_seconds: float | None

    def noisy_checks(self) -> frozenset[str]:
        """Checks that passed at one time and failed at another while nothing had changed."""
        return frozenset(name for name, seen in self.checks.items() if 0 < seen.passed < self.runs)


class Baseline(BaseModel):
    """How a probe went when its baseline was taken.

    Args:
        taken_at: ISO 8601, UTC.
        release: What served it then.
        questions: Id → how it went.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    taken_at: str
    release: str
    questions: dict[str, QuestionBaseline]

    def of(self, question_id: str, digest: str) -> QuestionBaseline | None:
        """The baseline of a question; None where there is none, or the question was another then."""
        found = self.questions.get(question_id)
        return found if found is not None and found.digest == digest else None


def baseline_file(home: Home, probe: str) -> Path:
    """Where the baseline of a probe lies."""
    return home.reports / f"{check_name(probe, what='probe')}.baseline.json"


def save_baseline(home: Home, probe: str, questions: dict[str, QuestionBaseline], release: str, at: datetime) -> Path:
    """Keeps a baseline in place of the one before; where it lies.

    Raises:
        UnavailableError: ``cannot-write``.
    """
    path = baseline_file(home, probe)
    made = Baseline(taken_at=to_iso(at), release=release, questions=questions)
    try:
        write_atomically(path, (json.dumps(made.model_dump(), indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UnavailableError("cannot-write", f"cannot write {path}: {error.strerror}") from error
    return path


def load_baseline(home: Home, probe: str) -> Baseline | None:
    """The baseline of a probe; None where none was taken.

    Raises:
        UnavailableError: ``baseline-unreadable``.
        InvalidError: ``bad-baseline``: the file is damaged.
    """
    path = baseline_file(home, probe)
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError("baseline-unreadable", f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidError(
            "bad-baseline", f"{path} is not a baseline as it was written", hint=f"undercroft probe baseline {probe}"
        ) from error
