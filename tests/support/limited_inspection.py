"""Inspects a file in a process that may not have much: ``python -m tests.support.limited_inspection FILE``."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.registry.inspection.repository import inspect_files

MEMORY_BYTES = 1024**3
CPU_SECONDS = 60


def main() -> None:
    """Limits itself, inspects, says what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        inspect_files({"m": Path(sys.argv[1])})
    except (InvalidError, RefusedError) as error:
        print(f"refused: {error.message}")
    else:
        print("accepted")


if __name__ == "__main__":
    main()
