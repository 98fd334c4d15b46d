"""An engine's own metrics in our words. What each engine calls a figure is a table; a new engine is a new line.

Source: ``vllm/v1/metrics/loggers.py`` (vLLM 0.32, read and seen), ``tools/server/server-task.cpp`` of llama.cpp (seen),
``docs/production_metrics`` of SGLang (read).
"""

from __future__ import annotations

import http.client
import math
from collections.abc import Mapping

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
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "waiting",
    "sglang:token_usage": "cache_ratio",
    "decoder:requests_running": "running",
    "decoder:requests_waiting": "waiting",
    "decoder:prompt_tokens_total": "prompt_tokens",
    "decoder:answer_tokens_total": "answer_tokens",
    "decoder:prefix_asked_tokens_total": "prefix_asked_tokens",
    "decoder:prefix_found_tokens_total": "prefix_found_tokens",
    "sglang:prompt_tokens_total": "prompt_tokens",
    "sglang:generation_tokens_total": "answer_tokens",
}
_OF_WHOLE = frozenset({"cache_ratio"})


def read_figures(record: EngineRecord) -> EngineFigures | None:
    """Asks an engine for its metrics; None where it has none, or does not answer."""
    try:
        answer = wire.request(wire.endpoint_of(record), "GET", "/metrics", timeout_seconds=_LOOK_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    return parse_figures(answer.body.decode("utf-8", "replace")) if answer.status == 200 else None


def parse_figures(text: str) -> EngineFigures | None:
    """Our figures out of Prometheus' text format; None where there is none of them.

    Samples of several labels are added up, but for shares of a whole, of which the largest counts.

    Args:
        text: As ``/metrics`` gives it.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = _NAMES.get(line.partition(" ")[0].partition("{")[0])
        value = _value(line) if name is not None else None
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
