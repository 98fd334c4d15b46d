"""Runs the checks: all at the same time, none longer than its limit, none able to end the others."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence

from undercroft.core.errors import UndercroftError
from undercroft.serving.doctor.findings import Check, Finding, to_findings, worst_first
from undercroft.serving.doctor.scene import Scene


def examine(scene: Scene, checks: Sequence[Check]) -> list[Finding]:
    """Looks at everything; no check changes anything.

    Args:
        scene: What is looked at.
        checks: Which checks.

    Returns:
        Problems, then warnings, then what is fine. Checks that were given up share one warning.
    """
    results: dict[str, list[Finding]] = {}
    # Daemons: a thread that hangs in the kernel does not keep the process from ending.
    threads = {
        check.name: threading.Thread(
            target=_look, args=(check, scene, results), name=f"doctor {check.name}", daemon=True
        )
        for check in checks
    }
    deadline = time.monotonic() + scene.patience_seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    done = dict(results)
    findings = [finding for name in threads for finding in done.get(name, [])]
    late = [name for name in threads if name not in done]
    return worst_first([*findings, *([_unfinished(late, scene.patience_seconds)] if late else [])])


def _look(check: Check, scene: Scene, results: dict[str, list[Finding]]) -> None:
    try:
        found = to_findings(check, check.look(scene))
    except subprocess.TimeoutExpired:
        return  # without a result it counts as not finished
    except UndercroftError as error:
        found = [Finding(check.name, "problem", error.message, check.why, error.hint or "")]
    except Exception as error:  # noqa: BLE001  (the boundary of a job: one check must not end the others)
        text = f"could not be looked at: {type(error).__name__}: {error}"
        found = [
            Finding(check.name, "warning", text, "What is wrong here would not be seen.", "undercroft doctor --json")
        ]
    results[check.name] = found


def _unfinished(names: Sequence[str], patience_seconds: float) -> Finding:
    return Finding(
        "unfinished",
        "warning",
        f"not finished within {patience_seconds:g} s: {', '.join(names)}",
        "A disk, a driver or the whole machine answers slowly, or is very busy.",
        f"undercroft doctor --patience {10 * patience_seconds:g}",
    )
