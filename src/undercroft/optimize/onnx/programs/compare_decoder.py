"""Reads texts with a published model, in torch, and with what was made of it, in onnxruntime-genai, and goes on.

Order on stdin, JSON: ``result`` (folder), and what ``compare`` of ``conversion/programs/expecting.py`` takes. The last
line on stdout is JSON: what that returns.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai


class Genai:
    """What was made, in onnxruntime-genai.

    Args:
        folder: Of it.
    """

    def __init__(self, folder: str) -> None:
        self._model = onnxruntime_genai.Model(folder)
        self._generator: Any = None

    def begin(self, most_tokens: int) -> None:
        settings = onnxruntime_genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=most_tokens)
        self._generator = onnxruntime_genai.Generator(self._model, settings)

    def read(self, tokens: list[int]) -> Any:
        self._generator.append_tokens(np.array(tokens, np.int32))
        return self._generator.get_logits()[0, -1]


def main() -> None:
    """Finds the modules of ours under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.conversion.programs import expecting  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    onnxruntime_genai.disable_telemetry_events()
    print(json.dumps(expecting.compare(order, lambda: Genai(order["result"]))), flush=True)


if __name__ == "__main__":
    main()
