"""One search: decide, measure, keep, until the pick is known."""

from __future__ import annotations

from pathlib import Path

from undercroft.core.errors import RefusedError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.rightsizing.bench import PARENT, Bench, Say
from undercroft.optimize.rightsizing.order import SearchOrder
from undercroft.optimize.rightsizing.outcome import Outcome, outcome_of
from undercroft.optimize.rightsizing.race import End, Look, Try, next_move


class Search:
    """A search in a folder; one that was interrupted goes on there.

    Args:
        order: What is asked for.
        folder: Of its own.
        settings: Which engine.
        threads: Processors; count.
        say: Told the share that is done of the whole, and what is being done.
    """

    def __init__(self, order: SearchOrder, folder: Path, settings: EngineSettings, threads: int, say: Say) -> None:
        self._order, self._say = order, say
        self._done_before, self._weight = 0.0, 0.0
        self._all_looks = order.count * (len(order.candidates) + 1)
        self._bench = Bench(order, folder, settings, threads, self._told)

    def run(self) -> Outcome:
        """Measures until the pick is known; its file, where there is one, lies in the folder.

        Raises:
            InvalidError: Texts cannot be read.
            RefusedError: ``nothing-to-lose``: the parent passes no task.
            UnavailableError: The disk or the memory is full.
        """
        self._bench.read_calibration()
        self._look_at_parent()
        while True:
            outcome = self.outcome(None)
            runners = [entry.runner for entry in outcome.entries]
            move = next_move(runners, self._order.looks, measures_all=self._order.measures_all)
            if isinstance(move, End):
                if move.pick is not None:
                    self._bench.make(move.pick)
                return self.outcome(move.pick)
            best = next_move([runner for runner in runners if not runner.is_open], self._order.looks)
            self._bench.clear_but(move.name, *([best.pick] if isinstance(best, End) and best.pick else []))
            self._weigh(outcome, move)
            if isinstance(move, Look):
                self._bench.look(move.name, move.upto)
            elif isinstance(move, Try):
                self._bench.try_out(move.name)

    @property
    def asking(self) -> Setup:
        """How models were asked."""
        return self._bench.asking

    def made(self, name: str) -> Path:
        """The file of a candidate that was made last."""
        return self._bench.path(name)

    def outcome(self, pick: str | None) -> Outcome:
        """What is known by now."""
        names = [candidate.name for candidate, _ in self._order.candidates]
        parent = self._bench.kept(PARENT)
        assert parent is not None  # it is looked at first
        return outcome_of(self._order, parent, {name: self._bench.kept(name) for name in names}, pick)

    def _look_at_parent(self) -> None:
        seen = 0
        for look in self._order.looks:
            self._done_before, self._weight = seen / self._all_looks, (look - seen) / self._all_looks
            self._bench.look_at_parent(look)
            seen = look
        kept = self._bench.kept(PARENT)
        assert kept is not None  # it was looked at
        if kept.run.items and not any(item.has_passed for item in kept.run.items):
            raise RefusedError(
                "nothing-to-lose",
                f"model {self._order.parent.subject.name!r} passes none of its {len(kept.run.items):,} tasks, so that "
                "nothing could be lost: any model would do as well",
                hint="look at the checks: undercroft optimize evaluate MODEL --tasks FILE --card DIR",
            )
        if self._order.wish.machine.is_here and kept.trial is None:
            self._bench.try_out(PARENT)

    def _weigh(self, outcome: Outcome, move: Look | Try) -> None:
        """How much of the whole is behind, and how much the next move is: a candidate that is out is done with."""
        count = self._order.count
        done = count  # the parent
        for entry in outcome.entries:
            judgement = entry.runner.judgement
            done += (judgement.looked if judgement is not None else 0) if entry.runner.is_open else count
        self._done_before = done / self._all_looks
        before = next(e.runner.judgement for e in outcome.entries if e.candidate.name == move.name)
        seen = before.looked if before is not None else 0
        self._weight = (move.upto - seen) / self._all_looks if isinstance(move, Look) else 0.0

    def _told(self, share: float, note: str) -> None:
        self._say(self._done_before + self._weight * share, note)
