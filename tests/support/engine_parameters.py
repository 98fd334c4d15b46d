"""What llama.cpp's own object keeps of the options of a replica, printed as JSON: of standard input, with a key.

A process of its own, because the tests' process cannot import llama.cpp on every system.
"""

from __future__ import annotations

import json
import sys

from undercroft.engines.llamacpp_server import parameters


def main() -> None:
    """Reads options and prints what was kept."""
    options = json.load(sys.stdin)
    params = parameters(options, sys.argv[1])
    kept = {
        "fields": {name: getattr(params, name) for name in options["fields"]},
        "api_keys": list(params.api_keys),
        "model": params.model.path,
        "adapters": [[adapter.path, adapter.scale] for adapter in params.lora_adapters],
    }
    print(json.dumps(kept))


if __name__ == "__main__":
    main()
