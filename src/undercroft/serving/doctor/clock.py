"""The clock: kept in step with others."""

from __future__ import annotations

import ctypes
import struct
import sys
from dataclasses import dataclass

from undercroft.serving.doctor.findings import Check, Verdict, fine, warn
from undercroft.serving.doctor.scene import Scene

# <sys/timex.h>: adjtimex returns TIME_ERROR for a clock that nothing keeps in step; `status` says it as STA_UNSYNC.
_TIME_ERROR = 5
_STA_UNSYNC = 0x40
_STATUS_OFFSET_LONGS = 5
_TIMEX_BYTES = 256
_FAR_SECONDS = 1.0
_DAEMONS = {
    "chronyd": "chronyc tracking; systemctl restart chronyd",
    "ntpd": "ntpq -p; systemctl restart ntpd",
    "systemd-timesyn": "timedatectl timesync-status; systemctl restart systemd-timesyncd",
    "ntpsec": "ntpq -p; systemctl restart ntpsec",
}


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock.

    Args:
        is_in_step: Some daemon keeps it in step with others.
        greatest_error_seconds: How far it may be off, by its own reckoning.
    """

    is_in_step: bool
    greatest_error_seconds: float


def judge_clock(clock: KernelClock | None, daemon: str) -> Verdict:
    """Whether the time can be trusted.

    Args:
        clock: None where the system does not say.
        daemon: Name of the process that should keep it in step; empty for none.
    """
    if clock is None:
        return fine("this system does not say how its clock is kept")
    if clock.is_in_step and clock.greatest_error_seconds <= _FAR_SECONDS:
        return fine(f"kept in step, at most {1000 * clock.greatest_error_seconds:.0f} ms off")
    if clock.is_in_step:
        saw = f"the clock may be {clock.greatest_error_seconds:.1f} s off"
    elif daemon:
        saw = f"the clock is not in step, although {daemon} runs"
    else:
        saw = "nothing keeps the clock in step"
    return warn(saw, _DAEMONS.get(daemon, "timedatectl set-ntp true (or: apt-get install chrony)"))


def parse_timex(state: int, content: bytes) -> KernelClock:
    """What ``adjtimex`` returned.

    Args:
        state: Its return value.
        content: The ``struct timex``: an int, then long ``offset freq maxerror esterror``, then int ``status``.
    """
    size = struct.calcsize("l")
    greatest = struct.unpack_from("l", content, 3 * size)[0]
    status = struct.unpack_from("i", content, _STATUS_OFFSET_LONGS * size)[0]
    return KernelClock(state != _TIME_ERROR and not status & _STA_UNSYNC, greatest / 1e6)


def read_kernel_clock() -> KernelClock | None:
    """Asks the kernel; None where it is not Linux, or does not let itself be asked."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read, change nothing
    state = libc.adjtimex(buffer) if hasattr(libc, "adjtimex") else -1
    return None if state < 0 else parse_timex(state, buffer.raw)


def find_daemon(scene: Scene) -> str:
    """The time daemon that runs; empty for none. The kernel cuts names at 15 characters."""
    for path in scene.find("proc/[0-9]*/comm"):
        name = scene.read(str(path.relative_to(scene.root))).strip()
        if name in _DAEMONS:
            return name
    return ""


CHECKS = (
    Check(
        "clock",
        "whether a daemon keeps it in step, and how far off it may be",
        "Keys expire at the wrong time, TLS is refused, logs of several machines do not fit together.",
        lambda scene: judge_clock(read_kernel_clock(), find_daemon(scene)),
    ),
)
