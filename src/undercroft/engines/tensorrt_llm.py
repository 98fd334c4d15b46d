"""TensorRT-LLM: a running ``trtllm-serve``, attached by its URL. It speaks OpenAI's protocol; its health is its own.

Source: the documentation of ``trtllm-serve`` and ``tensorrt_llm/metrics/collector.py`` (read, not run).
"""

from __future__ import annotations

from undercroft.core.errors import InvalidError
from undercroft.engines.contract import EngineRecord, EngineSpec, Task
from undercroft.engines.external import External


class TensorRtLlm(External):
    """See `undercroft.engines.contract.Engine`.

    ``/health`` is 503 once its executor has ended. Its ``/metrics`` is a list of iterations in JSON; Prometheus' text
    is told at another path, where ``return_perf_metrics`` is on.
    """

    name = "tensorrt-llm"
    health_path = "/health"
    metrics_path = "/prometheus/metrics"

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract."""
        if spec.task not in (Task.GENERATE, Task.EMBED):
            raise InvalidError(
                "wrong-task",
                f"deployment {spec.name!r}: engine 'tensorrt-llm' runs models that generate or embed, not one to "
                f"{spec.task}",
                hint="serve it from Triton: undercroft optimize convert MODEL --to triton",
            )
        return super().start(spec)
