"""What detectors found, as findings with a sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from undercroft.core.clock import from_iso
from undercroft.core.units import format_bytes
from undercroft.watch.drift.cusum import Cusum
from undercroft.watch.drift.leaks import Leak
from undercroft.watch.drift.probes import LEVELS, LOSSES, ProbeState
from undercroft.watch.drift.references import Usual, together
from undercroft.watch.drift.requests import RequestState
from undercroft.watch.findings import Finding, Kind, Severity

# So much more, as a share, or so many times as slow, is critical.
_CRITICAL_SHARE = 0.3
_CRITICAL_RATIO = 3.0
_ORDER = list(Severity)

_LOST = {
    Kind.PASSES: "Standard questions of {subject} fail: {now} of the answers, where {before} did",
    Kind.FORMAT: "Answers of {subject} are not the JSON that was asked for: {now} of them, where {before} were not",
    Kind.REFUSALS: "{subject} refuses to answer: {now} of the standard questions, where it refused {before}",
    Kind.ANSWER_LANGUAGE: "Answers of {subject} are in another language: {now} of them, where {before} were",
    Kind.ANSWERS: "Answers of {subject} are in other words than its baseline's: {now} of them, where {before} were",
    Kind.ERRORS: "Requests to {subject} end in a server error: {now} of them, where {before} did",
}
_SCORED = {
    Kind.SCORE: "Standard questions of {subject} score {now}, where the same questions scored {before}",
    Kind.STYLE: "Answers of {subject} are less like those of its baseline: {now}, where they were {before}",
}
_TIMED = {
    Kind.LATENCY: "The first token of {subject} comes after {now} s, where it came after {before} s",
    Kind.THROUGHPUT: "{subject} writes {now} tokens a second, where it wrote {before}",
    Kind.ANSWER_LENGTH: "Answers of {subject} have {now} tokens, where they had {before}",
    Kind.INPUT_LENGTH: "Requests to {subject} have {now} tokens, where they had {before}",
}
_MIXED = {
    Kind.INPUT_LANGUAGE: "Requests to {subject} come in other languages than they did; it differs by {now} of them",
    Kind.INPUT_TOPIC: "Requests to {subject} are about other things than they were; it differs by {now} of them",
}
_NOTICES = frozenset({Kind.ANSWERS, Kind.INPUT_LENGTH, Kind.INPUT_LANGUAGE, Kind.INPUT_TOPIC})
_LEAKS = {
    Kind.MEMORY_LEAK: "Memory of {subject} grows without an end: {per_hour} an hour",
    Kind.GPU_MEMORY_LEAK: "Accelerator memory of {subject} grows without an end: {per_hour} an hour",
    Kind.FILE_LEAK: "Open files of {subject} grow without an end: {per_hour} an hour",
}


def probe_findings(state: ProbeState, subject: str, probe: str) -> list[Finding]:
    """What the detectors of a probe hold to be true now.

    Args:
        state: Of the probe.
        subject: The deployment.
        probe: Its name.
    """
    found = []
    for kind, detector in state.detectors.items():
        for alarm in (one for one in detector.sums if one.is_alarmed):
            extra: dict[str, float | int | str] = {"probe": probe, "release": state.release}
            if kind in LOSSES:
                found.append(_lost(kind, subject, alarm, extra))
            elif kind in LEVELS:
                before = math.exp(_middle(state.levels.get(kind, {})) + alarm.mean_expected)
                ratio = math.exp(alarm.mean_seen - alarm.mean_expected)
                found.append(_timed(kind, subject, alarm, before, before * ratio, extra))
            else:
                found.append(_scored(kind, subject, alarm, extra))
    return found


def request_findings(state: RequestState, subject: str) -> list[Finding]:
    """What the detectors of the requests to a name hold to be true now."""
    found = []
    for kind, detector in state.detectors.items():
        for alarm in (one for one in detector.sums if one.is_alarmed):
            extra: dict[str, float | int | str] = {}
            if kind is Kind.ERRORS:
                found.append(_lost(kind, subject, alarm, extra))
            elif kind in _MIXED:
                now = alarm.mean_seen
                text = _MIXED[kind].format(subject=subject, now=_percent(now))
                figures = {"distance": now, "usual_distance": alarm.mean_expected}
                found.append(_finding(kind, subject, alarm, Severity.NOTICE, text, figures))
            else:
                before, now = math.exp(alarm.mean_expected), math.exp(alarm.mean_seen)
                found.append(_timed(kind, subject, alarm, before, now, extra))
    return found


def leak_finding(kind: Kind, subject: str, leak: Leak) -> Finding:
    """A leak of one of the replicas of a deployment."""
    per_hour = _amount(kind, leak.per_hour)
    text = _LEAKS[kind].format(subject=subject, per_hour=per_hour)
    if leak.per_1000_requests is not None:
        text += f", {_amount(kind, leak.per_1000_requests)} a thousand requests"
    text += f"; it has {_amount(kind, leak.now)} now, after {leak.window_hours:.0f} hours in which it grew"
    figures: dict[str, float | int | str] = {
        "per_hour": round(leak.per_hour, 3),
        "now": round(leak.now, 3),
        "window_hours": round(leak.window_hours, 2),
        "replica": leak.replica,
    }
    if leak.per_1000_requests is not None:
        figures["per_1000_requests"] = round(leak.per_1000_requests, 3)
    return Finding(kind, subject, from_iso(leak.since), Severity.WARNING, f"{text}.", figures)


def weights_finding(model: str, since: str, files: int, deployments: Iterable[str]) -> Finding:
    """Stored files of a model that are not what they were.

    Args:
        model: Its name.
        since: When it was noticed; ISO 8601.
        files: That are damaged; count.
        deployments: That serve it.
    """
    served = ", ".join(sorted(deployments))
    text = f"Stored files of the model {model} are not what they were when it came: {files}"
    figures: dict[str, float | int | str] = {"files": files, "served_by": served}
    if served:
        text += f"; served by {served}"
    return Finding(Kind.WEIGHTS_CHANGED, model, from_iso(since), Severity.CRITICAL, f"{text}.", figures)


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """One a kind and subject: the gravest, of equals the one that began first."""
    best: dict[tuple[Kind, str], Finding] = {}
    for finding in findings:
        known = best.get((finding.kind, finding.subject))
        if known is None or _rank(finding) > _rank(known):
            best[finding.kind, finding.subject] = finding
    return sorted(best.values(), key=lambda one: (-_ORDER.index(one.severity), one.subject, one.kind))


def _lost(kind: Kind, subject: str, alarm: Cusum, extra: Mapping[str, float | int | str]) -> Finding:
    before, now = alarm.mean_expected, alarm.mean_seen
    severity = Severity.CRITICAL if now - before >= _CRITICAL_SHARE else Severity.WARNING
    if kind in _NOTICES:
        severity = Severity.NOTICE
    text = _LOST[kind].format(subject=subject, before=_percent(before), now=_percent(now))
    return _finding(kind, subject, alarm, severity, text, {"before": before, "now": now, **extra})


def _scored(kind: Kind, subject: str, alarm: Cusum, extra: Mapping[str, float | int | str]) -> Finding:
    before, now = alarm.mean_expected, alarm.mean_seen
    severity = Severity.CRITICAL if before - now >= _CRITICAL_SHARE else Severity.WARNING
    text = _SCORED[kind].format(subject=subject, before=f"{before:.2f}", now=f"{now:.2f}")
    return _finding(kind, subject, alarm, severity, text, {"before": before, "now": now, **extra})


def _timed(
    kind: Kind, subject: str, alarm: Cusum, before: float, now: float, extra: Mapping[str, float | int | str]
) -> Finding:
    ratio = now / before
    is_slow = kind in (Kind.LATENCY, Kind.THROUGHPUT) and max(ratio, 1 / ratio) >= _CRITICAL_RATIO
    severity = Severity.NOTICE if kind in _NOTICES else Severity.CRITICAL if is_slow else Severity.WARNING
    text = _TIMED[kind].format(subject=subject, before=f"{before:.3g}", now=f"{now:.3g}")
    text += f" ({100 * (ratio - 1):+.0f} %)"
    return _finding(kind, subject, alarm, severity, text, {"before": before, "now": now, "ratio": ratio, **extra})


def _finding(
    kind: Kind, subject: str, alarm: Cusum, severity: Severity, text: str, figures: Mapping[str, float | int | str]
) -> Finding:
    plain = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    return Finding(kind, subject, from_iso(alarm.since), severity, f"{text}.", {**plain, "values": alarm.values})


def _middle(levels: Mapping[str, Usual]) -> float:
    return together(levels.values()).mean


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _amount(kind: Kind, value: float) -> str:
    return f"{value:.3g} files" if kind is Kind.FILE_LEAK else format_bytes(value)


def _rank(finding: Finding) -> tuple[int, float]:
    return _ORDER.index(finding.severity), -finding.since.timestamp()
