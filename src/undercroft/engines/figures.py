"""An engine's own metrics in our words. What each engine calls a figure is a table; a new engine is a new line.

Source: ``vllm/v1/metrics/loggers.py`` (vLLM 0.32, read and seen), ``tools/server/server-task.cpp`` of llama.cpp (seen),
``docs/production_metrics`` of SGLang (read), ``tensorrt_llm/metrics/collector.py`` of TensorRT-LLM (read), Triton 2.51
(seen).
"""

from __future__ import annotations

import http.client
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from undercroft.engines import wire
from undercroft.engines.contract import EngineFigures, EngineRecord

_LOOK_SECONDS = 2.0

# Name of the metric → our figure. Names of several engines, since an external server may be any of them.
_NAMES: Mapping[str, str] = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "cache_ratio",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "answer_tokens",
    "vllm:prefix_cache_queries_total": "prefix_asked_tokens",
    "vllm:prefix_cache_hits_total": "prefix_found_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    "llamacpp:prompt_tokens_total": "prompt_tokens",
    "llamacpp:tokens_predicted_total": "answer_tokens",
    "encoder:requests": "running",
    "encoder:inputs_waiting": "waiting",
    "encoder:prompt_tokens_total": "prompt_tokens",
    "decoder:requests_running": "running",
    "decoder:requests_waiting": "waiting",
    "decoder:prompt_tokens_total": "prompt_tokens",
    "decoder:answer_tokens_total": "answer_tokens",
    "decoder:prefix_asked_tokens_total": "prefix_asked_tokens",
    "decoder:prefix_found_tokens_total": "prefix_found_tokens",
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "waiting",
    "sglang:token_usage": "cache_ratio",
    "sglang:prompt_tokens_total": "prompt_tokens",
    "sglang:generation_tokens_total": "answer_tokens",
    "trtllm_num_requests_running": "running",
    "trtllm_num_requests_waiting": "waiting",
    "trtllm_kv_cache_utilization": "cache_ratio",
    "trtllm_prompt_tokens_total": "prompt_tokens",
    "trtllm_generation_tokens_total": "answer_tokens",
    "nv_inference_pending_request_count": "waiting",
}
_OF_WHOLE = frozenset({"cache_ratio"})


def read_figures(
    record: EngineRecord, *, path: str = "/metrics", is_ours: Callable[[str], bool] = lambda sample: True
) -> EngineFigures | None:
    """Asks an engine for its metrics; None where it has none, or does not answer.

    Args:
        record: Of the replica.
        path: Where it tells them.
        is_ours: Whether a sample, as it stands in the text, is of this replica; a server may tell those of others, too.
    """
    endpoint = wire.endpoint_of(record)
    if record.metrics_port is not None:
        endpoint = at_port(endpoint, record.metrics_port)
    try:
        answer = wire.request(endpoint, "GET", path, timeout_seconds=_LOOK_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    return parse_figures(answer.body.decode("utf-8", "replace"), is_ours) if answer.status == 200 else None


def at_port(endpoint: wire.Endpoint, port: int) -> wire.Endpoint:
    """The same host at another port, without a path. Beside gRPC that is HTTP without TLS, which gets no key."""
    parts = urlsplit(endpoint.base_url or "")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if parts.scheme in ("grpc", "grpcs"):
        return wire.Endpoint(None, f"http://{host}:{port}", None)
    return replace(endpoint, base_url=f"{parts.scheme}://{host}:{port}")


def parse_figures(text: str, is_ours: Callable[[str], bool] = lambda sample: True) -> EngineFigures | None:
    """Our figures out of Prometheus' text format; None where there is none of them.

    Samples of several labels are added up, but for shares of a whole, of which the largest counts.

    Args:
        text: As ``/metrics`` gives it.
        is_ours: Whether a line counts.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = _NAMES.get(line.partition(" ")[0].partition("{")[0])
        value = _value(line) if name is not None and is_ours(line) else None
        if name is None or value is None:
            continue
        so_far = found.get(name, 0.0)
        found[name] = max(so_far, value) if name in _OF_WHOLE else so_far + value
    return EngineFigures(**found) if found else None


def _value(line: str) -> float | None:
    """The value of a sample, behind its labels, in which any text may stand; a time stamp may follow."""
    words = line[line.rfind("}") + 1 :].split() if "}" in line else line.split()[1:]
    try:
        value = float(words[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None
