"""How each detector stands: what it watches, how many values it has, how far it is from its limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from undercroft.watch.drift.cusum import Cusum
from undercroft.watch.drift.detectors import LEARNT_FIRST, LEARNT_SPANS, SPAN_LIMIT, Detector, SpanDetector
from undercroft.watch.drift.leaks import LEAK_KINDS
from undercroft.watch.drift.probes import RULES
from undercroft.watch.drift.surveying import Drift
from undercroft.watch.findings import Kind

_NOTABLE = 0.5


class Standing(StrEnum):
    """Where a detector is."""

    LEARNING = "learning"  # it does not judge yet
    QUIET = "quiet"
    RISING = "rising"  # half of what makes an alarm, or more
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One detector.

    Args:
        subject: What it watches: a deployment or a model.
        source: Out of what: ``probe:NAME``, ``requests``, ``replicas``, ``files``.
        kind: What it looks for.
        standing: Where it is.
        values: That it has judged, or learnt from while it learns; count.
        wanted: Values that it learns from before it judges; None where it learns nothing.
        limit_ratio: Evidence as a share of what makes an alarm; 1.0 is one. None where it does not sum up evidence.
        since: When the evidence began to rise; ISO 8601. None at 0.
    """

    subject: str
    source: str
    kind: Kind
    standing: Standing
    values: int
    wanted: int | None
    limit_ratio: float | None
    since: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "kind": self.kind.value, "standing": self.standing.value}


def gauges_of(drift: Drift, subject: str | None = None) -> list[Gauge]:
    """Every detector, by subject, source and kind.

    Args:
        drift: What the detectors know.
        subject: Only those of it; None is all.
    """
    found: list[Gauge] = []
    for (name, probe), probe_state in drift.probes.items():
        found += [_of_questions(name, f"probe:{probe}", kind, one) for kind, one in probe_state.detectors.items()]
    for name, request_state in drift.requests.items():
        found += [_of_requests(name, kind, one) for kind, one in request_state.detectors.items()]
    for name, samples in drift.samples.items():
        leaks = drift.leaks.get(name, {})
        for kind in LEAK_KINDS:
            leak = leaks.get(kind)
            standing = Standing.ALARM if leak is not None else Standing.QUIET
            found.append(
                Gauge(name, "replicas", kind, standing, samples, None, None, leak.since if leak is not None else None)
            )
    for name, files in drift.files.items():
        damage = drift.damaged.get(name)
        standing = Standing.ALARM if damage is not None else Standing.QUIET
        since = damage[0] if damage is not None else None
        found.append(Gauge(name, "files", Kind.WEIGHTS_CHANGED, standing, files, None, None, since))
    chosen = [gauge for gauge in found if subject is None or gauge.subject == subject]
    return sorted(chosen, key=lambda gauge: (gauge.subject, gauge.source, gauge.kind))


def _of_questions(name: str, source: str, kind: Kind, detector: Detector) -> Gauge:
    if not detector.has_learnt:
        learnt = max((usual.count for usual in detector.usual.values()), default=0)
        return Gauge(name, source, kind, Standing.LEARNING, learnt, LEARNT_FIRST, None, None)
    return _of_sums(name, source, kind, detector.sums, RULES[kind].limit, LEARNT_FIRST)


def _of_requests(name: str, kind: Kind, detector: SpanDetector) -> Gauge:
    if detector.span() is None:
        return Gauge(name, "requests", kind, Standing.LEARNING, len(detector.learnt), LEARNT_SPANS, None, None)
    return _of_sums(name, "requests", kind, detector.sums, SPAN_LIMIT, LEARNT_SPANS)


def _of_sums(name: str, source: str, kind: Kind, sums: Sequence[Cusum], limit: float, wanted: int) -> Gauge:
    """Of two directions, the one that is nearer to its limit."""
    worst = max(sums, key=lambda one: (one.is_alarmed, one.evidence), default=Cusum())
    ratio = 1.0 if worst.is_alarmed else round(worst.evidence / limit, 3)
    standing = Standing.ALARM if worst.is_alarmed else Standing.RISING if ratio >= _NOTABLE else Standing.QUIET
    return Gauge(name, source, kind, standing, worst.count, wanted, ratio, worst.since or None)
