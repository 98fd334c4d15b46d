"""Log-probabilities of sequences, from torch: what llama.cpp is held against.

Order on stdin, JSON: ``model`` (folder), ``adapter`` (folder of PEFT's, or null), ``sequences`` (file), ``threads``.
The line on stdout is JSON: ``log_probabilities``, of each sequence those of its judged tokens; nats.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path


def main() -> None:
    """See `train.main`."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.training.programs.networks import score  # noqa: PLC0415  (found only now)

    print(json.dumps({"log_probabilities": score(json.load(sys.stdin))}), flush=True)


if __name__ == "__main__":
    main()
