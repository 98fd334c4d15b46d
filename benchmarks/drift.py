"""How often detectors of drift alarm without a change, and how soon with one, beside the plain CUSUM of textbooks.

Everything is simulated with a fixed seed, with the detectors of the product and their limits. The plain CUSUM is given
what nobody has: the true share that passes, and a limit made for this very simulation.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benchmarks.drift_worlds import BASELINE_RUNS, World, heavy, normal, score_of, sticky
from benchmarks.reporting import Report, arguments
from undercroft.watch.drift.cusum import loss_evidence
from undercroft.watch.drift.detectors import LEARNT_SPANS, Detector, Rule, SpanDetector, losses, scores
from undercroft.watch.drift.leaks import Sample, leaks_of
from undercroft.watch.drift.probes import RULES
from undercroft.watch.drift.requests import MEASURES
from undercroft.watch.findings import Kind

TITLE = "Drift: false alarms and delays of the detectors, beside a plain CUSUM that knows the truth"

PROBES = 2000
_CHANGE = 300  # probes after the baseline
_FALSE_ALARMS = 0.05
_QUESTIONS_A_RUN = 5
_QUARTERS_A_DAY = 96
_MIB = 1024 * 1024
WORLDS = (
    World("coin", 0.95, 0.85, 5, 0.0),
    World("many", 0.95, 0.85, 20, 0.0),
    World("mixed", 0.95, 0.85, 20, 0.5),
    World("steady", 0.95, 0.85, 20, 0.9),
)


def main() -> int:
    """Simulates and reports."""
    given = arguments(TITLE)
    rounds = 60 if given.quick else 400
    report = Report(TITLE)
    plain = plain_delay(rounds)
    report.peers["plain CUSUM"] = {"delay_probes": plain}
    graded: dict[str, float] = {}
    for world in WORLDS:
        for name, rule, value in (("passes", losses(), _lost), ("score", scores(), score_of)):
            alarms, delay = of_questions(world, rule, value, rounds)
            report.figures[f"{name}_{world.name}_false_alarms"] = alarms
            report.figures[f"{name}_{world.name}_delay_probes"] = delay
            report.at_most(f"{name}_{world.name}_false_alarms", alarms, _FALSE_ALARMS)
            if name == "score":
                graded[world.name] = delay
    exact, delay = of_questions(WORLDS[1], scores(), _passed, rounds)
    report.figures["score_exact_false_alarms"] = exact
    report.figures["score_exact_delay_probes"] = delay
    report.at_most("score_exact_false_alarms", exact, _FALSE_ALARMS)
    for name, delay in graded.items():
        report.ratios[f"score_{name}_delay_ratio"] = delay / plain
        report.at_most(f"score_{name}_delay_ratio", delay / plain, 0.75)
    _report_words(report, rounds)
    _report_levels(report, rounds)
    _report_spans(report, max(20, rounds // 10))
    _report_leaks(report, max(20, rounds // 4))
    return report.finish(as_json=given.json)


def of_questions(world: World, rule: Rule, value: Callable[[float], float], rounds: int) -> tuple[float, float]:
    """Share of the simulations with an alarm in 2,000 probes without a change, and mean probes to one with a change."""
    quiet = [_first_alarm(world, rule, value, seed, None) for seed in range(rounds)]
    changed = [_first_alarm(world, rule, value, seed, _CHANGE) for seed in range(10_000, 10_000 + rounds)]
    late = [PROBES if found is None else found - _CHANGE for found in changed if found is None or found > _CHANGE]
    return sum(found is not None for found in quiet) / rounds, statistics.fmean(late)


def plain_delay(rounds: int) -> float:
    """Mean probes until the plain CUSUM notices, at the limit that it reaches without cause in 5 % of simulations."""
    peaks = sorted(max(_plain_sums(seed, is_changed=False)) for seed in range(rounds))
    limit = peaks[math.ceil((1 - _FALSE_ALARMS) * rounds) - 1]
    delays = []
    for seed in range(10_000, 10_000 + rounds):
        sums = _plain_sums(seed, is_changed=True)
        delays.append(next((number for number, one in enumerate(sums, 1) if one > limit), PROBES))
    return statistics.fmean(delays)


def words_alarm(chance: random.Random, *, flickers: float, changed: int, changes_at: int | None) -> int | None:
    """Runs until the detector of other answers alarms.

    Args:
        chance: Seeded.
        flickers: Share of the answers that are in other words than the baseline's while all is well.
        changed: Questions of the five that are answered in other words for good, from one run on; count.
        changes_at: That run, after the baseline; None is never.
    """
    detector, rule = Detector(), RULES[Kind.ANSWERS]
    for run in range(BASELINE_RUNS + PROBES // _QUESTIONS_A_RUN):
        number = run - BASELINE_RUNS
        for question in range(_QUESTIONS_A_RUN):
            is_other = changes_at is not None and number >= changes_at and question < changed
            lost = is_other or chance.random() < flickers
            detector.take(rule, str(question), float(lost), f"{run:04}")
        if any(one.is_alarmed for one in detector.sums):
            return number + 1
    return None


def level_alarm(values: Callable[[], float], runs: int, *, scale: float, change: float) -> int | None:
    """Runs until the detector of times alarms, for values whose logarithm rises by ``change`` after the learning."""
    detector, rule = Detector(), RULES[Kind.LATENCY]
    for number in range(BASELINE_RUNS + runs):
        more = change if number >= BASELINE_RUNS else 0.0
        detector.take(rule, "run", scale * values() + more, str(number))
        if any(one.is_alarmed for one in detector.sums):
            return number - BASELINE_RUNS + 1
    return None


def span_alarm(values: Callable[[], float], days: int, *, change: float) -> int | None:
    """Quarters of an hour until the detector of requests alarms: a day with a rush, and noise."""
    detector = SpanDetector((1,))
    margin, prior = MEASURES[Kind.LATENCY]
    for number in range(LEARNT_SPANS + days * _QUARTERS_A_DAY):
        rush = 0.3 * math.sin(2 * math.pi * number / _QUARTERS_A_DAY)
        more = change if number >= LEARNT_SPANS else 0.0
        detector.take(rush + 0.15 * values() + more, str(number), margin=margin, prior=prior)
        if any(one.is_alarmed for one in detector.sums):
            return number - LEARNT_SPANS + 1
    return None


def leak_hours(chance: random.Random, *, mib_per_hour: float, hours: int) -> float | None:
    """Hours until a replica is held to leak, looked at once an hour: a warm-up that ends, and noise that sticks."""
    born = datetime(2026, 1, 1, tzinfo=UTC)
    noise = sticky(chance, 0.95)
    samples: list[Sample] = []
    for minute in range(hours * 60):
        warm = 300 * (1 - math.exp(-minute / 120))
        taken = 2000 + warm + 5 * noise() + mib_per_hour * minute / 60
        samples.append(Sample(born + timedelta(minutes=minute), int(taken * _MIB), None, None, 5))
        if minute % 60 == 59 and Kind.MEMORY_LEAK in leaks_of("rep", samples[-4320:], born):
            return (minute + 1) / 60
    return None


def _report_words(report: Report, rounds: int) -> None:
    for name, flickers in (("never", 0.0), ("rarely", 0.01), ("often", 0.3)):
        quiet = [
            words_alarm(random.Random(seed), flickers=flickers, changed=0, changes_at=None) is not None
            for seed in range(rounds)
        ]
        report.figures[f"words_{name}_false_alarms"] = sum(quiet) / rounds
        report.at_most(f"words_{name}_false_alarms", sum(quiet) / rounds, _FALSE_ALARMS)
    for changed in (1, _QUESTIONS_A_RUN):
        runs = words_alarm(random.Random(0), flickers=0.0, changed=changed, changes_at=60)
        report.figures[f"words_delay_runs_{changed}_of_5"] = None if runs is None else runs - 60


def _report_levels(report: Report, rounds: int) -> None:
    runs = PROBES // _QUESTIONS_A_RUN
    for name, kind in (("normal", normal), ("heavy", heavy), ("sticky", _half_alike)):
        quiet = [
            level_alarm(kind(random.Random(seed)), runs, scale=0.15, change=0.0) is not None for seed in range(rounds)
        ]
        report.figures[f"latency_{name}_false_alarms"] = sum(quiet) / rounds
        report.at_most(f"latency_{name}_false_alarms", sum(quiet) / rounds, _FALSE_ALARMS)
    late = [
        level_alarm(normal(random.Random(seed)), runs, scale=0.15, change=math.log(1.5)) or runs
        for seed in range(10_000, 10_000 + rounds)
    ]
    report.figures["latency_delay_runs"] = statistics.fmean(late)
    report.at_most("latency_delay_runs", statistics.fmean(late), 10)


def _report_spans(report: Report, rounds: int) -> None:
    quiet = [span_alarm(sticky(random.Random(seed), 0.8), 365, change=0.0) is not None for seed in range(rounds)]
    report.figures["requests_year_false_alarms"] = sum(quiet) / rounds
    report.at_most("requests_year_false_alarms", sum(quiet) / rounds, _FALSE_ALARMS)
    late = [
        span_alarm(sticky(random.Random(seed), 0.8), 10, change=math.log(3)) or 960
        for seed in range(10_000, 10_000 + rounds)
    ]
    report.figures["requests_delay_hours"] = statistics.fmean(late) / 4


def _report_leaks(report: Report, rounds: int) -> None:
    quiet = [leak_hours(random.Random(seed), mib_per_hour=0.0, hours=48) is not None for seed in range(rounds)]
    report.figures["leak_false_alarms"] = sum(quiet) / rounds
    report.at_most("leak_false_alarms", sum(quiet) / rounds, _FALSE_ALARMS)
    late = [leak_hours(random.Random(seed), mib_per_hour=30.0, hours=48) for seed in range(10_000, 10_000 + rounds)]
    report.figures["leak_found_ratio"] = sum(hours is not None for hours in late) / rounds
    report.figures["leak_delay_hours"] = statistics.fmean(hours for hours in late if hours is not None)
    report.at_least("leak_found_ratio", sum(hours is not None for hours in late) / rounds, 0.95)


def _first_alarm(
    world: World, rule: Rule, value: Callable[[float], float], seed: int, change: int | None
) -> int | None:
    detector = Detector()
    begin = BASELINE_RUNS * world.questions
    count = begin + PROBES + (change or 0)
    answers = world.answers(random.Random(seed), count, None if change is None else begin + change)
    for number, (question, quality) in enumerate(answers):
        detector.take(rule, str(question), value(quality), str(number))
        if any(one.is_alarmed for one in detector.sums):
            return number - begin + 1
    return None


def _plain_sums(seed: int, *, is_changed: bool) -> list[float]:
    chance, total, sums = random.Random(seed), 0.0, []
    failed = 0.15 if is_changed else 0.05
    for _ in range(PROBES):
        total = max(0.0, total + loss_evidence(chance.random() < failed, usual_share=0.05))
        sums.append(total)
    return sums


def _passed(quality: float) -> float:
    return float(quality > 0)


def _half_alike(chance: random.Random) -> Callable[[], float]:
    return sticky(chance, 0.5)


def _lost(quality: float) -> float:
    return float(quality <= 0)


if __name__ == "__main__":
    sys.exit(main())
