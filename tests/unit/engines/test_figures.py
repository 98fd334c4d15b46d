"""An engine's metrics in our words."""

from __future__ import annotations

from undercroft.engines.contract import EngineFigures
from undercroft.engines.figures import parse_figures

_VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="bot"} 2.0
vllm:num_requests_waiting{engine="0",model_name="bot"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="bot",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="bot"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="bot"} 0.5
vllm:prefix_cache_queries_total{engine="0",model_name="bot"} 24.0
vllm:prefix_cache_queries_created{engine="0",model_name="bot"} 1.79534011516791e+09
vllm:prefix_cache_hits_total{engine="0",model_name="bot"} 16.0
vllm:num_preemptions_total{engine="0",model_name="bot"} 0.0
vllm:prompt_tokens_total{engine="0",model_name="bot"} 24.0
vllm:prompt_tokens_total{engine="1",model_name="bot"} 6.0
vllm:generation_tokens_total{engine="0",model_name="a} 99 {b"} 19.0
"""


def test_vllm() -> None:
    """Counters of several engines add up, of shares the largest counts, and labels may hold anything."""
    assert parse_figures(_VLLM) == EngineFigures(
        running=2,
        waiting=1,
        cache_ratio=0.5,
        prompt_tokens=30,
        answer_tokens=19,
        prefix_asked_tokens=24,
        prefix_found_tokens=16,
        preemptions=0,
    )


def test_llamacpp_without_labels() -> None:
    """llama.cpp's metrics have no labels; what it does not count stays unknown."""
    found = parse_figures("llamacpp:prompt_tokens_total 12\nllamacpp:requests_processing 1 1795340115\n")
    assert found == EngineFigures(running=1, prompt_tokens=12)


def test_nothing_of_ours() -> None:
    """Metrics of something else, no numbers, and no text at all are no figures."""
    for text in ("", "process_cpu_seconds_total 3\n", "vllm:num_requests_running\n", "vllm:num_requests_running NaN\n"):
        assert parse_figures(text) is None
