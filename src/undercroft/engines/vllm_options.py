"""A replica's spec in vLLM's words: flags and environment. Pure, but for the rank that an adapter's own file says.

What is not said is vLLM's own default, but for what would surprise: nothing is reported or fetched, no request is
logged, prompts that begin alike are computed once, and the seed is always the same.

Source: ``vllm/engine/arg_utils.py``, ``vllm/envs.py``, 0.32. A vLLM on a processor was run with each flag but
``--tensor-parallel-size`` above 1, ``--gpu-memory-utilization`` and the 8-bit cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.engines.contract import Adapter, EngineSpec, Task
from undercroft.engines.generating import check_generating

MODULE = "vllm.entrypoints.openai.api_server"
_SEED = 0
# Adapters of one request each are computed together; more of them cost memory for each.
_ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_CONFIG, _ADAPTER_CONFIG = "config.json", "adapter_config.json"


def check(spec: EngineSpec) -> None:
    """Refuses what vLLM cannot do.

    Raises:
        InvalidError: No folder with a model, a context or slots below 1, a cache that vLLM does not keep, or
            an adapter that is no PEFT folder.
    """
    model = check_generating(spec, engine="vllm")
    if not (model / _CONFIG).is_file():
        raise InvalidError(
            "no-config",
            f"deployment {spec.name!r} cannot start: vLLM expects a folder with {_CONFIG}, got {model}",
            hint="pull the whole model, as its folder is published",
        )
    if spec.cache_type == "q4_0" or (spec.cache_type == "q8_0" and not spec.gpus):
        can = "f16 or, on GPUs, q8_0" if spec.cache_type == "q4_0" else "f16 on processors"
        raise InvalidError(
            "bad-engine-settings",
            f"deployment {spec.name!r}: vLLM keeps keys and values as {can}, got {spec.cache_type}",
            hint="--cache-type f16",
        )
    for adapter in spec.adapters:
        adapter_rank(adapter, deployment=spec.name)


def adapter_rank(adapter: Adapter, *, deployment: str) -> int:
    """Rank of a LoRA as PEFT keeps it; the largest where they differ by layer.

    Raises:
        InvalidError: It is no such folder, or its rank is above what vLLM takes.
    """
    try:
        config = json.loads((adapter.path / _ADAPTER_CONFIG).read_bytes())
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        rank = None
    if not isinstance(rank, int) or not 1 <= rank <= _ADAPTER_RANKS[-1]:
        raise InvalidError(
            "bad-adapter",
            f"deployment {deployment!r}: vLLM expects adapter {adapter.name!r} as a folder of PEFT's with a rank of "
            f"1 to {_ADAPTER_RANKS[-1]} in its {_ADAPTER_CONFIG}, got {adapter.path}",
            hint="a GGUF adapter is for engine llama.cpp",
        )
    return rank


def arguments(spec: EngineSpec, *, python: Path, host: str, port: int, template_file: Path | None) -> list[str]:
    """The command line.

    Args:
        spec: What to serve.
        python: Of the environment that vLLM is installed in.
        host: Path of a Unix socket, or an address.
        port: Of the address; 0 with a socket.
        template_file: Chat template in place of the model's own.
    """
    words = [str(python), "-P", "-m", MODULE, "--model", str(spec.model_path), "--served-model-name", spec.answers_as]
    words += ["--uds", host] if port == 0 else ["--host", host, "--port", str(port)]
    words += ["--max-model-len", str(spec.context_tokens), "--max-num-seqs", str(spec.slots), "--dtype", spec.dtype]
    words += ["--seed", str(_SEED), "--disable-uvicorn-access-log"]
    if spec.task is Task.GENERATE:
        words.append("--enable-prefix-caching")
    else:
        words += ["--runner", "pooling"]
    if spec.gpus:
        words += ["--tensor-parallel-size", str(spec.gpus)]
        words += [] if spec.gpu_memory_ratio is None else ["--gpu-memory-utilization", f"{spec.gpu_memory_ratio:.3f}"]
    else:
        words.append("--enforce-eager")  # compiling for a processor needs a C++ compiler on this machine
    if spec.cache_bytes is not None:
        words += ["--kv-cache-memory-bytes", str(spec.cache_bytes)]
    if spec.cache_type == "q8_0":
        words += ["--kv-cache-dtype", "fp8"]
    if template_file is not None:
        words += ["--chat-template", str(template_file)]
    return words + _adapter_words(spec)


def adapter_room(spec: EngineSpec) -> tuple[int, int]:
    """LoRAs that are computed in one step, and the rank that there is room for in each; both 0 where there are none.

    Raises:
        InvalidError: As `adapter_rank`.
    """
    if not spec.adapters:
        return 0, 0
    largest = max(adapter_rank(adapter, deployment=spec.name) for adapter in spec.adapters)
    rank = next(known for known in _ADAPTER_RANKS if known >= largest)
    if not spec.gpus:
        # On processors a request for the base gets the last slot's adapter when one for an adapter is computed beside
        # (index -1, ``vllm/lora/ops/torch_ops``, 0.32): with one slot more than adapters, the last one stays all zeros.
        return len(spec.adapters) + 1, rank
    return min(len(spec.adapters), spec.slots), rank


def _adapter_words(spec: EngineSpec) -> list[str]:
    if not spec.adapters:
        return []
    slots, rank = adapter_room(spec)
    words = ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank)]
    # Without this, those that no request is computed with are read from the disk again, each time.
    words += ["--max-cpu-loras", str(max(slots, len(spec.adapters)))]
    return [*words, "--lora-modules", *(f"{adapter.name}={adapter.path}" for adapter in spec.adapters)]


def environment(spec: EngineSpec, clean: Mapping[str, str], *, key: str, threads: int) -> dict[str, str]:
    """What the process gets.

    Args:
        spec: What to serve.
        clean: What every engine gets.
        key: That it asks for; in no list of processes, as a flag would be.
        threads: That it computes with on processors.
    """
    folder = str(spec.run_dir)
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    # Its processes find each other on its own loopback; asking for the machine's address would ask its network.
    inner = {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    # Libraries of its own keep what they compile in the one folder that it may write; some want a user's name.
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR"), folder)
    plain = {"USER": "undercroft", "LOGNAME": "undercroft", "VLLM_LOGGING_COLOR": "0", "NO_COLOR": "1"}
    computing = {} if spec.gpus else {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {**clean, **quiet, **offline, **inner, **places, **plain, **computing, "VLLM_API_KEY": key}
