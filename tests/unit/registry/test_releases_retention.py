"""Which releases stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from undercroft.registry.releases.retention import keep


def test_each_reason_keeps_its_release() -> None:
    """Tags, the promotion that runs, the newest, and the first release after which an engine is called."""
    groups = {
        1: "bot@1",
        2: "bot@2",
        3: "bot@2",
        4: "bot@1",
        5: "bot@5",
        6: "bot@6",
        7: "bot@6",
        8: "bot@5",
        9: "bot@1",
    }
    kept = keep(range(1, 10), tags={"production": 3, "mine": 8}, promoted=[7], groups=groups, newest=1)
    assert kept == {
        1: "the engine of @9 is called after it",
        2: "the engine of @3 is called after it",
        3: "the tag production points at it",
        5: "the engine of @8 is called after it",
        6: "the engine of @7 is called after it",
        7: "a promotion that runs needs it",
        8: "the tag mine points at it",
        9: "one of the newest",
    }


@given(
    groups_of=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    tagged=st.lists(st.integers(1, 20), max_size=4),
    promoted=st.lists(st.integers(1, 20), max_size=2),
    newest=st.integers(1, 25),
)
def test_what_is_needed_never_goes(groups_of: list[int], tagged: list[int], promoted: list[int], newest: int) -> None:
    """Whatever the rule: the newest so many, what a tag or promotion names, and the founder of each that stays."""
    numbers = range(1, len(groups_of) + 1)
    groups = {number: f"bot@{groups_of.index(groups_of[number - 1]) + 1}" for number in numbers}
    tags = {f"t{place}": number for place, number in enumerate(tagged) if number in numbers}
    wanted = [number for number in promoted if number in numbers]
    kept = keep(numbers, tags=tags, promoted=wanted, groups=groups, newest=newest)
    assert {*tags.values(), *wanted, *list(numbers)[-newest:]} <= set(kept)
    assert {int(groups[number].removeprefix("bot@")) for number in kept} <= set(kept)
    assert set(kept) <= set(numbers)
