"""The keeper's plans."""

from __future__ import annotations

from undercroft.serving.keeper import Child, State


def test_the_first_death_is_mended_at_once() -> None:
    """A door that lived for long, or dies for the first time, comes back without a pause."""
    child = Child("door-0", pid=5, started=100.0)
    child.died(100.5)
    assert (child.pid, child.pause_seconds, child.restarts) == (0, 0.0, 1)


def test_quick_deaths_in_a_row_are_mended_more_and_more_slowly() -> None:
    """The pause doubles up to its limit, and a healthy life ends it."""
    child = Child("control", pid=5, started=0.0)
    pauses = []
    now = 0.0
    for _ in range(12):
        child.started = now
        now += 0.2
        child.died(now)
        pauses.append(child.pause_seconds)
    assert pauses[0] == 0.0
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[-1] == 5.0
    child.started = now
    child.died(now + 60)
    assert child.pause_seconds == 0.0


def test_a_state_survives_the_change_of_keepers() -> None:
    """What one keeper writes at a restart is what the next one reads."""
    state = State(
        home="/h",
        host="127.0.0.1",
        port=1,
        listen_fd=3,
        lock_fd=4,
        log_bytes=1,
        log_files=2,
        drain_seconds=3.0,
        started=5.0,
        generation=2,
        control=Child("control", pid=9),
        doors=[Child("door-0", pid=10, restarts=1)],
        draining=[11],
    )
    assert State.from_json(state.to_json()) == state
