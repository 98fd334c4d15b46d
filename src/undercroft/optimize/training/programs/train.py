"""Trains what stdin orders: `undercroft.optimize.training.orders.TrainingOrder` as JSON.

Each line on stdout is JSON: events (``begun``, ``trained``, ``evaluated``) and, as the last, what came of it under
``outcome``: ``done`` with the fields of ``Trained``, else ``os-error``, ``out-of-memory``, ``diverged``, ``refused``.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path


def main() -> None:
    """Finds the modules beside this one under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.training.programs.trainer import answer  # noqa: PLC0415  (found only now)

    print(json.dumps(answer(json.load(sys.stdin))), flush=True)


if __name__ == "__main__":
    main()
