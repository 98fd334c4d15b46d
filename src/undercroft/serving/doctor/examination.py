"""Runs the checks: all at the same time, none able to end the others or to hold them up."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from undercroft.core.errors import UndercroftError
from undercroft.serving.doctor.findings import Check, Finding, to_findings, worst_first
from undercroft.serving.doctor.scene import Scene

# However busy the machine is, all ends after so many times the patience.
_LONGEST = 10


def examine(scene: Scene, checks: Sequence[Check]) -> list[Finding]:
    """Looks at everything; no check changes anything.

    Args:
        scene: What is looked at.
        checks: Which checks.

    Returns:
        Problems, then warnings, then what is fine. Checks that were given up share one warning.
    """
    results: dict[str, list[Finding]] = {}
    progress = threading.Condition()
    # Daemons: a thread that hangs in the kernel does not keep the process from ending.
    for check in checks:
        threading.Thread(
            target=_look, args=(check, scene, results, progress), name=f"doctor {check.name}", daemon=True
        ).start()
    with progress:
        wait_for_checks(progress, results, len(checks), scene.patience_seconds)
        done = dict(results)
    findings = [finding for check in checks for finding in done.get(check.name, [])]
    late = [check.name for check in checks if not done.get(check.name)]
    return worst_first([*findings, *([_unfinished(late, scene.patience_seconds)] if late else [])])


def wait_for_checks(
    progress: threading.Condition, results: Mapping[str, object], wanted: int, patience_seconds: float
) -> None:
    """Until all are done, or none was for as long as patience lasts: a busy machine is slow with all of them.

    Args:
        progress: Held by the caller; told whenever one is done.
        results: Of those that are done.
        wanted: Count.
        patience_seconds: Between one and the next.
    """
    deadline = time.monotonic() + _LONGEST * patience_seconds
    while len(results) < wanted and time.monotonic() < deadline:
        if not progress.wait(patience_seconds):
            return


def _look(check: Check, scene: Scene, results: dict[str, list[Finding]], progress: threading.Condition) -> None:
    try:
        found = to_findings(check, check.look(scene))
    except subprocess.TimeoutExpired:
        found = []  # without a finding it counts as not finished
    except UndercroftError as error:
        found = [Finding(check.name, "problem", error.message, check.why, error.hint or "")]
    except Exception as error:  # noqa: BLE001  (the boundary of a job: one check must not end the others)
        text = f"could not be looked at: {type(error).__name__}: {error}"
        found = [
            Finding(check.name, "warning", text, "What is wrong here would not be seen.", "undercroft doctor --json")
        ]
    with progress:
        results[check.name] = found
        progress.notify()


def _unfinished(names: Sequence[str], patience_seconds: float) -> Finding:
    return Finding(
        "unfinished",
        "warning",
        f"not finished within {patience_seconds:g} s: {', '.join(names)}",
        "A disk, a driver or the whole machine answers slowly, or is very busy.",
        f"undercroft doctor --patience {10 * patience_seconds:g}",
    )
