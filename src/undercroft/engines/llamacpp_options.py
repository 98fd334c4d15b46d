"""A replica's spec in llama.cpp's words: as fields for the wheel's server, as flags for a ``llama-server`` binary.

Pure; both say the same. What is not said is the engine's own default, but for what would surprise: no web page, no
cross-origin answers, no downloads, no cutting of the context, no second cache in memory beside the slots' own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.engines.contract import EngineSpec, Task
from undercroft.engines.generating import check_generating

# llama.cpp keeps a thread a connection. Streams hold one each, and a look at its health must still find one free.
_HTTP_THREADS_SPARE, _HTTP_THREADS_PER_SLOT = 8, 4

# Snapshots of a slot's state, for models that forget (sliding windows, recurrent ones); each is private memory.
_CONTEXT_CHECKPOINTS = 4

# A prompt to be embedded or ranked is computed in one piece, so the piece must hold the longest.
_GENERATE_PIECE_TOKENS, _GENERATE_BATCH_TOKENS = 512, 2048


def check(spec: EngineSpec) -> None:
    """Refuses what llama.cpp cannot do.

    Raises:
        InvalidError: No model, a task that it does not do, a context or a number of slots below 1, or a file that is
            not there.
    """
    model = check_generating(spec, engine="llama.cpp")
    for path in (model, *(adapter.path for adapter in spec.adapters)):
        if not path.is_file():
            raise InvalidError("no-model-file", f"deployment {spec.name!r} cannot start: {path} is not a file")


def batch_tokens(spec: EngineSpec) -> tuple[int, int]:
    """Tokens of a logical and of a physical batch."""
    if spec.task is Task.GENERATE:
        return _GENERATE_BATCH_TOKENS, _GENERATE_PIECE_TOKENS
    return spec.context_tokens, spec.context_tokens


def http_threads(spec: EngineSpec) -> int:
    """Threads that answer connections."""
    return _HTTP_THREADS_SPARE + _HTTP_THREADS_PER_SLOT * spec.slots


def wheel_fields(spec: EngineSpec, *, threads: int, host: str, port: int) -> dict[str, Any]:
    """Plain data for `undercroft.engines.llamacpp_server`: fields of ``xllamacpp.CommonParams``, and what nests."""
    batch, piece = batch_tokens(spec)
    fields: dict[str, Any] = {
        "hostnames": [host],
        "port": port,
        "n_ctx": spec.context_tokens * spec.slots,  # llama.cpp divides it among the slots
        "n_parallel": spec.slots,
        "n_batch": batch,
        "n_ubatch": piece,
        "n_gpu_layers": spec.gpu_layers,
        "n_threads_http": http_threads(spec),
        "n_ctx_checkpoints": _CONTEXT_CHECKPOINTS,
        "cache_ram_mib": 0,
        "cache_idle_slots": False,
        "kv_unified": False,
        "ctx_shift": False,
        "fit_params": False,
        "warmup": False,
        "use_jinja": True,
        "offline": True,
        "ui": False,
        "cors_origins": "",
        "cors_credentials": False,
        "endpoint_metrics": True,
        "endpoint_slots": True,
        "endpoint_props": False,
        "sse_ping_interval": -1,
        "lora_init_without_apply": True,
    }
    if spec.chat_template is not None:
        fields["chat_template"] = spec.chat_template
    if spec.task is not Task.GENERATE:
        fields["embedding"] = True
    return {
        "fields": fields,
        "model_path": str(spec.model_path),
        "alias": spec.answers_as,
        "threads": threads,
        "cache_type": spec.cache_type,
        "adapters": [str(adapter.path) for adapter in spec.adapters],
        "is_ranking": spec.task is Task.RERANK,
    }


def binary_arguments(
    spec: EngineSpec, *, binary: Path, threads: int, host: str, port: int, key_file: Path, template_file: Path | None
) -> list[str]:
    """The command line of a ``llama-server``."""
    batch, piece = batch_tokens(spec)
    words = [
        str(binary),
        "--model",
        str(spec.model_path),
        "--alias",
        spec.answers_as,
        "--host",
        host,
        "--port",
        str(port),
    ]
    words += ["--api-key-file", str(key_file), "--ctx-size", str(spec.context_tokens * spec.slots)]
    words += ["--parallel", str(spec.slots), "--batch-size", str(batch), "--ubatch-size", str(piece)]
    words += ["--threads", str(threads), "--threads-http", str(http_threads(spec))]
    words += ["--cache-type-k", spec.cache_type, "--cache-type-v", spec.cache_type]
    words += ["--cache-ram", "0", "--ctx-checkpoints", str(_CONTEXT_CHECKPOINTS), "--no-context-shift"]
    words += ["--no-kv-unified", "--no-warmup", "--no-webui", "--jinja", "--metrics", "--slots", "--offline"]
    if spec.gpu_layers >= 0:  # not said, the binary puts on the GPU what fits
        words += ["--n-gpu-layers", str(spec.gpu_layers)]
    if template_file is not None:
        words += ["--chat-template-file", str(template_file)]
    for adapter in spec.adapters:
        words += ["--lora", str(adapter.path)]
    if spec.adapters:
        words.append("--lora-init-without-apply")
    if spec.task is Task.EMBED:
        words.append("--embedding")
    elif spec.task is Task.RERANK:
        words.append("--reranking")
    return words
