"""Packing: whole sequences, none lost, none seen by another, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.optimize.training.programs.packing import Sequences, lay_out, pack, plan_reading, plan_steps


def sequences(lengths: list[int]) -> Sequences:
    """Sequences whose tokens are all different, with every second one judged."""
    total = sum(lengths)
    return Sequences(
        np.arange(1, total + 1, dtype=np.int32),
        np.arange(total) % 2 == 1,
        np.asarray(lengths, dtype=np.int64),
        np.arange(len(lengths)) % 3 == 0,
    )


def schedule(**more: float) -> dict[str, float]:
    """Of an order."""
    return {"epochs": 1.0, "window_tokens": 64, "batch_rows": 2, "accumulation": 2, **more}


@given(st.lists(st.integers(2, 64), min_size=1, max_size=60), st.integers(0, 5))
def test_every_sequence_is_read_once_an_epoch(lengths: list[int], seed: int) -> None:
    """No row is longer than the window, no sequence is cut or left out, and every epoch has another order."""
    found = sequences(lengths)
    steps = plan_steps(found, schedule(epochs=2.0), seed, together=1)
    rows = [row for step in steps for batch in step for row in batch]
    assert sorted(number for row in rows for number in row) == sorted([*range(len(lengths))] * 2)
    assert all(sum(lengths[number] for number in row) <= 64 for row in rows)
    assert steps == plan_steps(found, schedule(epochs=2.0), seed, together=1)


def test_pairs_stay_together() -> None:
    """A chosen and a rejected answer lie in one row, one after the other, however the pairs are mixed."""
    lengths = np.asarray([20, 30, 5, 7, 31, 33, 2, 2], np.int64)
    rows = pack(lengths, [2, 0, 3, 1], 64, 2)
    assert sorted(number for row in rows for number in row) == list(range(8))
    for row in rows:
        assert all(first % 2 == 0 and second == first + 1 for first, second in zip(row[::2], row[1::2], strict=True))


def test_part_of_an_epoch_is_part_of_its_steps() -> None:
    """1.5 epochs are all steps once and half of them once more."""
    found = sequences([32] * 40)
    whole = len(plan_steps(found, schedule(), 0, together=1))
    assert len(plan_steps(found, schedule(epochs=1.5), 0, together=1)) == whole + round(whole / 2)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=12))
def test_a_row_holds_each_sequence_as_if_it_were_alone(lengths: list[int]) -> None:
    """Positions begin at 0, what is foretold are the judged tokens of the sequence itself, and nothing is seen of
    what stands before it."""
    found = sequences(lengths)
    (rows, *_) = plan_reading(found, 128, 8, together=1)
    batch = lay_out(found, rows, 128)
    mask, tokens = batch.mask(), batch.tokens.ravel()
    width = batch.tokens.shape[1]
    for place, target, owner in zip(batch.places, batch.targets, batch.owners, strict=True):
        number = batch.order[owner]
        row, column = divmod(int(place), width)
        assert batch.segments[row, column] == number
        assert target == tokens[place + 1]
        assert batch.held[np.flatnonzero(batch.places == place)[0]] == (number % 3 == 0)
        seen = np.flatnonzero(mask[row, 0, column])
        assert set(batch.segments[row, seen]) == {number}
        assert list(seen) == list(range(column - batch.positions[row, column], column + 1))
    judged = sum(int(found.judged[begin + 1 : begin + length].sum()) for begin, length in
                 zip(found.begins, lengths, strict=True))  # fmt: skip
    in_batch = {number for row in rows for number in row}
    if len(in_batch) == len(lengths):
        assert len(batch.targets) == judged


def test_the_rest_of_a_row_sees_only_itself() -> None:
    """What is not filled is one segment of its own, so that no softmax is over nothing."""
    batch = lay_out(sequences([3, 100]), [(0,), (1,)], 128)
    assert batch.tokens.shape == (2, 128)
    mask = batch.mask()[0, 0]
    assert not mask[3:, :3].any()
    assert not mask[:3, 3:].any()
    assert mask.diagonal().all()


def test_a_sequence_longer_than_the_window_has_a_row_of_its_own() -> None:
    """Whoever makes rows too short gets longer ones and loses nothing."""
    rows = pack(np.asarray([100, 3], np.int64), [0, 1], 64, 1)
    assert rows == [(0,), (1,)]
    assert lay_out(sequences([100, 3]), [(0,)], 64).tokens.shape == (1, 100)


@pytest.mark.parametrize("rows", [1, 3])
def test_reading_is_in_order(rows: int) -> None:
    """The validation is read the same way each time."""
    found = sequences([30, 30, 30, 30, 30])
    read = [number for batch in plan_reading(found, 64, rows, together=1) for row in batch for number in row]
    assert read == [0, 1, 2, 3, 4]
