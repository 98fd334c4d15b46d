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
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import structlog

from benchmarks.care_bank import Bank, fill, serving
from benchmarks.care_peers import cusum_days, cusum_limit, last_change, threshold_days
from benchmarks.care_sinks import Outage, live_through
from benchmarks.care_troubles import TROUBLES, VARIANTS, Trouble
from benchmarks.care_year import BEGIN, DAYS, Lived, Told, Year
from benchmarks.reporting import Report, arguments
from undercroft.core.clock import from_iso

TITLE = "care: a year of standard questions, and what goes wrong in it"

_MOST_FALSE_ALARMS = 1.0
_LEAST_BLAMED = 0.9
# Years are lived beside each other.
_WORKERS = 4
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
    with tempfile.TemporaryDirectory(prefix="undercroft-care-", dir=where) as name, ExitStack() as stack:
        folder = Path(name)
        with serving(folder, VARIANTS) as served:
            bank = fill(served, 2 if is_quick else 4)
        for variant in bank.rounds:
            report.figures[f"{variant}_passed_share"] = bank.passed_share(variant)
        pool = stack.enter_context(ProcessPoolExecutor(_WORKERS))
        years = [
            pool.submit(_live, bank, folder / f"year-{int(has_trouble)}-{seed}", seed, has_trouble)
            for seed in range(1 if is_quick else 3)
            for has_trouble in (True, False)
        ]
        outage = pool.submit(_live_through, bank, folder / "sink")
        _sink(outage.result(), report)
        lived = [year.result() for year in years]
        _years([one for one in lived if not one.told], [one for one in lived if one.told], report)
    return report.finish(as_json=given.json)


def _live_through(bank: Bank, folder: Path) -> Outage:
    folder.mkdir()
    return live_through(bank, folder, 0)


def _sink(outage: Outage, report: Report) -> None:
    _say(f"sink away: {outage}")
    report.figures["sink_owed"] = outage.owed
    report.figures["sink_came_by_itself"] = outage.by_itself
    report.figures["sink_shown_as_undeliverable"] = outage.dead
    report.figures["sink_tries_while_away"] = outage.tries
    report.at_least("sink_came_in_the_end", outage.after_retry / outage.owed, 1)
    report.at_most("sink_lost_silently", outage.owed - outage.by_itself - outage.dead, 0)
    report.at_most("sink_came_twice", outage.twice, 0)
    report.at_most("sink_came_out_of_order", outage.out_of_order, 0)
    report.at_most("sink_most_messages_an_hour", outage.most_an_hour, 20)
    report.at_least("sink_outage_told_elsewhere", float(outage.told_elsewhere), 1)
    report.at_most("sink_outage_unsent_elsewhere", outage.unsent_elsewhere, 0)


def _live(bank: Bank, folder: Path, seed: int, has_trouble: bool) -> Lived:
    """A year; what came of it is told at once, for others take longer."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    lived = Year(bank, folder, seed, has_trouble=has_trouble).run()
    lines = [f"year {seed}, {'troubled' if has_trouble else 'quiet'}: {lived.false_alarms or 'no false alarm'}"]
    for told in lived.told:
        lines.append(f"  {told.trouble.name}: after {told.days_to_notice} days; {told.cause}; {told.causes_then}")
        lines.append(f"      later: {told.causes_later}")
    _say("\n".join(lines))
    return lived


def _years(quiet: Sequence[Lived], troubled: Sequence[Lived], report: Report) -> None:
    """As many quiet years as troubled ones."""
    report.figures["quiet_years"], report.figures["troubled_years"] = len(quiet), len(troubled)
    report.figures["days_a_year"] = DAYS
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
            told = next(told for told in one.told if told.trouble.name == trouble.name)
            begin, end = ((at - BEGIN).total_seconds() / 86_400 for at in (told.begin, told.end))
            # A dashboard is looked at in the evening.
            delays.append(next((day + 0.8 - begin for day in days_of(one) if begin <= day + 0.8 <= end), None))
        known = [delay for delay in delays if delay is not None]
        figures[f"{trouble.key}_noticed"] = len(known) / len(delays)
        figures[f"{trouble.key}_days_to_notice"] = statistics.fmean(known) if known else None
    report.peers[name] = figures


def _of(trouble: Trouble, troubled: Sequence[Lived]) -> list[Told]:
    return [told for one in troubled for told in one.told if told.trouble.name == trouble.name]


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
