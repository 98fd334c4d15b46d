"""llama.cpp: the server inside the ``xllamacpp`` wheel, or a ``llama-server`` binary that the administrator has."""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.core.settings import EngineSettings
from undercroft.engines import llamacpp_options, own_process, wire
from undercroft.engines.contract import (
    Capabilities,
    EngineRecord,
    EngineSpec,
    Health,
    Task,
    WarmUp,
)
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.launcher import LaunchOrder
from undercroft.engines.openmp import with_library
from undercroft.engines.own_process import OwnProcess, Place, ask, is_alive, launch_order
from undercroft.hardware.processors import compute_threads

_OPTIONS_FILE, _TEMPLATE_FILE = "llamacpp.json", "template.jinja"
_BUSY_LOOK_SECONDS = 2.0
_WARM_UP_TOKENS = 8
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class LlamaCpp(OwnProcess):
    """See `undercroft.engines.contract.Engine`. ``/slots`` is answered by the loop that computes, ``/health`` is not.

    Args:
        settings: ``llama_server`` says which program; the rest of a replica's settings is in its spec.
    """

    name = "llama.cpp"
    health_route = "/slots"

    def __init__(self, settings: EngineSettings) -> None:
        self._binary = settings.llama_server

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract. The folder is made here."""
        llamacpp_options.check(spec)
        if self._binary is not None and not os.access(self._binary, os.X_OK):
            raise InvalidError(
                "no-llama-server",
                f"engines.llama_server expected a program that can be run, got {self._binary}",
                hint="correct the path, or remove the setting to use the engine of the wheel",
            )
        return own_process.start(spec, engine=self.name, order=lambda place: self._order(spec, place))

    def health(self, status: int) -> Health:
        """It says 503 while its model is loading."""
        return Health.LOADING if status == 503 else super().health(status)

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract."""
        properties = ask(record, "GET", "/props", None, timeout_seconds=30.0)
        generation = properties.get("default_generation_settings") or {}
        template = properties.get("chat_template_caps") or {}
        return Capabilities(
            tasks=ROUTES[spec.task],
            has_tools=spec.task is Task.GENERATE and bool(template.get("supports_tools")),
            context_tokens=int(generation.get("n_ctx") or 0),
            slots=int(properties.get("total_slots") or spec.slots),
            adapters=tuple(adapter.name for adapter in spec.adapters),
            protocol="llama.cpp",
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract."""
        begun = time.monotonic()
        path, body = warm_up_request(spec)
        answer = ask(record, "POST", path, body, timeout_seconds=timeout_seconds)
        seconds = time.monotonic() - begun
        rate = (answer.get("timings") or {}).get("predicted_per_second") if spec.task is Task.GENERATE else None
        return WarmUp(seconds, float(rate) if rate else None)

    def is_busy(self, record: EngineRecord) -> bool:
        """See the contract."""
        try:
            answer = wire.request(wire.endpoint_of(record), "GET", "/slots", timeout_seconds=_BUSY_LOOK_SECONDS)
            return answer.status == 200 and any(slot.get("is_processing") for slot in answer.json())
        except TimeoutError:
            return is_alive(record)  # it computes, or it is stuck, which the stop that follows ends
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def _order(self, spec: EngineSpec, place: Place) -> LaunchOrder:
        threads = spec.threads or compute_threads()
        if self._binary is None:
            options = llamacpp_options.wheel_fields(spec, threads=threads, host=place.host, port=place.port)
            write_atomically(spec.run_dir / _OPTIONS_FILE, json.dumps(options).encode())
            program = Path(sys.executable)
            arguments = [sys.executable, "-P", "-m", "undercroft.engines.llamacpp_server", str(spec.run_dir)]
        else:
            program = self._binary.absolute()
            arguments = llamacpp_options.binary_arguments(
                spec,
                binary=program,
                threads=threads,
                host=place.host,
                port=place.port,
                key_file=place.key_file,
                template_file=_write_template(spec),
            )
        # What a program keeps for itself (compiled GPU kernels, say) lies in the one folder that it may write.
        own = {"HOME": str(spec.run_dir), "TMPDIR": str(spec.run_dir)}
        return launch_order(
            spec,
            place,
            program=program,
            arguments=arguments,
            environment={**with_library(clean_environment(), spec.run_dir), **own},
            files=[*model_files(spec.model_path), *(adapter.path for adapter in spec.adapters)],
        )


def model_files(path: Path | None) -> list[Path]:
    """The file, or all the pieces of a split model that lie beside its first."""
    if path is None:
        return []
    if not _SPLIT.search(path.name):
        return [path]
    stem = _SPLIT.sub("", path.name)
    return sorted(piece for piece in path.parent.iterdir() if _SPLIT.sub("", piece.name) == stem)


def warm_up_request(spec: EngineSpec) -> tuple[str, dict[str, Any]]:
    """Path and body of the first real request; with adapters loaded it names each, as every request must."""
    path, body = first_request(spec.task, spec.name, max_tokens=_WARM_UP_TOKENS)
    if spec.adapters:
        body["lora"] = [{"id": number, "scale": 0.0} for number in range(len(spec.adapters))]
    return path, body


def _write_template(spec: EngineSpec) -> Path | None:
    if spec.chat_template is None:
        return None
    path = spec.run_dir / _TEMPLATE_FILE
    write_atomically(path, spec.chat_template.encode())
    return path
