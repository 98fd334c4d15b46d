"""What to say where there is no pick: what came nearest, and what would have to be given up. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.units import format_bytes
from undercroft.optimize.cards.words import name_of
from undercroft.optimize.rightsizing.budget import Budget, tasks_needed_at_least
from undercroft.optimize.rightsizing.candidates import LeftOut, Why
from undercroft.optimize.rightsizing.outcome import Entry, Outcome, shortcomings
from undercroft.optimize.rightsizing.outlook import Outlook, Wish
from undercroft.optimize.rightsizing.words import fate, lost_words, needed_for
from undercroft.planning.report.words import significant

_SHOWN = 6


def check_count(count: int, percent: float) -> None:
    """Refuses tasks that could prove nothing, before anything is measured.

    Args:
        count: Of the tasks.
        percent: Points that may be lost.

    Raises:
        InvalidError: ``too-few-tasks``, with the number that is needed.
    """
    needed = tasks_needed_at_least(Budget(percent))
    if count < needed:
        raise InvalidError(
            "too-few-tasks",
            f"{count:,} tasks cannot show a loss of at most {_points(percent)}, not even where every answer stays "
            f"the same: expected {needed:,} tasks at the least, and more where some answers change",
            hint="give more tasks, or a larger --max-quality-loss",
        )


def nothing_worth_making(name: str, out: Sequence[tuple[LeftOut, Outlook | None]], wish: Wish) -> RefusedError:
    """Why no candidate is worth making, with what came nearest.

    Args:
        name: Of the model.
        out: What was left out, at least one.
        wish: What was asked for.
    """
    forecast = [(one, outlook) for one, outlook in out if outlook is not None]
    small = [(one, outlook) for one, outlook in forecast if one.why is Why.DOES_NOT_FIT]
    slow = [(one, outlook) for one, outlook in forecast if one.why is Why.TOO_SLOW and outlook.speed is not None]
    if slow:
        one, outlook = max(slow, key=lambda pair: pair[1].speed.value if pair[1].speed is not None else 0.0)
        speed = outlook.speed
        assert speed is not None  # of those that are slow
        reach = speed.high if wish.machine.is_here else speed.value
        return RefusedError(
            "nothing-fits",
            f"no size of model {name!r} is fast enough on {wish.machine.name}: {one.name} comes nearest, "
            f"{one.sentence}",
            hint=f"--min-tps {_rounded_down(reach)}, a shorter --context, a faster machine, or a model with fewer "
            "parameters",
        )
    if small:
        one, outlook = min(small, key=lambda pair: pair[1].missing_bytes)
        return RefusedError(
            "nothing-fits",
            f"no size of model {name!r} fits {wish.machine.name}: {one.name} comes nearest, it {one.sentence}",
            hint="a shorter --context, fewer --users, a machine with more memory, or a model with fewer parameters",
        )
    shown = "\n".join(f"  - {one.name}: {one.sentence}" for one, _ in out[:_SHOWN])
    more = f"\n  - and {len(out) - _SHOWN} more" if len(out) > _SHOWN else ""
    return RefusedError(
        "nothing-to-make",
        f"there is nothing smaller to make of model {name!r}:\n{shown}{more}",
        hint="take the model in F16 or BF16, give --importance-texts, or other --schemes",
    )


def nothing_holds(outcome: Outcome) -> RefusedError:
    """Why there is no pick although candidates were measured.

    Args:
        outcome: Of the search.
    """
    order = outcome.order
    parent = name_of(order.parent.subject.name)
    lines = [f"no smaller form of {parent} is shown to hold what was asked:"]
    holding = [entry for entry in outcome.entries if entry.runner.holds]
    nearest = _nearest(outcome)
    if holding:
        best = max(holding, key=lambda entry: entry.runner.tokens_per_second or 0.0)
        runner = best.runner
        missing = "; ".join(shortcomings(order.wish, runner.tokens_per_second, runner.memory_bytes))
        lines.append(f"  - {best.candidate.name} keeps the quality and not the rest: {missing}")
    elif nearest is not None:
        judgement = nearest.runner.judgement
        assert judgement is not None  # of those that were judged
        lines.append(
            f"  - {nearest.candidate.name}, {format_bytes(nearest.candidate.size_bytes)}, comes nearest: "
            f"{lost_words(outcome, judgement.loss)}, at most {order.percent:g} allowed; {fate(outcome, nearest)}"
        )
    lines += [
        f"  - {entry.candidate.name}: {entry.kept.lost}"
        for entry in outcome.entries
        if entry.kept is not None and entry.kept.lost
    ][:_SHOWN]
    return RefusedError("nothing-holds", "\n".join(lines), hint=_relax(outcome, holding, nearest))


def _nearest(outcome: Outcome) -> Entry | None:
    """The candidate of which the least loss is not ruled out, of those that were asked everything if there is one."""
    judged = [entry for entry in outcome.entries if entry.runner.judgement is not None]
    whole = [entry for entry in judged if entry.runner.judgement is not None and entry.runner.judgement.is_whole]
    return min(whole or judged, key=_most_lost, default=None)


def _most_lost(entry: Entry) -> float:
    judgement = entry.runner.judgement
    return judgement.loss.upper if judgement is not None else math.inf


def _relax(outcome: Outcome, holding: Sequence[Entry], nearest: Entry | None) -> str:
    """What would have to be given up, so that there is a pick."""
    if holding:
        speeds = [entry.runner.tokens_per_second for entry in holding if entry.runner.tokens_per_second is not None]
        least = outcome.order.wish.least_tokens_per_second
        is_slow = least is not None and not any(speed >= least for speed in speeds)
        return f"--min-tps {_rounded_down(max(speeds))}" if is_slow and speeds else "--fit with more memory"
    judgement = nearest.runner.judgement if nearest is not None else None
    if nearest is None or judgement is None or not judgement.is_whole or not math.isfinite(judgement.loss.upper):
        return "a larger --max-quality-loss, or keep the model as it is"
    ways = [f"--max-quality-loss {math.ceil(100 * judgement.loss.upper) / 100:g}%"]
    needed = needed_for(outcome, nearest)
    if needed is not None:
        ways.append(f"about {needed:,} tasks, if it goes on so")
    return f"{', '.join(ways)}, or keep the model as it is"


def _rounded_down(value: float) -> str:
    """So that what is suggested is reached."""
    step = 10 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return significant(math.floor(value / step) * step, 2)


def _points(percent: float) -> str:
    return f"{percent:g} {'point' if percent == 1 else 'points'}"
