"""What a check is, and what it says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from undercroft.serving.doctor.scene import Scene

Level = Literal["ok", "warning", "problem"]
_ORDER: tuple[Level, ...] = ("problem", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judgement says of the facts that it was given.

    Args:
        level: ``ok``, ``warning`` (works, not as well as it could), ``problem`` (does not work).
        saw: What was seen, in plain words.
        mend: The command that mends it; empty where all is well.
        why: Why it hurts, where that differs from what the check says in general.
    """

    level: Level
    saw: str
    mend: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: Of the check.
        level: As in `Verdict`.
        saw: What was seen.
        why: Why it hurts; empty where all is well.
        mend: The command that mends it; empty where all is well.
    """

    name: str
    level: Level
    saw: str
    why: str = ""
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table of checks.

    Args:
        name: One to three words.
        looks_at: What is looked at, for the table in the guide.
        why: Why it hurts when it is not as it should be.
        look: Observes and judges. It changes nothing; what it cannot read is no finding of its own.
    """

    name: str
    looks_at: str
    why: str
    look: Callable[[Scene], Verdict | Sequence[Verdict]]


def fine(saw: str) -> Verdict:
    """All is well."""
    return Verdict("ok", saw)


def warn(saw: str, mend: str, *, why: str = "") -> Verdict:
    """It works, not as well as it could."""
    return Verdict("warning", saw, mend, why)


def fail(saw: str, mend: str, *, why: str = "") -> Verdict:
    """It does not work."""
    return Verdict("problem", saw, mend, why)


def to_findings(check: Check, verdicts: Verdict | Sequence[Verdict]) -> list[Finding]:
    """A check's verdicts with its name and its reason."""
    given = [verdicts] if isinstance(verdicts, Verdict) else list(verdicts)
    return [Finding(check.name, v.level, v.saw, "" if v.level == "ok" else v.why or check.why, v.mend) for v in given]


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Problems, then warnings, then the rest, each in the order of the table."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.level))
