"""What a search has found, as plain data: every candidate with what is known of it, and the pick. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from undercroft.core.units import format_bytes
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.rightsizing.budget import Judgement, judge_passes, judge_texts
from undercroft.optimize.rightsizing.candidates import Candidate
from undercroft.optimize.rightsizing.front import Point, front_of
from undercroft.optimize.rightsizing.keeping import Kept
from undercroft.optimize.rightsizing.order import SearchOrder
from undercroft.optimize.rightsizing.outlook import Outlook, Wish
from undercroft.optimize.rightsizing.race import Runner
from undercroft.planning.report.words import significant


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate.

    Args:
        candidate: What it is.
        outlook: What was forecast of it.
        kept: What was measured of it; None where nothing was.
        runner: As the race sees it.
    """

    candidate: Candidate
    outlook: Outlook
    kept: Kept | None
    runner: Runner


@dataclass(frozen=True, slots=True)
class Outcome:
    """A search, finished or not.

    Args:
        order: What was asked for.
        parent: What was measured of the parent.
        entries: Candidates that were worth making, the smallest first.
        pick: Name of the one that is taken; None where there is none.
    """

    order: SearchOrder
    parent: Kept
    entries: tuple[Entry, ...]
    pick: str | None

    @property
    def picked(self) -> Entry | None:
        """The candidate that is taken."""
        return next((entry for entry in self.entries if entry.candidate.name == self.pick), None)

    @property
    def front(self) -> tuple[str, ...]:
        """Names of all that were asked everything and that nothing else beats; the parent's is its own."""
        points = [point for entry in self.entries if (point := _point(entry)) is not None]
        trial = self.parent.trial
        subject = self.order.parent.subject
        points.append(
            Point(
                subject.name,
                subject.size_bytes,
                0.0,
                trial.tokens_per_second if trial is not None else None,
                trial.memory_bytes if trial is not None else None,
            )
        )
        return tuple(point.name for point in front_of(points))


def outcome_of(order: SearchOrder, parent: Kept, kept: Mapping[str, Kept | None], pick: str | None) -> Outcome:
    """Everything that is known.

    Args:
        order: What was asked for.
        parent: What was measured of the parent.
        kept: Name of a candidate → what was measured of it.
        pick: Name of the one that is taken; None where there is none.
    """
    entries = (
        Entry(candidate, outlook, kept.get(candidate.name), runner_of(order, candidate, outlook, parent, kept))
        for candidate, outlook in order.candidates
    )
    return Outcome(order, parent, tuple(entries), pick)


def runner_of(
    order: SearchOrder, candidate: Candidate, outlook: Outlook, parent: Kept, kept: Mapping[str, Kept | None]
) -> Runner:
    """A candidate as the race sees it.

    Args:
        order: What was asked for.
        candidate: It.
        outlook: Its forecast, which counts where it does not run here.
        parent: What was measured of the parent, which was asked everything.
        kept: Name of a candidate → what was measured of it.
    """
    found = kept.get(candidate.name)
    judgement = judged(order, found.run, parent.run) if found is not None and not found.lost else None
    runner = Runner(candidate.name, candidate.size_bytes, judgement, is_lost=found is not None and bool(found.lost))
    if not order.wish.machine.is_here:
        speed = outlook.speed.value if outlook.speed is not None else None
        return _with(runner, can_run=True, speed=speed, memory=outlook.needed_bytes)
    if found is None or found.trial is None:
        return runner
    speed, memory = found.trial.tokens_per_second, found.trial.memory_bytes
    return _with(runner, can_run=not shortcomings(order.wish, speed, memory), speed=speed, memory=memory)


def judged(order: SearchOrder, run: Run, parent: Run) -> Judgement | None:
    """What is known of a candidate's quality; None before it was asked anything."""
    budget = order.budget
    if order.tasks is not None:
        passed = [item.has_passed for item in run.items]
        return judge_passes([item.has_passed for item in parent.items], passed, budget) if passed else None
    read = [(own, other) for own, other in zip(run.texts, parent.texts, strict=False) if own.tokens and other.tokens]
    if not read:
        return None
    found = judge_texts(
        [other.nats for _, other in read],
        [own.nats for own, _ in read],
        [own.tokens for own, _ in read],
        order.count,
        budget,
        seed=order.seed,
        is_whole=len(run.texts) == order.count,
    )
    return replace(found, looked=len(run.texts))


def shortcomings(wish: Wish, tokens_per_second: float | None, memory_bytes: int | None) -> list[str]:
    """What keeps a model from running as it has to, as it was measured here; a sentence each, empty where nothing does.

    Args:
        wish: What it has to hold.
        tokens_per_second: Of one answer; None where it could not be seen.
        memory_bytes: That it took; None where it could not be seen.
    """
    found = []
    least, limit = wish.least_tokens_per_second, wish.machine.limit_bytes
    if least is not None and (tokens_per_second is None or tokens_per_second < least):
        reached = (
            "no speed could be seen" if tokens_per_second is None else f"{significant(tokens_per_second)} tokens/s"
        )
        found.append(f"{reached}, {significant(least)} wanted")
    if limit is not None and (memory_bytes is None or memory_bytes > limit):
        taken = "its memory could not be seen" if memory_bytes is None else f"{format_bytes(memory_bytes)} of memory"
        found.append(f"{taken}, {format_bytes(limit)} wanted")
    return found


def _with(runner: Runner, *, can_run: bool, speed: float | None, memory: int | None) -> Runner:
    return replace(runner, can_run=can_run, tokens_per_second=speed, memory_bytes=memory)


def _point(entry: Entry) -> Point | None:
    runner = entry.runner
    if runner.judgement is None or not runner.judgement.is_whole or runner.is_lost:
        return None
    return Point(
        runner.name,
        runner.size_bytes,
        runner.judgement.loss.upper,
        runner.tokens_per_second,
        runner.memory_bytes,
    )
