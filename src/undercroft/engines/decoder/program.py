"""Where a replica that generates begins: ``PYTHON -P program.py RUN_DIR [compute]``, the Python of ``onnxruntime``.

That environment has nothing of Undercroft's. Of ours only what stands here beside it is found, and nothing of the other
packages that the core is installed with. With ``compute`` it is the process that computes, started by the one that
answers: the library holds Python's lock while it computes, and whoever asks for health has to be answered meanwhile.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

_ours = types.ModuleType("undercroft")
_ours.__path__ = [str(Path(__file__).resolve().parents[2])]
sys.modules.setdefault("undercroft", _ours)

if __name__ == "__main__":
    if sys.argv[2:] == ["compute"]:
        from undercroft.engines.decoder.computing import main
    else:
        from undercroft.engines.decoder.server import main
    sys.exit(main(Path(sys.argv[1])))
