"""Bad candidates: who never reaches a user, how many bad answers the others give, and how soon a rule puts back.

    python -m benchmarks.candidates [--json] [--quick]

See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import logging
import math
import statistics
import sys
import tempfile
from pathlib import Path

import structlog

from benchmarks.candidates_judged import is_found_by_questions, judge_unasked
from benchmarks.candidates_trials import CANDIDATES, bad_share, tickets_of, try_candidate
from benchmarks.care_bank import GOOD, Bank, Served, fill, serving
from benchmarks.care_rollbacks import undo
from benchmarks.reporting import Report, arguments

TITLE = "candidates: bad ones, and how many bad answers users get of them"

_MOST_BAD = 3
# Of the users, and of the answers that the rules ask for where users rate.
_RATERS = 0.2
_RATED_REQUESTS = 200


def main() -> int:
    """Tries bad candidates on a real server, then bad releases on a moved clock, and reports."""
    given = arguments(TITLE)
    is_quick = bool(given.quick)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report = Report(TITLE)
    with tempfile.TemporaryDirectory(prefix="undercroft-candidates-") as name:
        folder = Path(name)
        with serving(folder, (GOOD, *CANDIDATES)) as served:
            shares = _tried(served, 15 if is_quick else 60, 1 if is_quick else 3, report)
            bank = fill(served, 1)
        _judged(bank, 2 if is_quick else 10, report)
        _undone(bank, folder, shares, 2 if is_quick else 5, report)
    return report.finish(as_json=given.json)


def _tried(served: Served, count: int, seeds: int, report: Report) -> dict[str, float]:
    """Promotions of bad candidates; the share of bad answers of each."""
    tickets = tickets_of(served, count)
    report.figures["tickets"], report.figures["promotions_without_questions_each"] = len(tickets), seeds
    worst = 0
    for variant in CANDIDATES:
        asked = try_candidate(served, variant, tickets, 0, has_probes=True)
        worst = max(worst, asked.bad)
        report.figures[f"{variant}_bad_answers_after_questions"] = asked.bad
        print(f"{variant}, questions first: {asked}", file=sys.stderr, flush=True)
    for variant in CANDIDATES:
        unasked = [try_candidate(served, variant, tickets, seed, has_probes=False) for seed in range(seeds)]
        print(f"{variant}, no questions: {unasked}", file=sys.stderr, flush=True)
        report.figures[f"{variant}_unasked_sent_back"] = sum(one.state == "reverted" for one in unasked) / seeds
        report.figures[f"{variant}_unasked_most_bad_answers"] = max(one.bad for one in unasked)
    report.at_most("most_bad_answers_where_questions_are_asked_first", worst, _MOST_BAD)
    shares = {variant: bad_share(served, variant, tickets) for variant in CANDIDATES}
    for variant, share in shares.items():
        report.figures[f"{variant}_bad_share"] = share
    return shares


def _judged(bank: Bank, seeds: int, report: Report) -> None:
    """The same judge without a server's delays, after each answer of the candidate; a tenth of the users is its own.

    Once nobody rates; once a share of the users does, and the candidate has to answer more before it is done.
    """
    for variant in CANDIDATES:
        report.figures[f"{variant}_found_by_questions"] = int(is_found_by_questions(bank, variant))
        found = [judge_unasked(bank, variant, seed, share=0.1) for seed in range(seeds)]
        report.figures[f"{variant}_judged_sent_back"] = sum(one.is_sent_back for one in found) / seeds
        report.figures[f"{variant}_judged_most_bad_answers"] = max(one.bad for one in found)
        rated = [
            judge_unasked(bank, variant, seed, share=0.1, raters=_RATERS, min_requests=_RATED_REQUESTS)
            for seed in range(seeds)
        ]
        report.figures[f"{variant}_rated_sent_back"] = sum(one.is_sent_back for one in rated) / seeds
        report.figures[f"{variant}_rated_median_answers"] = statistics.median(one.answers for one in rated)
        report.figures[f"{variant}_rated_most_bad_answers"] = max(one.bad for one in rated)


def _undone(bank: Bank, folder: Path, shares: dict[str, float], seeds: int, report: Report) -> None:
    """Rollbacks by rule of bad releases that were put into production untried."""
    for failures in (3, 1):
        undone = []
        for variant, share in shares.items():
            if bank.passed_share(variant) == bank.passed_share(GOOD):
                continue  # its standard questions do not tell
            for seed in range(seeds):
                place = folder / f"rule-{failures}-{variant}-{seed}"
                undone.append(undo(bank, place, variant, seed, failures=failures, bad_share=share))
        worst = max(math.inf if one.bad_runs is None else one.bad_runs for one in undone)
        key = f"rule_after_{failures}"
        report.figures[f"{key}_rollbacks"] = len(undone)
        report.figures[f"{key}_most_bad_standard_answers"] = max(one.bad_answers for one in undone)
        report.figures[f"{key}_users_bad_answers"] = statistics.fmean(one.users_bad_answers for one in undone)
        report.at_most(f"{key}_most_bad_runs", worst, failures)


if __name__ == "__main__":
    sys.exit(main())
