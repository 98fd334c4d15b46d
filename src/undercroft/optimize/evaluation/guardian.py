"""Ends an engine whose evaluation was killed: ``python -m undercroft.optimize.evaluation.guardian FOLDER``.

An engine outlives whoever started it, which is right for serving and wrong here. This process waits until its standard
input ends, which the kernel sees to however the evaluation ends, then stops the engine of the folder and removes that.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from undercroft.core.settings import EngineSettings
from undercroft.engines import records
from undercroft.engines.llamacpp import LlamaCpp

_GRACE_SECONDS = 1.0
_ENDING_SECONDS = 30.0


def main() -> None:
    """Waits for the end of the input, then leaves nothing behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends an evaluation shall not end what cleans up behind it
    sys.stdin.buffer.read()
    clean_up(Path(sys.argv[1]))


def clean_up(folder: Path) -> None:
    """Stops every engine whose folder lies in this one, and removes it; does nothing where it is gone.

    Args:
        folder: Of one evaluation.
    """
    for record in records.list_all(folder):
        LlamaCpp(EngineSettings()).stop(record, grace_seconds=_GRACE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Has a folder watched while the block runs, and cleaned up at its end, whatever ends it.

    Args:
        folder: Of one evaluation; engines get folders of their own in it.
    """
    command = [sys.executable, "-P", "-m", "undercroft.optimize.evaluation.guardian", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            clean_up(folder)
            if process.stdin is not None:
                process.stdin.close()
            process.wait(_ENDING_SECONDS)


if __name__ == "__main__":
    main()
