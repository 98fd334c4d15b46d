"""How long another machine is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried, and how long at most.

    Args:
        attempts: Tries of each request; between them it is waited, longer each time.
        first_pause_seconds: Before the second try.
        timeout_seconds: Of a connection, and of each read.
    """

    attempts: int = 5
    first_pause_seconds: float = 0.5
    timeout_seconds: float = 60.0
