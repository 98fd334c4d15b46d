"""A scripted year, many times over: how soon trouble is noticed, how often nothing was, and whether the cause is found.

    python -m benchmarks.care [--json] [--quick]

See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import logging
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from benchmarks.care_bank import GOOD, Bank, Served, fill, serving
from benchmarks.care_candidates import CANDIDATES, bad_share, tickets_of, try_candidate
from benchmarks.care_peers import cusum_days, cusum_limit, last_change, threshold_days
from benchmarks.care_rollbacks import undo
from benchmarks.care_sinks import live_through
from benchmarks.care_troubles import TROUBLES, Trouble
from benchmarks.care_year import BEGIN, DAYS, Lived, Told, Year
from benchmarks.reporting import Report, arguments
from undercroft.core.clock import from_iso

TITLE = "care: a year of standard questions, and what goes wrong in it"

_MOST_FALSE_ALARMS = 1.0
_LEAST_BLAMED = 0.9
_MOST_BAD = 3
# Homes of simulated years lie in memory where there is such a folder: the disk is not what is measured.
_IN_MEMORY = Path("/dev/shm")
_THRESHOLDS, _CUSUM, _NEWEST = "fixed thresholds", "plain CUSUM of passes", "newest diary entry"


def main() -> int:
    """Fills the bank, tries bad candidates, lives the years, and reports."""
    given = arguments(TITLE)
    is_quick = bool(given.quick)
    # Incidents of made-up years are no news.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report = Report(TITLE)
    where = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="undercroft-care-", dir=where) as name:
        folder = Path(name)
        with serving(folder) as served:
            bank = fill(served, 4 if is_quick else 12)
            for variant in bank.rounds:
                report.figures[f"{variant}_passed_share"] = bank.passed_share(variant)
            shares = _candidates(served, 1 if is_quick else 3, report)
        _rules(bank, folder, shares, 2 if is_quick else 5, report)
        _sinks(bank, folder, 1 if is_quick else 2, report)
        _years(bank, folder, 1 if is_quick else 4, report)
    return report.finish(as_json=given.json)


def _candidates(served: Served, seeds: int, report: Report) -> dict[str, float]:
    """Promotions of bad candidates; the share of bad answers of each."""
    tickets = tickets_of(served)
    report.figures["tickets"] = len(tickets)
    shares, worst = {}, 0
    for variant in CANDIDATES:
        shares[variant] = bad_share(served, variant, tickets)
        report.figures[f"candidate_{variant}_bad_share"] = shares[variant]
        asked = try_candidate(served, variant, tickets, 0, has_probes=True)
        worst = max(worst, asked.bad)
        report.figures[f"candidate_{variant}_bad_answers_after_questions"] = asked.bad
        _say(f"candidate {variant}, questions first: {asked}")
        unasked = [try_candidate(served, variant, tickets, seed, has_probes=False) for seed in range(seeds)]
        for one in unasked:
            _say(f"candidate {variant}, no questions: {one}")
        report.figures[f"candidate_{variant}_unasked_sent_back"] = _share(one.state == "reverted" for one in unasked)
        report.figures[f"candidate_{variant}_unasked_most_bad_answers"] = max(one.bad for one in unasked)
    report.at_most("bad_answers_of_a_candidate_that_is_asked_first", worst, _MOST_BAD)
    return shares


def _rules(bank: Bank, folder: Path, shares: dict[str, float], seeds: int, report: Report) -> None:
    """Rollbacks by rule of bad releases that were put into production untried."""
    for failures in (3, 1):
        undone = []
        for variant, share in shares.items():
            if bank.passed_share(variant) == bank.passed_share(GOOD):
                continue  # its standard questions do not tell
            for seed in range(seeds):
                place = folder / f"rule-{failures}-{variant}-{seed}"
                undone.append(undo(bank, place, variant, seed, failures=failures, bad_share=share))
        runs = [one.bad_runs for one in undone]
        worst = max(math.inf if count is None else count for count in runs)
        report.figures[f"rule_after_{failures}_rollbacks"] = len(runs)
        report.figures[f"rule_after_{failures}_most_bad_runs"] = worst
        report.figures[f"rule_after_{failures}_most_bad_standard_answers"] = max(one.bad_answers for one in undone)
        report.figures[f"rule_after_{failures}_users_bad_answers"] = statistics.fmean(
            one.users_bad_answers for one in undone
        )
        report.at_most(f"rule_after_{failures}_most_bad_runs", worst, failures)


def _sinks(bank: Bank, folder: Path, seeds: int, report: Report) -> None:
    found = []
    for seed in range(seeds):
        place = folder / f"sink-{seed}"
        place.mkdir()
        found.append(live_through(bank, place, seed))
        _say(f"sink away: {found[-1]}")
    figures = report.figures
    figures["sink_owed"] = sum(one.owed for one in found)
    figures["sink_came_by_itself"] = sum(one.by_itself for one in found)
    figures["sink_shown_as_undeliverable"] = sum(one.dead for one in found)
    figures["sink_tries_while_away_a_day"] = statistics.fmean(one.tries for one in found) / 3
    report.at_least("sink_came_in_the_end", sum(one.after_retry for one in found) / sum(one.owed for one in found), 1)
    report.at_most("sink_lost_silently", sum(one.owed - one.by_itself - one.dead for one in found), 0)
    report.at_most("sink_came_twice", sum(one.twice for one in found), 0)
    report.at_most("sink_came_out_of_order", sum(one.out_of_order for one in found), 0)
    report.at_most("sink_most_messages_an_hour", max(one.most_an_hour for one in found), 20)
    report.at_least("sink_outage_told_elsewhere", _share(one.told_elsewhere for one in found), 1)
    report.at_most("sink_outage_unsent_elsewhere", sum(one.unsent_elsewhere for one in found), 0)


def _years(bank: Bank, folder: Path, seeds: int, report: Report) -> None:
    """As many quiet years as troubled ones."""
    lived = []
    for has_trouble in (False, True):
        for seed in range(seeds):
            year = Year(bank, folder / f"year-{int(has_trouble)}-{seed}", seed, has_trouble=has_trouble)
            lived.append(year.run())
            _say(f"year {seed}, {'troubled' if has_trouble else 'quiet'}: {lived[-1].false_alarms or 'no false alarm'}")
            for told in lived[-1].told:
                _say(f"  {told.trouble.name}: after {told.days_to_notice} days; {told.cause}; {told.causes_then}")
                _say(f"      later: {told.causes_later}")
    quiet = lived[:seeds]
    troubled = lived[seeds:]
    report.figures["quiet_years"], report.figures["troubled_years"], report.figures["days_a_year"] = seeds, seeds, DAYS
    alarms = statistics.fmean(len(one.false_alarms) for one in quiet)
    report.at_most("false_alarms_a_quiet_year", alarms, _MOST_FALSE_ALARMS)
    between = 365 * sum(len(one.false_alarms) for one in troubled) / sum(one.quiet_days for one in troubled)
    report.figures["false_alarms_a_year_between_troubles"] = between
    _detection(troubled, report)
    _blame(troubled, report)
    limit = cusum_limit()
    _peer(report, _THRESHOLDS, quiet, troubled, lambda one: threshold_days(one.days))
    _peer(report, _CUSUM, quiet, troubled, lambda one: cusum_days(one.days, limit))


def _detection(troubled: Sequence[Lived], report: Report) -> None:
    for trouble in TROUBLES:
        delays = [told.days_to_notice for told in _of(trouble, troubled)]
        known = [delay for delay in delays if delay is not None]
        report.figures[f"{trouble.key}_days_to_notice"] = statistics.fmean(known) if known else None
        report.at_least(f"{trouble.key}_noticed", len(known) / len(delays), 1.0)


def _blame(troubled: Sequence[Lived], report: Report) -> None:
    """Ours when it was noticed and when it was put right, and what one says who names the newest entry of the diary."""
    asked = [told for one in troubled for told in one.told if told.trouble.measure is not None]
    then = [_is_right(told.trouble, told.causes_then) for told in asked]
    later = [_is_right(told.trouble, told.causes_later) for told in asked]
    report.figures["blame_asked"] = len(asked)
    report.at_least("true_cause_first_when_noticed", _share(then), _LEAST_BLAMED)
    report.at_least("true_cause_first_when_put_right", _share(later), _LEAST_BLAMED)
    report.figures["alert_names_the_true_cause"] = _share(_is_told(told) for told in asked)
    for trouble in TROUBLES:
        if trouble.measure is not None:
            own = [_is_right(trouble, told.causes_then) for told in _of(trouble, troubled)]
            report.figures[f"{trouble.key}_blamed_when_noticed"] = _share(own)
    report.peers[_NEWEST] = {
        "true_cause_first_when_noticed": _share(_is_newest(told) for told in asked if told.noticed is not None)
    }


def _peer(
    report: Report,
    name: str,
    quiet: Sequence[Lived],
    troubled: Sequence[Lived],
    days_of: Callable[[Lived], list[int]],
) -> None:
    figures: dict[str, float | int | str | None] = {
        "false_alarms_a_quiet_year": statistics.fmean(len(days_of(one)) for one in quiet)
    }
    for trouble in TROUBLES:
        delays = []
        for one in troubled:
            told = next(told for told in one.told if told.trouble is trouble)
            begin, end = ((at - BEGIN).total_seconds() / 86_400 for at in (told.begin, told.end))
            # A dashboard is looked at in the evening.
            delays.append(next((day + 0.8 - begin for day in days_of(one) if begin <= day + 0.8 <= end), None))
        known = [delay for delay in delays if delay is not None]
        figures[f"{trouble.key}_noticed"] = len(known) / len(delays)
        figures[f"{trouble.key}_days_to_notice"] = statistics.fmean(known) if known else None
    report.peers[name] = figures


def _of(trouble: Trouble, troubled: Sequence[Lived]) -> list[Told]:
    return [told for one in troubled for told in one.told if told.trouble is trouble]


def _is_right(trouble: Trouble, causes: list[str] | None) -> bool:
    """Whether the likeliest cause is the true one, or, where there is none in diary or use, none is named."""
    if not trouble.cause:
        return causes is not None and not causes
    return bool(causes) and causes is not None and trouble.cause in causes[0]


def _is_told(told: Told) -> bool:
    """The same of what the alert said, which names an entry by its action and subject."""
    if told.noticed is None:
        return False
    if told.trouble.entry is not None:
        return told.cause is not None and told.cause.startswith(" ".join(told.trouble.entry[:2]))
    return told.cause is None if not told.trouble.cause else bool(told.cause) and told.trouble.cause in str(told.cause)


def _is_newest(told: Told) -> bool:
    """Whether the newest entry of the diary is the true cause, or there is none where none is to be named."""
    assert told.noticed is not None
    times = {entry.seq: from_iso(entry.at).timestamp() for entry in told.last_entries}
    newest = last_change(told.last_entries, told.noticed, times)
    if told.trouble.entry is None:
        return newest is None and not told.trouble.cause
    return newest is not None and (newest.action, newest.subject) == told.trouble.entry[:2]


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
