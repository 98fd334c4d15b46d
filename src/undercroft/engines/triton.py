"""Triton: a running server, attached by its URL. Encoders are asked in KServe's protocol, text in OpenAI's.

KServe's goes over HTTP, or over gRPC where the URL begins with ``grpc``; what is true of a replica is the same.

Source: ``docs/protocol`` of Triton (read); what version 2.51 answered (seen), but for its OpenAI frontend (read).
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.engines import wire
from undercroft.engines.contract import Capabilities, EngineFigures, EngineRecord, EngineSpec, Task, WarmUp
from undercroft.engines.external import GRPC_SCHEMES, External, ask_server
from undercroft.engines.figures import read_figures
from undercroft.engines.first_request import ROUTES
from undercroft.engines.grpc import asking
from undercroft.engines.grpc.messages import READY
from undercroft.engines.kserve import infer_body, path_of, read_answer, read_model

_METRICS_PORT = 8002
_MODEL_LABEL = re.compile(r'[{,]model="((?:[^"\\]|\\.)*)"')


class Triton(External):
    """See `undercroft.engines.contract.Engine`.

    An ensemble is ready when its parts are. Whether other models of the server are is not looked at: one that is broken
    there takes nothing away here.
    """

    name = "triton"
    health_path = "/health/ready"

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract."""
        if spec.task is Task.GENERATE and is_grpc(spec.url):
            raise InvalidError(
                "wrong-task",
                f"deployment {spec.name!r}: a model that generates is asked through Triton's OpenAI frontend, "
                "which has no gRPC",
                hint="give its http:// URL, or say what the encoder is for: --task embed, rerank or classify",
            )
        return super().start(spec)

    def _described(self, record: EngineRecord, spec: EngineSpec) -> EngineRecord:
        if spec.task is Task.GENERATE:
            return record if spec.metrics_port == 0 else replace(record, metrics_port=spec.metrics_port)
        return replace(record, interface="kserve", metrics_port=spec.metrics_port or _METRICS_PORT)

    def _look(self, record: EngineRecord, *, timeout_seconds: float) -> wire.Answer:
        if is_grpc(record.base_url):
            return asking.look(record, _model(record), timeout_seconds=timeout_seconds)
        return super()._look(record, timeout_seconds=timeout_seconds)

    def _health_path(self, record: EngineRecord) -> str:
        if is_grpc(record.base_url):
            return f", {READY} of model {_model(record)!r}:"
        return path_of(_model(record), "ready") if record.interface == "kserve" else self.health_path

    def _is_loading(self, record: EngineRecord, status: int) -> bool:
        """What is not loaded is 400, and so is what nobody knows: it may come."""
        return status in (400, 404) or status >= 500 if record.interface == "kserve" else status >= 500

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract."""
        if record.interface == "openai":
            return super().capabilities(record, spec)
        found = replace(read_model(_settings(record), _model(record), spec.task), is_grpc=is_grpc(record.base_url))
        return Capabilities(
            tasks=ROUTES[spec.task],
            has_tools=False,
            context_tokens=found.most_tokens,
            slots=spec.slots,
            protocol="openai",
            kserve=found,
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract."""
        if record.interface == "openai":
            return super().warm_up(record, spec, timeout_seconds=timeout_seconds)
        found = self.capabilities(record, spec).kserve
        assert found is not None  # it speaks KServe's protocol
        begun = time.monotonic()
        body = infer_body(found, [["Hello"] for _ in found.texts])
        if found.is_grpc:
            answer = asking.infer(record, found.name, body, timeout_seconds=timeout_seconds)
        else:
            answer = ask_server(record, "POST", path_of(found.name, "infer"), body, timeout_seconds=timeout_seconds)
        try:
            read_answer(found, answer, 1)
        except ValueError as error:
            raise UnavailableError(
                "external-error", f"{record.deployment!r}: {record.base_url} answered with something else: {error}"
            ) from error
        return WarmUp(time.monotonic() - begun, None)

    def figures(self, record: EngineRecord) -> EngineFigures | None:
        """See the contract. Requests that wait in a part of an ensemble wait for the ensemble."""
        if record.interface == "openai":
            return super().figures(record)
        model = _model(record)
        return read_figures(record, is_ours=lambda sample: _is_of(sample, model))


def is_grpc(url: str | None) -> bool:
    """Whether a server is asked over gRPC."""
    return (url or "").partition(":")[0] in GRPC_SCHEMES


def _settings(record: EngineRecord) -> dict[str, Any]:
    if is_grpc(record.base_url):
        return asking.settings_of(record, _model(record), timeout_seconds=30.0)
    return ask_server(record, "GET", path_of(_model(record), "config"), None, timeout_seconds=30.0)


def _is_of(sample: str, model: str) -> bool:
    """Whether a sample is of a model, or of a part that is called after it, as ours are."""
    found = _MODEL_LABEL.search(sample)
    return found is not None and (found[1] == model or found[1].startswith(f"{model}_"))


def _model(record: EngineRecord) -> str:
    return record.upstream_model or record.deployment
