"""The race finds what measuring everything would have found, by measuring less."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from undercroft.optimize.rightsizing.budget import Budget, Judgement, Standing, judge_passes
from undercroft.optimize.rightsizing.front import Point, beats, front_of
from undercroft.optimize.rightsizing.race import End, Look, Runner, Try, looks_of, next_move


@dataclass(frozen=True)
class Truth:
    """A candidate as measuring everything would show it."""

    name: str
    size_bytes: int
    passes: list[bool]
    tokens_per_second: float
    memory_bytes: int


@dataclass(frozen=True)
class Table:
    """A made-up measurement of everything."""

    parent: list[bool]
    candidates: list[Truth]
    least_tokens_per_second: float

    def runs(self, truth: Truth) -> bool:
        """Whether it is fast enough."""
        return truth.tokens_per_second >= self.least_tokens_per_second


def table(chance: random.Random) -> Table:
    """Some candidates that lose something between nothing and a lot, more or less in the order of their sizes, some of
    them of one size, and fast or slow by chance."""
    count = chance.choice((60, 150, 400, 800))
    parent = [chance.random() < chance.choice((0.6, 0.9, 0.98)) for _ in range(count)]
    candidates = []
    for number in range(chance.randint(1, 9)):
        worse = chance.choice((0.0, 0.0, 0.003, 0.01, 0.03, 0.3))
        better = chance.choice((0.0, 0.0, 0.01, 0.05))
        passes = [chance.random() >= worse if passed else chance.random() < better for passed in parent]
        size = 100 + 10 * chance.randint(0, 8)
        candidates.append(Truth(f"c{number}", size, passes, float(chance.randint(5, 40)), chance.randint(100, 200)))
    return Table(parent, candidates, float(chance.choice((0, 10, 20))))


def raced(found: Table, percent: float, *, measures_all: bool = False) -> tuple[str | None, dict[str, Judgement], int]:
    """The pick, what was judged of each, and the answers that it took."""
    looks = looks_of(len(found.parent))
    budget = Budget(percent, tests=max(1, len(found.candidates) * (len(looks) - 1)))
    judged: dict[str, Judgement] = {}
    tried: set[str] = set()
    by_name = {truth.name: truth for truth in found.candidates}
    while True:
        runners = [runner(found, truth, judged.get(truth.name), truth.name in tried) for truth in found.candidates]
        move = next_move(runners, looks, measures_all=measures_all)
        if isinstance(move, End):
            return move.pick, judged, sum(one.looked for one in judged.values())
        if isinstance(move, Look):
            judged[move.name] = judge_passes(found.parent, by_name[move.name].passes[: move.upto], budget)
        if isinstance(move, Try):
            tried.add(move.name)


def runner(found: Table, truth: Truth, judgement: Judgement | None, is_tried: bool) -> Runner:
    """A candidate as the race is told of it."""
    return Runner(
        truth.name,
        truth.size_bytes,
        judgement,
        found.runs(truth) if is_tried else None,
        truth.tokens_per_second if is_tried else None,
        truth.memory_bytes if is_tried else None,
    )


def everything(found: Table, percent: float) -> dict[str, Judgement]:
    """Every candidate, asked every task."""
    return {truth.name: judge_passes(found.parent, truth.passes, Budget(percent)) for truth in found.candidates}


def point(truth: Truth, judgement: Judgement) -> Point:
    """Of the front."""
    return Point(truth.name, truth.size_bytes, judgement.loss.upper, truth.tokens_per_second, truth.memory_bytes)


@pytest.mark.parametrize("seed", range(30))
def test_the_pick_is_that_of_measuring_everything(seed: int) -> None:
    """The smallest that is within the budget and fast enough; of one size the surest; none where there is none."""
    chance = random.Random(seed)
    found, percent = table(chance), chance.choice((1.0, 3.0, 10.0))
    pick, _, asked = raced(found, percent)
    whole = everything(found, percent)
    fit = [t for t in found.candidates if whole[t.name].standing is Standing.HOLDS and found.runs(t)]
    wanted = min(
        fit,
        key=lambda t: (t.size_bytes, whole[t.name].loss.upper, -t.tokens_per_second, t.memory_bytes, t.name),
        default=None,
    )
    assert pick == (wanted.name if wanted is not None else None)
    assert asked <= len(found.parent) * len(found.candidates)


@pytest.mark.parametrize("seed", range(30))
def test_the_pick_is_on_the_front_of_everything(seed: int) -> None:
    """No candidate of the whole table is as small, as sure, as fast and as lean, and better in one of them."""
    chance = random.Random(seed)
    found, percent = table(chance), chance.choice((1.0, 3.0, 10.0))
    pick, _, _ = raced(found, percent)
    if pick is None:
        return
    whole = everything(found, percent)
    points = [point(truth, whole[truth.name]) for truth in found.candidates]
    points.append(Point("parent", 10_000, 0.0, 50.0, 10_000))
    assert pick in [one.name for one in front_of(points)]


@pytest.mark.parametrize("seed", range(10))
def test_measuring_all_changes_nothing_but_what_is_known(seed: int) -> None:
    """The pick stays, and no candidate is left without an answer."""
    chance = random.Random(seed)
    found = table(chance)
    pick, judged, _ = raced(found, 3.0, measures_all=True)
    assert pick == raced(found, 3.0)[0]
    assert judged.keys() == {truth.name for truth in found.candidates}
    assert all(one.standing is not Standing.OPEN for one in judged.values())


def test_nothing_larger_than_the_pick_is_asked() -> None:
    """It would not be taken."""
    parent = [True] * 400
    found = Table(
        parent, [Truth("small", 10, parent, 20.0, 1), Truth("large", 20, parent, 20.0, 1)], least_tokens_per_second=1.0
    )
    pick, judged, asked = raced(found, 1.0)
    assert (pick, list(judged), asked) == ("small", ["small"], 400)


def test_what_is_hopeless_is_asked_an_eighth() -> None:
    """That is enough to show that it answers next to nothing."""
    parent = [True] * 800
    found = Table(parent, [Truth("broken", 10, [False] * 800, 9.0, 1), Truth("good", 20, parent, 9.0, 1)], 1.0)
    pick, judged, asked = raced(found, 1.0)
    assert (pick, judged["broken"].looked, asked) == ("good", 100, 900)


def test_what_is_lost_is_passed_over() -> None:
    """One that could not be made is no pick, and keeps nobody from being one."""
    runners = [Runner("broken", 10, is_lost=True), Runner("good", 20)]
    assert next_move(runners, (100,)) == Look("good", 100)


@pytest.mark.parametrize(
    ("count", "looks"), [(1, (1,)), (33, (33,)), (64, (32, 64)), (200, (50, 100, 200)), (720, (90, 180, 360, 720))]
)
def test_looks_double_up_to_all(count: int, looks: tuple[int, ...]) -> None:
    """None of them is so early that it could show nothing."""
    assert looks_of(count) == looks


def test_what_is_not_known_beats_nothing() -> None:
    """A model whose speed nobody saw is no better than one whose speed is known; equals do not beat each other."""
    known = Point("known", 10, 1.0, 20.0, 100)
    unknown = Point("unknown", 5, 0.5)
    assert not beats(unknown, known)
    assert beats(Point("better", 5, 0.5, 20.0, 100), known)
    assert not beats(known, known)
