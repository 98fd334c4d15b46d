"""Detectors learn what is usual, stay quiet without a change, and find one; with values from a seed."""

from __future__ import annotations

import json
import math
import random

import pytest

from undercroft.watch.drift.cusum import RECOVERY_LIMIT, Cusum, loss_evidence, shift_evidence
from undercroft.watch.drift.detectors import (
    LEARNT_FIRST,
    LEARNT_LAST,
    LEARNT_SPANS,
    Detector,
    SpanDetector,
    losses,
    scores,
)
from undercroft.watch.drift.probes import RULES
from undercroft.watch.drift.references import Usual, span_of, together, usual_share
from undercroft.watch.findings import Kind

QUESTIONS = ("one", "two", "three", "four", "five")


def fed(detector: Detector, values: dict[str, float], runs: int, *, chance: random.Random, spread: float = 0.0) -> int:
    """Gives whole runs to a detector of scores; how many probes it took until an alarm, or all of them."""
    count = 0
    for _ in range(runs):
        for question, value in values.items():
            detector.take(scores(), question, min(1.0, value + chance.gauss(0, spread)), f"t{count:05}")
            count += 1
            if any(one.is_alarmed for one in detector.sums):
                return count
    return count


def test_a_question_that_always_failed_says_nothing_when_it_fails() -> None:
    """Each question is compared with itself."""
    detector = Detector()
    for number in range(400):
        for question in QUESTIONS:
            detector.take(losses(), question, float(question == "one"), f"t{number}")
    assert not detector.sums[0].is_alarmed
    assert detector.sums[0].evidence < 2


def test_failures_of_questions_that_passed_make_an_alarm() -> None:
    """It names the time from which on they failed, what was usual and what is seen."""
    detector = Detector()
    for number in range(30):
        for question in QUESTIONS:
            detector.take(losses(), question, 0.0, f"t{number:03}")
    for number in range(30, 36):
        for question in QUESTIONS:
            detector.take(losses(), question, 1.0, f"t{number:03}")
    alarm = detector.sums[0]
    assert alarm.is_alarmed
    assert alarm.since == "t030"
    assert (alarm.mean_expected, alarm.mean_seen) == (0.0, 1.0)


def test_an_alarm_ends_when_all_is_well_again_and_not_before() -> None:
    """One good answer is no recovery; the limit of evidence against the change is."""
    detector = Detector()
    for number in range(30):
        detector.take(losses(), "one", 0.0, f"a{number}")
    for number in range(12):
        detector.take(losses(), "one", 1.0, f"b{number}")
    assert detector.sums[0].is_alarmed
    detector.take(losses(), "one", 0.0, "c")
    assert detector.sums[0].is_alarmed
    for number in range(200):
        detector.take(losses(), "one", 0.0, f"d{number}")
    assert not detector.sums[0].is_alarmed
    assert detector.sums[0].evidence == 0


def test_of_a_great_fall_the_recovery_is_soon_plain() -> None:
    """A question that failed each time is well again after six good answers, not after one."""
    detector = Detector()
    for number in range(60):
        detector.take(losses(), "one", float(number >= 40), f"a{number}")
    for number in range(2):
        detector.take(losses(), "one", 0.0, f"b{number}")
    assert detector.sums[0].is_alarmed
    for number in range(5):
        detector.take(losses(), "one", 0.0, f"c{number}")
    assert not detector.sums[0].is_alarmed


def test_a_fall_of_scores_is_found_long_before_a_question_fails() -> None:
    """Scores that sink a little in every question make an alarm, though all of them pass."""
    chance = random.Random(7)
    usual = dict.fromkeys(QUESTIONS, 0.92)
    detector = Detector()
    assert fed(detector, usual, 40, chance=chance, spread=0.03) == 200
    assert fed(detector, dict.fromkeys(QUESTIONS, 0.89), 40, chance=chance, spread=0.03) < 60


def test_a_year_of_quiet_scores_has_hardly_an_alarm() -> None:
    """At most two of twenty years of 2,000 probes alarm; one in twenty is what is promised."""
    alarms = 0
    for seed in range(20):
        detector = Detector()
        values = {question: 0.8 + 0.04 * number for number, question in enumerate(QUESTIONS)}
        alarms += fed(detector, values, 410, chance=random.Random(seed), spread=0.05) < 2050
    assert alarms <= 2


def test_what_came_with_a_change_is_not_learnt() -> None:
    """A change right after the learning does not become what is usual."""
    chance = random.Random(3)
    detector = Detector()
    fed(detector, dict.fromkeys(QUESTIONS, 0.9), LEARNT_FIRST, chance=chance, spread=0.02)
    before = detector.usual["one"].mean
    assert fed(detector, dict.fromkeys(QUESTIONS, 0.7), 10, chance=chance, spread=0.02) < 50
    assert detector.usual["one"].mean == pytest.approx(before, abs=0.01)


