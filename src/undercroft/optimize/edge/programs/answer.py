"""What a model that was made for a device says, and how fast, by the very program that a device runs.

Order on stdin, JSON: ``folder`` (of the model), ``task`` (``embed`` or ``time``) and ``threads``; the last
line on stdout is JSON:

    embed  ``texts``: ``embedded``, a vector of each
    time   ``rounds``: the figures, see ``time_model`` in ``run_edge.py``
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any


def main() -> None:
    """Finds the module beside this one under its full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.edge.programs import run_edge  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    folder, threads = Path(order["folder"]), order["threads"]
    if order["task"] == "time":
        print(json.dumps(run_edge.time_model(folder, rounds=order["rounds"], threads=threads)), flush=True)
        return
    model = run_edge.open_model(folder, threads)
    assert isinstance(model, run_edge.EmbeddingModel)  # what generates is read by the program that made it
    print(json.dumps({"embedded": [model.embed(text) for text in order["texts"]]}), flush=True)


if __name__ == "__main__":
    main()
