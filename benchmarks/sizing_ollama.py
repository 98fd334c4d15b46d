"""The peer of ``benchmarks.sizing``: memory of a model as the estimator of the ``xllamacpp`` package says, in bytes.

python -m benchmarks.sizing_ollama FILE CONTEXT_TOKENS SLOTS CACHE_TYPE
"""

from __future__ import annotations

import sys

from xllamacpp.memory import estimate_gpu_layers

_LARGE_BYTES = 1024**4
_BATCH_TOKENS = 512


def main() -> None:
    """Prints the estimate for one card that is large enough for everything."""
    file, context_tokens, slots, cache_type = sys.argv[1:]
    card = {"name": "CUDA", "memory_free": _LARGE_BYTES, "memory_min": 0}
    tokens = int(context_tokens) * int(slots)
    print(int(estimate_gpu_layers([card], file, [], tokens, _BATCH_TOKENS, int(slots), cache_type).total_size))


if __name__ == "__main__":
    main()
