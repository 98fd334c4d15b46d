"""Where a replica of an encoder begins: ``PYTHON -P program.py RUN_DIR``, with the Python of ``onnxruntime``.

That environment has nothing of Undercroft's. Of ours only what stands here beside it is found, and nothing of the other
packages that the core is installed with.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

_ours = types.ModuleType("undercroft")
_ours.__path__ = [str(Path(__file__).resolve().parents[2])]
sys.modules.setdefault("undercroft", _ours)

from undercroft.engines.encoder.server import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