def test_learning_ends_so_that_a_slow_change_is_seen() -> None:
    """What is usual is kept after sixty values of a question; a score that sinks by a hair a run alarms in the end."""
    detector = Detector()
    chance = random.Random(5)
    fed(detector, dict.fromkeys(QUESTIONS, 0.95), 2 * LEARNT_LAST, chance=chance, spread=0.02)
    assert detector.usual["one"].count == LEARNT_LAST
    for number in range(200):
        value = 0.95 - 0.001 * number
        for question in QUESTIONS:
            detector.take(scores(), question, value + chance.gauss(0, 0.02), f"s{number}")
    assert detector.sums[0].is_alarmed


def test_one_slow_run_is_no_alarm_and_three_are() -> None:
    """A machine that was busy for a moment has not changed."""
    rule, chance, detector = RULES[Kind.LATENCY], random.Random(1), Detector()
    for number in range(20):
        detector.take(rule, "run", chance.gauss(0, 0.05), f"a{number}")
    detector.take(rule, "run", math.log(10), "b")
    assert not detector.sums[0].is_alarmed
    for number in range(40):
        detector.take(rule, "run", chance.gauss(0, 0.05), f"c{number}")
    assert detector.sums[0].evidence == 0
    for number in range(3):
        detector.take(rule, "run", math.log(3.1), f"d{number}")
    assert detector.sums[0].is_alarmed
    assert detector.sums[0].since == "d0"


def test_lengths_count_both_ways() -> None:
    """Answers that become shorter alarm as those that become longer do."""
    for change in (math.log(0.5), math.log(2)):
        rule, detector = RULES[Kind.ANSWER_LENGTH], Detector()
        for number in range(20):
            detector.take(rule, "run", 0.02 * (number % 3), f"a{number}")
        for number in range(5):
            detector.take(rule, "run", change, f"b{number}")
        assert [one.is_alarmed for one in detector.sums] == [change > 0, change < 0]


def test_states_outlive_json() -> None:
    """A detector that was written and read goes on as the one that was not."""
    chance = random.Random(11)
    one = Detector()
    fed(one, dict.fromkeys(QUESTIONS, 0.9), 15, chance=chance, spread=0.05)
    other = Detector.from_plain(json.loads(json.dumps(one.to_plain())))
    for detector in (one, other):
        fed(detector, dict.fromkeys(QUESTIONS, 0.86), 3, chance=random.Random(12), spread=0.05)
    assert other.sums[0].evidence == pytest.approx(one.sums[0].evidence, abs=1e-3)
    assert other.sums[0].since == one.sums[0].since


def test_a_day_with_a_rush_is_no_drift_and_a_slower_day_is() -> None:
    """Requests are compared with the busiest time of the day that was learnt."""
    chance, detector = random.Random(2), SpanDetector((1,))

    def day(more: float) -> None:
        for quarter in range(LEARNT_SPANS):
            rush = 0.4 * math.sin(2 * math.pi * quarter / LEARNT_SPANS)
            detector.take(rush + chance.gauss(0, 0.1) + more, f"q{quarter}", margin=0.2, prior=0.15)

    for _ in range(30):
        day(0.0)
    assert not detector.sums[0].is_alarmed
    day(math.log(3))
    assert detector.sums[0].is_alarmed


def test_another_release_ends_an_alarm_and_keeps_what_is_usual() -> None:
    """What answered badly is gone; the next is compared with the same."""
    detector = Detector()
    for number in range(30):
        detector.take(losses(), "one", float(number >= 20), f"t{number}")
    assert detector.sums[0].is_alarmed
    usual = dict(detector.usual)
    detector.forgive()
    assert not detector.sums[0].is_alarmed
    assert detector.usual == usual


def test_evidence_of_a_loss_is_the_likelihood_ratio() -> None:
    """Five in a hundred that become fifteen: ln(0.15 / 0.05) for a loss, ln(0.85 / 0.95) for none."""
    assert loss_evidence(True, usual_share=0.05) == pytest.approx(math.log(3), abs=0.01)
    assert loss_evidence(False, usual_share=0.05) == pytest.approx(math.log(0.85 / 0.95), abs=0.01)


def test_one_value_however_far_says_little() -> None:
    """The evidence of a value is bounded on both sides."""
    assert shift_evidence(1e9, shift=1.0) == shift_evidence(4.0, shift=1.0)
    assert shift_evidence(-1e9, shift=1.0) == shift_evidence(-3.0, shift=1.0)


def test_a_recovery_needs_evidence() -> None:
    """After an alarm the sum of the evidence against it has to reach its limit."""
    alarmed = Cusum().added(9.0, "t", 8.0, value=1.0, expected=0.0)
    assert alarmed.added(-RECOVERY_LIMIT / 2, "u", 8.0, value=0.0, expected=0.0).is_alarmed
    assert not alarmed.added(-RECOVERY_LIMIT, "u", 8.0, value=0.0, expected=0.0).is_alarmed


def test_a_perfect_baseline_is_not_taken_for_certainty() -> None:
    """Fifty passes are held to fail once or twice in a hundred times."""
    own = Usual()
    for _ in range(10):
        own = own.with_value(0.0)
    assert 0.01 < usual_share(own, together([own] * 5)) < 0.06


def test_a_span_holds_nine_of_ten_values() -> None:
    """Ends are the twentieths, the middle is the median."""
    span = span_of([float(number) for number in range(101)])
    assert (span.low, span.middle, span.high) == (5.0, 50.0, 95.0)
