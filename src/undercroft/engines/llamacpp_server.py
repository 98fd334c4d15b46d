"""The program of a llama.cpp replica that uses the wheel: ``python -m undercroft.engines.llamacpp_server RUN_DIR``.

It runs sealed, as the launcher's last step. Nothing else imports xllamacpp.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import xllamacpp

OPTIONS_FILE = "llamacpp.json"
KEY_FILE = "key"

_CACHE_TYPES = {
    "f16": xllamacpp.ggml_type.GGML_TYPE_F16,
    "q8_0": xllamacpp.ggml_type.GGML_TYPE_Q8_0,
    "q4_0": xllamacpp.ggml_type.GGML_TYPE_Q4_0,
}


def parameters(options: dict[str, Any], key: str) -> xllamacpp.CommonParams:
    """What `undercroft.engines.llamacpp_options.wheel_fields` wrote, as llama.cpp's own object."""
    params = xllamacpp.CommonParams()
    for name, value in options["fields"].items():
        setattr(params, name, value)
    params.model.path = options["model_path"]
    params.model_alias = {options["alias"]}
    params.api_keys = [key]
    params.cpuparams.n_threads = options["threads"]
    params.cpuparams_batch.n_threads = options["threads"]
    params.cache_type_k = params.cache_type_v = _CACHE_TYPES[options["cache_type"]]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in options["adapters"]]
    if options["is_ranking"]:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return params


def main() -> int:
    """Serves until it is told to end; ends by itself where the model cannot be loaded."""
    run_dir = Path(sys.argv[1])
    options = json.loads((run_dir / OPTIONS_FILE).read_bytes())
    try:
        server = xllamacpp.Server(parameters(options, (run_dir / KEY_FILE).read_text(encoding="utf-8").strip()))
    except RuntimeError as error:
        print(f"undercroft: llama.cpp did not start: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"undercroft: llama.cpp listens on {server.listening_address}", file=sys.stderr, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
