"""llama.cpp's converter of PEFT's adapters.

Order on stdin, JSON: ``sources`` (folder of the converter), ``adapter`` and ``base`` (folders; of the base only what
describes it is read), ``target`` (file), ``type``. The last line on stdout is ``{}``; a failure is told on stderr.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any


def main() -> None:
    """Converts what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    sources: str = order["sources"]
    sys.path[:0] = [sources, f"{sources}/gguf-py"]
    arguments = ["--base", order["base"], "--outtype", order["type"], "--outfile", order["target"], order["adapter"]]
    sys.argv = ["convert_lora_to_gguf.py", *arguments]
    runpy.run_path(f"{sources}/convert_lora_to_gguf.py", run_name="__main__")
    print(json.dumps({}), flush=True)


if __name__ == "__main__":
    main()
