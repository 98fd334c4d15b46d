"""vLLM: models as they are published (safetensors), in a Python environment of its own."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.engines import chat_stream, own_process, vllm_options, wire
from undercroft.engines.chat_templates import lays_out_chats
from undercroft.engines.contract import (
    Capabilities,
    EngineRecord,
    EngineSpec,
    Task,
    WarmUp,
)
from undercroft.engines.external import listed_context
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.launcher import LaunchOrder
from undercroft.engines.own_process import OwnProcess, Place, ask, launch_order
from undercroft.hardware.processors import compute_threads

_TEMPLATE_FILE = "template.jinja"
_WARM_UP_TOKENS = 8


class Vllm(OwnProcess):
    """See `undercroft.engines.contract.Engine`.

    ``/health`` is 503 once one of its processes has ended; the main one then ends, too.
    """

    name = "vllm"

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract."""
        vllm_options.check(spec)
        if spec.environment is None:
            raise InvalidError("no-environment", f"deployment {spec.name!r}: engine 'vllm' needs its environment")
        environment = spec.environment
        return own_process.start(
            spec,
            engine=self.name,
            order=lambda place: _order(spec, place, environment),
            upstream_model=spec.answers_as,
        )

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract. Tools need a parser for each family of models, which is not chosen here."""
        listed = ask(record, "GET", "/v1/models", None, timeout_seconds=30.0).get("data")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        own = next((entry for entry in entries if entry.get("id") == record.upstream_model), {})
        return Capabilities(
            tasks=ROUTES[spec.task] if _is_chat(spec) else ROUTES[spec.task] - {"chat"},
            has_tools=False,
            context_tokens=listed_context(own),
            slots=spec.slots,
            adapters=tuple(adapter.name for adapter in spec.adapters),
            protocol="openai",
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract. Text is streamed, since vLLM tells no speed: what follows the first token is timed.

        A model without a chat template goes on with a text: vLLM refuses conversations then.
        """
        begun = time.monotonic()
        path, body = first_request(spec.task, spec.answers_as, max_tokens=_WARM_UP_TOKENS)
        if spec.task is not Task.GENERATE:
            ask(record, "POST", path, body, timeout_seconds=timeout_seconds)
            return WarmUp(time.monotonic() - begun, None)
        if not _is_chat(spec):
            path, body = "/v1/completions", {"model": spec.answers_as, "prompt": "Hello", "max_tokens": _WARM_UP_TOKENS}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = _streamed(record, path, body, begun, timeout_seconds=timeout_seconds)
        return WarmUp(answer.total_seconds, answer.tokens_per_second)


def _is_chat(spec: EngineSpec) -> bool:
    return spec.chat_template is not None or spec.model_path is None or lays_out_chats(spec.model_path)


def _order(spec: EngineSpec, place: Place, environment: Path) -> LaunchOrder:
    template_file = None
    if spec.chat_template is not None:
        template_file = spec.run_dir / _TEMPLATE_FILE
        write_atomically(template_file, spec.chat_template.encode())
    python = environment / "bin" / "python"
    files = [environment, *([spec.model_path] if spec.model_path else []), *(one.path for one in spec.adapters)]
    key = place.key_file.read_text(encoding="ascii")
    threads = spec.threads or compute_threads()
    return launch_order(
        spec,
        place,
        program=python,
        arguments=vllm_options.arguments(
            spec, python=python, host=place.host, port=place.port, template_file=template_file
        ),
        environment=vllm_options.environment(spec, clean_environment(), key=key, threads=threads),
        files=files,
        has_parts=True,
    )


def _streamed(
    record: EngineRecord, path: str, body: dict[str, object], begun: float, *, timeout_seconds: float
) -> chat_stream.Answer:
    who = f"replica {record.replica_id} of {record.deployment!r}"
    endpoint = wire.endpoint_of(record)
    try:
        with wire.streamed(endpoint, "POST", path, body, timeout_seconds=timeout_seconds) as response:
            if response.status == 200:
                return chat_stream.read_chat_stream(response, begun)
            said = response.read(wire.ANSWER_LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError("engine-silent", f"{who} did not answer {path}: {error}") from error
    except chat_stream.StreamRefusedError as error:
        raise UnavailableError("engine-error", f"{who} failed in its answer to {path}: {error}"[:400]) from error
    raise UnavailableError("engine-error", f"{who} expected status 200 for {path}, got {response.status}: {said[:240]}")
