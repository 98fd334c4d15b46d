"""The clock, on a ``struct timex`` as the kernel fills it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from undercroft.serving.doctor.clock import KernelClock, find_daemon, judge_clock, parse_timex, read_kernel_clock
from undercroft.serving.doctor.scene import Scene


def timex(*, greatest_microseconds: int, status: int) -> bytes:
    """modes, offset, freq, maxerror, esterror, status, then what is not looked at."""
    return struct.pack("@I4li", 0, 12, -3000, greatest_microseconds, 40, status) + bytes(200)


@pytest.mark.parametrize(
    ("state", "content", "expected"),
    [
        (0, timex(greatest_microseconds=25_000, status=0x2001), KernelClock(True, 0.025)),
        (5, timex(greatest_microseconds=16_000_000, status=0x40), KernelClock(False, 16.0)),
        (0, timex(greatest_microseconds=100, status=0x40), KernelClock(False, 0.0001)),
    ],
)
def test_the_kernels_answer_is_read(state: int, content: bytes, expected: KernelClock) -> None:
    """In step unless the return value or the status says otherwise."""
    assert parse_timex(state, content) == expected


@pytest.mark.parametrize(
    ("clock", "daemon", "saw", "mend"),
    [
        (KernelClock(False, 16.0), "", "nothing keeps the clock in step", "timedatectl set-ntp true"),
        (KernelClock(False, 16.0), "chronyd", "not in step, although chronyd runs", "chronyc tracking"),
        (KernelClock(True, 3.2), "chronyd", "may be 3.2 s off", "chronyc tracking"),
    ],
)
def test_a_clock_out_of_step_is_warned_of(clock: KernelClock, daemon: str, saw: str, mend: str) -> None:
    """The remedy is that of the daemon that should do it."""
    verdict = judge_clock(clock, daemon)
    assert (verdict.level, saw in verdict.saw, verdict.mend.startswith(mend)) == ("warning", True, True)


@pytest.mark.parametrize("clock", [None, KernelClock(True, 0.02)])
def test_a_clock_in_step_is_silent(clock: KernelClock | None) -> None:
    """So is a system that does not say."""
    assert judge_clock(clock, "").level == "ok"


def test_the_daemon_is_found_by_its_name(made_scene: Callable[..., Scene]) -> None:
    """Names in /proc are cut at 15 characters."""
    assert (
        find_daemon(made_scene({"proc/1/comm": "systemd\n", "proc/412/comm": "systemd-timesyn\n"})) == "systemd-timesyn"
    )
    assert find_daemon(made_scene({"proc/412/comm": "bash\n"})) == ""


def test_the_real_kernel_answers_with_sense() -> None:
    """Where this system tells of its clock, the greatest error lies between 0 and an hour."""
    clock = read_kernel_clock()
    assert clock is None or 0 <= clock.greatest_error_seconds < 3600
