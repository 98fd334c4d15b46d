"""Trainings in one process of the environment ``train``, each in a child of its own, which may be killed.

``PYTHON training_trials.py`` reads JSON from stdin, a list of objects: ``order``, ``kill_at`` (a step, or null) and
``most_bytes`` (of a file, or null). Prints a list: what came of each, or ``{"killed": STEP}``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import types
from pathlib import Path
from typing import Any

package = types.ModuleType("undercroft")
package.__path__ = [str(Path(__file__).parents[2] / "src" / "undercroft")]
sys.modules["undercroft"] = package
from undercroft.optimize.training.programs.trainer import answer  # noqa: E402


def tried(order: dict[str, Any], kill_at: int | None, most_bytes: int | None) -> dict[str, Any]:
    """Trains in a child; torch computes nothing in this process, so that a child finds it as it was loaded."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
        print(json.dumps(answer(order)), flush=True)
        os._exit(0)
    os.close(writing)
    said: dict[str, Any] = {}
    with os.fdopen(reading) as lines:
        for line in lines:
            said = json.loads(line)
            if kill_at is not None and said.get("event") == "trained" and said["step"] >= kill_at:
                os.kill(child, signal.SIGKILL)
                said = {"killed": said["step"]}
                break
    os.waitpid(child, 0)
    return said


def main() -> None:
    """All of them, one after the other."""
    print(json.dumps([tried(**trial) for trial in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
