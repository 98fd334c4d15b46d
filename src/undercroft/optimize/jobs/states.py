"""What a job may do next. Pure.

queued ──▶ running ──▶ done
  │           ├──────▶ failed ──────┐
  │           ├──────▶ interrupted ─┤  its process is gone and wrote nothing down
  └──────▶ cancelled ◀──────────────┤
  ▲                                 │
  └────────────── resume ◀──────────┘  from cancelled, too
"""

from __future__ import annotations

from enum import StrEnum

from undercroft.core.errors import ConflictError


class State(StrEnum):
    """How a job is. ``interrupted`` is never stored: it is what `running` is seen as without its process."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE = frozenset({State.QUEUED, State.RUNNING})  # as stored: it will get its name, so nothing else may
ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.INTERRUPTED})
_RESUMABLE = frozenset({State.FAILED, State.CANCELLED, State.INTERRUPTED})


def seen(stored: State, *, has_process: bool) -> State:
    """How a job really is.

    Args:
        stored: What its row says.
        has_process: Whether the process that its row names is alive.
    """
    return State.INTERRUPTED if stored is State.RUNNING and not has_process else stored


def check_can_cancel(job: str, state: State) -> None:
    """Lets a job be cancelled, or says why not.

    Raises:
        ConflictError: ``job-ended``.
    """
    if state in (State.DONE, State.CANCELLED):
        raise ConflictError(
            "job-ended", f"job {job} cannot be cancelled: it is {state}", hint=f"undercroft job show {job}"
        )


def check_can_resume(job: str, state: State) -> None:
    """Lets a job be begun again, or says why not.

    Raises:
        ConflictError: ``job-not-resumable``.
    """
    if state not in _RESUMABLE:
        raise ConflictError(
            "job-not-resumable",
            f"job {job} cannot be resumed: expected one that failed, was interrupted or cancelled, it is {state}",
            # Watching one that waits also begins it, where nobody is left to.
            hint=f"undercroft job {'follow' if state is State.QUEUED else 'show'} {job}",
        )
