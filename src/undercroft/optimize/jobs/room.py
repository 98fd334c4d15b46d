"""Whether a job has the disk and the memory that it will need. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.core.errors import UnavailableError
from undercroft.core.units import format_bytes

_DISK_SPARE_RATIO = 0.05
LEAST_FREE_BYTES = 1024**2  # of a disk; with less, what failed has failed for that, whatever it says


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job will take.

    Args:
        result_bytes: Of the new model's files.
        disk_bytes: Of everything that it writes, the result among it.
        memory_bytes: Most private memory of its process at a time.
    """

    result_bytes: int
    disk_bytes: int
    memory_bytes: int

    @property
    def wanted_disk_bytes(self) -> int:
        """With what a forecast may be wrong by."""
        return int(self.disk_bytes * (1 + _DISK_SPARE_RATIO))


def check_room(
    forecast: Forecast, *, what: str, where: str, free_bytes: int, available_bytes: int, kept_bytes: int = 0
) -> None:
    """Makes sure that a job has room before it begins.

    Args:
        forecast: What it will take.
        what: What is made: ``model 'support-q4_k_m'``.
        where: The folder that it writes to.
        free_bytes: Free there.
        available_bytes: Main memory that may be taken.
        kept_bytes: Of what it writes, those that an earlier attempt has left for it.

    Raises:
        UnavailableError: ``disk-full`` or ``not-enough-memory``, with both numbers.
    """
    missing = _missing_bytes(forecast, free_bytes=free_bytes, kept_bytes=kept_bytes)
    if missing > 0:
        kept = f", {format_bytes(kept_bytes)} of it are there from before" if kept_bytes else ""
        raise UnavailableError(
            "disk-full",
            f"no room for {what}: needs {format_bytes(forecast.wanted_disk_bytes)} of disk, which is its forecast and "
            f"5 % more{kept}, {where} has {format_bytes(free_bytes)} free: {format_bytes(missing)} are missing",
            hint="undercroft model gc, or make room on that disk",
        )
    if available_bytes < forecast.memory_bytes:
        raise UnavailableError(
            "not-enough-memory",
            f"no memory for {what}: needs {format_bytes(forecast.memory_bytes)}, this machine has "
            f"{format_bytes(available_bytes)} available",
            hint="undercroft status says which models take it; undercroft deployment stop NAME frees it",
        )


def told_room(forecast: Forecast, *, where: str, free_bytes: int, kept_bytes: int) -> str:
    """What a job lacks for which the disk became full, as the end of a sentence.

    Args:
        forecast: What all of it takes.
        where: The folder that it writes to.
        free_bytes: Free there, after what was half done has been removed.
        kept_bytes: That lie there for its next attempt.
    """
    more = format_bytes(max(0, forecast.wanted_disk_bytes - kept_bytes))
    has = f"it needs {more} more in {where}, which has {format_bytes(free_bytes)} free"
    missing = _missing_bytes(forecast, free_bytes=free_bytes, kept_bytes=kept_bytes)
    if missing > 0:
        return f"{has}: {format_bytes(missing)} are missing"
    return f"{has} now, so a quota, a limit on the size of files or another program was in its way"


def _missing_bytes(forecast: Forecast, *, free_bytes: int, kept_bytes: int) -> int:
    return max(0, forecast.wanted_disk_bytes - kept_bytes) - free_bytes
