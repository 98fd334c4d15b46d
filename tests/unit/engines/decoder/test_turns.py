"""Tests of `undercroft.engines.decoder.turns`."""

from __future__ import annotations

from undercroft.engines.decoder.turns import Turns, common


def admitted(turns: Turns) -> list[tuple[int, int | None, int]]:
    """Everybody who is let in now: slot, request, tokens that are there."""
    found = []
    while (one := turns.admit()) is not None:
        found.append((one[0].number, one[0].request, one[1]))
    return found


def test_who_comes_first_is_let_in_first() -> None:
    """As many as there are slots; the others wait in order."""
    turns = Turns(2)
    for request in (7, 8, 9):
        turns.add(request, [1, request])
    assert [request for _, request, _ in admitted(turns)] == [7, 8]
    assert (turns.running, turns.waiting) == (2, 1)
    turns.drop(7)
    assert [request for _, request, _ in admitted(turns)] == [9]


def test_slots_take_turns() -> None:
    """Everybody in a slot gets one turn before anybody gets a second."""
    turns = Turns(3)
    for request in range(3):
        turns.add(request, [1])
    admitted(turns)
    order = [slot.request for _ in range(6) if (slot := turns.next()) is not None]
    assert order == [0, 1, 2, 0, 1, 2]


def test_a_prompt_goes_on_from_what_a_slot_holds() -> None:
    """The slot that holds most of its beginning is taken, and its last token is always computed."""
    turns = Turns(2)
    turns.slots[0].kept, turns.slots[1].kept = [1, 2], [1, 2, 3, 4]
    turns.add(1, [1, 2, 3, 9])
    turns.add(2, [1, 2])
    assert admitted(turns) == [(1, 1, 3), (0, 2, 1)]


def test_without_a_beginning_the_slot_unused_the_longest_is_taken() -> None:
    """What was used last stays for who comes back."""
    turns = Turns(2)
    for request, prompt in ((1, [1]), (2, [2])):
        turns.add(request, prompt)
        slot, _ = turns.admit() or (None, 0)
        assert slot is not None
        slot.kept = prompt
        turns.drop(request)
    turns.add(3, [3])
    assert admitted(turns) == [(0, 3, 0)]


def test_who_leaves_is_forgotten_wherever_it_is() -> None:
    """From a slot or from the line; nobody has a turn then."""
    turns = Turns(1)
    turns.add(1, [1])
    turns.add(2, [1])
    admitted(turns)
    turns.drop(2)
    turns.drop(1)
    assert (turns.running, turns.waiting, turns.next()) == (0, 0, None)


def test_common_beginnings() -> None:
    """As far as both are alike, and no further than the shorter one."""
    assert (common([1, 2, 3], [1, 2, 4]), common([1], [1, 2]), common([], [1])) == (2, 1, 0)
