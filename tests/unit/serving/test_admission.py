"""Which loads may begin, what is unloaded for them, who waits, who is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from undercroft.serving.admission import Admission, Ask, Occupant, Phase, Room, admit, never_fits

GIB = 1024**3


def decide(asks: list[Ask], occupants: list[Occupant], *, total: int = 10, now: float = 100.0) -> Admission:
    """In one memory of so many GiB, where free is what the occupants leave."""
    taken = sum(o.claims["host"] for o in occupants)
    rooms = {"host": Room(total * GIB - taken, total * GIB, "main memory")}
    return admit(asks, occupants, rooms, now=now, idle_seconds=2.0, patience_seconds=5.0)


def ask(name: str, gib: float, **more: object) -> Ask:
    return Ask(name, {"host": int(gib * GIB)}, **{"since": 99.0, **more})  # type: ignore[arg-type]


def ready(name: str, gib: float, **more: object) -> Occupant:
    values: dict[str, object] = {"idle_seconds": 60.0, "ready_seconds": 100.0, **more}
    return Occupant(f"rep_{name}", name, {"host": int(gib * GIB)}, Phase.READY, **values)  # type: ignore[arg-type]


def test_two_cannot_both_take_the_last_gigabyte() -> None:
    """Six GiB are free and two models of four are asked for at once: the older ask gets them, the other waits."""
    found = decide([ask("late", 4, since=99.5), ask("early", 4)], [ready("old", 4, idle_seconds=0.0)])
    assert found.start == ["early"]
    assert "late" in found.waiting
    assert found.unload == {}


def test_the_more_important_comes_first() -> None:
    """Priority beats age."""
    found = decide([ask("early", 6), ask("vip", 6, since=99.9, priority=5)], [])
    assert found.start == ["vip"]


def test_the_cheapest_idle_one_is_unloaded() -> None:
    """Of three idle replicas the one that was idle longest for its reload time goes, and only that one."""
    occupants = [
        ready("quick", 3, idle_seconds=100, reload_seconds=1),
        ready("slow", 3, idle_seconds=100, reload_seconds=60),
        ready("fresh", 3, idle_seconds=3, reload_seconds=1),
    ]
    found = decide([ask("new", 3)], occupants)
    assert found.unload == {"quick": "new"}
    assert "quick is being unloaded" in found.waiting["new"]


def test_no_more_is_unloaded_than_helps() -> None:
    """A small one that goes first is kept when the large one that goes next is enough by itself."""
    occupants = [ready("small", 1, reload_seconds=0.1), ready("large", 6, reload_seconds=9)]
    assert decide([ask("new", 7)], occupants, total=8).unload == {"large": "new"}


def test_a_pinned_or_more_important_one_is_never_unloaded() -> None:
    """The refusal says how much of the memory they hold."""
    occupants = [ready("pinned", 4, is_pinned=True), ready("vip", 4, priority=3)]
    found = decide([ask("new", 4)], occupants)
    assert found.unload == {}
    assert "8.0 GiB belong to pinned or more important models" in found.refused["new"]


def test_what_never_fits_is_refused_and_blocks_nobody() -> None:
    """A model larger than the memory is refused with both numbers, and the next ask starts."""
    found = decide([ask("huge", 11, priority=9), ask("small", 1)], [])
    assert found.start == ["small"]
    assert "needs 11.0 GiB of main memory, and all models together may take 10.0 GiB" in found.refused["huge"]


def test_what_never_fits_is_known_beforehand() -> None:
    """Larger than all memory, or than what is left beside those that stay: pinned ones and more important ones."""
    rooms = {"host": Room(0, 10 * GIB, "main memory")}
    assert never_fits(ask("new", 11), [], rooms)
    assert not never_fits(ask("new", 9), [ready("old", 8)], rooms)
    assert never_fits(ask("new", 9), [ready("old", 8, is_pinned=True)], rooms)
    assert never_fits(ask("new", 9), [ready("old", 8, priority=1)], rooms)


def test_busy_ones_are_left_alone_until_patience_ends() -> None:
    """A busy replica is drained for an ask that waited longer than the patience, and not before."""
    occupants = [ready("busy", 8, idle_seconds=0.0)]
    early = decide([ask("new", 4, since=98.0)], occupants)
    assert (early.unload, list(early.waiting)) == ({}, ["new"])
    late = decide([ask("new", 4, since=90.0)], occupants)
    assert late.unload == {"busy": "new"}


def test_one_that_was_just_loaded_may_work_for_a_while() -> None:
    """A busy replica that became ready a second ago is not drained at once: no thrashing."""
    occupants = [ready("busy", 8, idle_seconds=0.0, ready_seconds=1.0)]
    found = decide([ask("new", 4, since=50.0)], occupants)
    assert (found.unload, list(found.waiting)) == ({}, ["new"])


def test_nothing_is_unloaded_for_what_nobody_waits_for() -> None:
    """At start six models are wanted and three fit: the others stay unloaded until a request comes."""
    found = decide([ask("spare", 4, has_demand=False)], [ready("old", 8)])
    assert (found.unload, found.unwanted) == ({}, ["spare"])


def test_memory_that_comes_back_is_kept_for_the_first_that_waits() -> None:
    """While one stops, the ask that waits for its memory keeps it, and a later one takes only what is left."""
    stopping = Occupant("rep_s", "s", {"host": 6 * GIB}, Phase.STOPPING)
    found = decide([ask("first", 6), ask("second", 5, since=99.5), ask("third", 3, since=99.6)], [stopping])
    assert "being freed" in found.waiting["first"]
    assert found.start == ["third"]


def test_a_successor_that_does_not_fit_beside_stops_its_own_first() -> None:
    """A changed deployment of which two do not fit: the old replica is stopped, and the sentence says what it costs."""
    old = ready("bot", 6)
    found = decide([ask("bot", 6, replaces=frozenset({"rep_bot"}))], [old])
    assert found.stop == ["rep_bot"]
    assert "a moment without an answer" in found.waiting["bot"]


def test_a_pool_that_is_not_there_is_named() -> None:
    """A forecast for a second GPU on a machine with none is refused with its name."""
    found = decide([Ask("new", {"gpu1": GIB})], [])
    assert "gpu1, which this machine does not have" in found.refused["new"]


def test_other_programs_are_named() -> None:
    """What neither we nor the system hold belongs to others, and the refusal says so."""
    rooms = {"host": Room(1 * GIB, 10 * GIB, "main memory")}
    found = admit([ask("new", 4)], [], rooms, now=100, idle_seconds=2, patience_seconds=5)
    assert "other programs hold 9.0 GiB" in found.refused["new"]


_asks = st.lists(
    st.builds(
        Ask,
        deployment=st.sampled_from("abcdefgh"),
        needs=st.fixed_dictionaries({"host": st.integers(1, 12)}),
        priority=st.integers(0, 2),
        since=st.floats(0, 100),
        has_demand=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda a: a.deployment,
)
_occupants = st.lists(
    st.builds(
        Occupant,
        replica_id=st.uuids().map(str),
        deployment=st.sampled_from("mnopqrs"),
        claims=st.fixed_dictionaries({"host": st.integers(1, 5)}),
        phase=st.sampled_from(Phase),
        priority=st.integers(0, 2),
        is_pinned=st.booleans(),
        idle_seconds=st.floats(0, 100),
        ready_seconds=st.floats(0, 100),
        reload_seconds=st.floats(0.1, 100),
    ),
    max_size=6,
)


@given(_asks, _occupants, st.integers(0, 10))
def test_whatever_is_asked_the_memory_is_never_given_twice(
    asks: list[Ask], occupants: list[Occupant], slack: int
) -> None:
    """What starts fits into what is free; nothing pinned, loading or more important is unloaded; each ask gets one
    answer."""
    total = sum(o.claims["host"] for o in occupants) + slack
    rooms = {"host": Room(slack, total)}
    found = admit(asks, occupants, rooms, now=100, idle_seconds=2, patience_seconds=5)
    needs = {a.deployment: a.needs["host"] for a in asks}
    assert sum(needs[name] for name in found.start) <= slack
    unloaded = [o for o in occupants if o.deployment in found.unload and o.phase is Phase.READY]
    by_name = {a.deployment: a for a in asks}
    for occupant in unloaded:
        asker = by_name[found.unload[occupant.deployment]]
        assert asker.has_demand
        same = [o for o in occupants if o.deployment == occupant.deployment and o.phase is Phase.READY]
        assert any(not o.is_pinned and o.priority <= asker.priority for o in same)
    answers = [*found.start, *found.waiting, *found.refused, *found.unwanted]
    assert sorted(answers) == sorted(needs)
