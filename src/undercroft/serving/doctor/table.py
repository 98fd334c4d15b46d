"""The table of checks, in the order in which they are shown."""

from __future__ import annotations

from undercroft.serving.doctor import (
    backups,
    clock,
    disks,
    engine,
    gpu_access,
    gpu_software,
    gpu_state,
    home_files,
    limits,
    memory,
    processor,
    python_setup,
    server,
    stored_state,
    variables,
)
from undercroft.serving.doctor.findings import Check

CHECKS: tuple[Check, ...] = (
    *python_setup.CHECKS,
    *engine.CHECKS,
    *server.CHECKS,
    *stored_state.CHECKS,
    *home_files.CHECKS,
    *backups.CHECKS,
    *disks.CHECKS,
    *memory.CHECKS,
    *processor.CHECKS,
    *gpu_access.CHECKS,
    *gpu_software.CHECKS,
    *gpu_state.CHECKS,
    *variables.CHECKS,
    *limits.CHECKS,
    *clock.CHECKS,
)
