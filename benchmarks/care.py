"""A scripted year, many times over: how soon trouble is noticed, how often nothing was, and whether the cause is found.

    python -m benchmarks.care [--json] [--quick]

See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.care_bank import COARSE, Bank, fill
from benchmarks.care_year import DAYS, TROUBLES, Trouble, Year
from benchmarks.reporting import Report, arguments
from undercroft.watch.promotion.evidence import make_arm
from undercroft.watch.promotion.judging import Rules, failures_sentence

TITLE = "care: a year of standard questions, and what goes wrong in it"

_MOST_FALSE_ALARMS = 1.0
_LEAST_BLAMED = 0.9


def main() -> int:
    """Fills the bank, lives the years, and reports."""
    given = arguments(TITLE)
    report = Report(TITLE)
    with tempfile.TemporaryDirectory(prefix="undercroft-care-") as name:
        folder = Path(name)
        bank = fill(4 if given.quick else 12, folder)
        for variant, rounds in bank.rounds.items():
            passed = [outcome.has_passed for each in rounds for outcome in each]
            report.figures[f"{variant}_passed_share"] = sum(passed) / len(passed)
        _quiet(bank, folder, 1 if given.quick else 5, report)
        _troubled(bank, folder, 1 if given.quick else 3, report)
        _candidate(bank, report)
    return report.finish(as_json=given.json)


def _quiet(bank: Bank, folder: Path, years: int, report: Report) -> None:
    alarms = []
    for seed in range(years):
        told = Year(bank, folder / f"quiet-{seed}", seed, None).run()
        alarms.append(len(told.false_alarms))
        print(f"quiet year {seed}: {told.false_alarms or 'nothing'}", file=sys.stderr)
    report.figures["quiet_years"] = years
    report.figures["days_a_year"] = DAYS
    report.figures["false_alarms_a_year"] = statistics.fmean(alarms)
    report.at_most("false_alarms_a_year", statistics.fmean(alarms), _MOST_FALSE_ALARMS)


def _troubled(bank: Bank, folder: Path, years: int, report: Report) -> None:
    asked = right = 0
    for position, trouble in enumerate(TROUBLES):
        delays = []
        for seed in range(years):
            day = 120 + 37 * seed + position
            told = Year(bank, folder / f"{position}-{seed}", 100 * position + seed, trouble, day, day + 60).run()
            delays.append(told.detected_after)
            if trouble.measure is not None:
                asked += 1
                right += _is_right(trouble, told.causes)
            print(f"{trouble.name} {seed}: after {told.detected_after} days; {told.causes}", file=sys.stderr)
        key = trouble.name.replace(" ", "_").replace("'", "")
        known = [delay for delay in delays if delay is not None]
        report.figures[f"{key}_detected"] = len(known) / len(delays)
        report.figures[f"{key}_days_to_notice"] = statistics.fmean(known) if known else None
        report.at_least(f"{key}_detected", len(known) / len(delays), 1.0)
    report.figures["blamed"] = asked
    report.figures["true_cause_first_share"] = right / asked
    report.at_least("true_cause_first_share", right / asked, _LEAST_BLAMED)


def _is_right(trouble: Trouble, causes: list[str] | None) -> bool:
    """Whether the likeliest cause is the true one, or, where there is none in diary or use, none is named."""
    if not trouble.cause:
        return not causes
    return bool(causes) and trouble.cause in causes[0]


def _candidate(bank: Bank, report: Report) -> None:
    """Bad answers of a candidate until the rule of failures in a row speaks."""
    rules = Rules.model_validate({})
    good = {"is_empty": False, "is_refusal": False, "is_invalid": False, "is_cut": False}
    plain = {
        "status": 200,
        "completion_tokens": 20,
        "first_token_seconds": 0.1,
        "queue_seconds": 0.0,
        "total_seconds": 1.0,
        "key_id": "key_1",
    }
    production = make_arm([{**plain, "signs": good}] * 5)
    rows: list[dict[str, object]] = []
    bad = 0
    acted: int | None = None
    for outcome in (one for each in bank.rounds[COARSE] for one in each):
        is_bad = not outcome.has_passed
        rows.append({**plain, "signs": {**good, "is_invalid": is_bad}})
        bad += is_bad
        if failures_sentence(rules, make_arm(rows), production):
            acted = bad
            break
    report.figures["bad_answers_before_a_candidate_goes_back"] = acted
    report.at_most("bad_answers_before_a_candidate_goes_back", acted, 3)


if __name__ == "__main__":
    sys.exit(main())
