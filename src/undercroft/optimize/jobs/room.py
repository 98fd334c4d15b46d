"""Whether a job has the disk and the memory that it will need. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.core.errors import UnavailableError
from undercroft.core.units import format_bytes

_DISK_SPARE_RATIO = 0.05


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


def check_room(forecast: Forecast, *, what: str, where: str, free_bytes: int, available_bytes: int) -> None:
    """Makes sure that a job has room before it begins.

    Args:
        forecast: What it will take.
        what: What is made: ``model 'support-q4_k_m'``.
        where: The folder that it writes to.
        free_bytes: Free there.
        available_bytes: Main memory that may be taken.

    Raises:
        UnavailableError: ``disk-full`` or ``not-enough-memory``, with both numbers.
    """
    if free_bytes < forecast.wanted_disk_bytes:
        raise UnavailableError(
            "disk-full",
            f"no room for {what}: needs {format_bytes(forecast.wanted_disk_bytes)} of disk, which is its forecast and "
            f"5 % more, {where} has {format_bytes(free_bytes)} free",
            hint="undercroft model gc, or make room on that disk",
        )
    if available_bytes < forecast.memory_bytes:
        raise UnavailableError(
            "not-enough-memory",
            f"no memory for {what}: needs {format_bytes(forecast.memory_bytes)}, this machine has "
            f"{format_bytes(available_bytes)} available",
            hint="undercroft status says which models take it; undercroft deployment stop NAME frees it",
        )
