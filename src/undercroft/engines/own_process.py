"""What every engine that is a process of ours shares: its folder, key and socket, its start, its end.

An engine's own module says which program is run with which words, and how it is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.processes import ProcessIdentity, identify
from undercroft.core.settings import EngineSettings
from undercroft.engines import failures, outputs, records, spawning, wire
from undercroft.engines.contract import EngineFigures, EngineMemory, EngineRecord, EngineSpec, Health
from undercroft.engines.figures import read_figures
from undercroft.engines.launcher import ENDING_FILE, LaunchOrder
from undercroft.engines.memory import used_memory
from undercroft.engines.sealing import namespaces

KEY_FILE = "key"
_ORDER_FILE, _SOCKET_FILE = "launch.json", "engine.sock"
_SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103
_POLL_SECONDS = 0.01
_ENDING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new engine is to listen.

    Args:
        host: Path of its Unix socket, or ``127.0.0.1``.
        port: Free port of the loopback; 0 with a socket.
        key_file: Holds the key that it asks for.
    """

    host: str
    port: int
    key_file: Path


class OwnProcess:
    """The part of `undercroft.engines.contract.Engine` that is the same for each of them.

    What is left to an engine: ``name``, ``start``, ``capabilities`` and ``warm_up``.

    Args:
        settings: Not used where an engine does not say so: what a replica needs is in its spec.
    """

    health_route = "/health"

    def __init__(self, settings: EngineSettings) -> None:
        del settings

    def look(self, record: EngineRecord, *, timeout_seconds: float) -> Health:
        """See the contract."""
        if not is_alive(record):
            return Health.DEAD
        try:
            answer = wire.request(wire.endpoint_of(record), "GET", self.health_route, timeout_seconds=timeout_seconds)
        except TimeoutError:
            return Health.SILENT
        except (OSError, http.client.HTTPException):
            return Health.LOADING if is_alive(record) else Health.DEAD
        return self.health(answer.status)

    def health(self, status: int) -> Health:
        """What an HTTP status of the health route means."""
        return Health.HEALTHY if status == 200 else Health.SILENT

    def figures(self, record: EngineRecord) -> EngineFigures | None:
        """See the contract."""
        return read_figures(record)

    def memory(self, record: EngineRecord) -> EngineMemory | None:
        """See the contract. Files that several of its processes map count once each."""
        process = record.process
        return used_memory(process) if process is not None else None

    def is_busy(self, record: EngineRecord) -> bool:
        """See the contract."""
        found = read_figures(record)
        return found is not None and bool(found.running or found.waiting)

    def failure(self, record: EngineRecord) -> str | None:
        """See the contract."""
        return failure(record)

    def stop(self, record: EngineRecord, *, grace_seconds: float) -> None:
        """See the contract."""
        stop(record, grace_seconds=grace_seconds)


def start(
    spec: EngineSpec, *, engine: str, order: Callable[[Place], LaunchOrder], upstream_model: str | None = None
) -> EngineRecord:
    """Begins a replica and returns at once; its record is already in its folder, which is made here.

    Args:
        spec: What is to run.
        engine: Name of the engine, for the record.
        order: What to start, once it is known where it is to listen.
        upstream_model: What requests have to call the model; None where the engine does not look.

    Raises:
        UnavailableError: The process cannot be started, or not sealed where that is required.
    """
    try:
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        spec.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        spec.run_dir.chmod(0o700)
        return _start_in(spec, engine, order, upstream_model)
    except OSError as error:
        records.remove(spec.run_dir)
        raise UnavailableError(
            "engine-not-started", f"replica {spec.replica_id} of {spec.name!r} was not started: {error}"
        ) from error
    except BaseException:
        records.remove(spec.run_dir)
        raise


def _start_in(
    spec: EngineSpec, engine: str, make_order: Callable[[Place], LaunchOrder], upstream_model: str | None
) -> EngineRecord:
    key_file = spec.run_dir / KEY_FILE
    write_atomically(key_file, secrets.token_urlsafe(32).encode())
    socket_path = spec.run_dir / _SOCKET_FILE
    refusal = socket_refusal(socket_path)
    place = Place(
        str(socket_path) if refusal is None else "127.0.0.1", 0 if refusal is None else _free_port(), key_file
    )
    order = make_order(place)
    write_atomically(spec.run_dir / _ORDER_FILE, order.to_json().encode())
    with spawning.launch(order) as launched:
        note = launched.seal_note
        record = EngineRecord(
            replica_id=spec.replica_id,
            engine=engine,
            deployment=spec.name,
            spec_digest=spec.digest,
            pid=launched.process.pid,
            process_started=launched.process.started,
            socket_path=str(socket_path) if refusal is None else None,
            base_url=None if refusal is None else f"http://127.0.0.1:{place.port}",
            key_file=str(key_file),
            is_sealed=namespaces.has_empty_network(launched.process.pid),
            seal_note=note if refusal is None else f"{note}, because {refusal}",
            started_at=to_iso(utc_now()),
            upstream_model=upstream_model,
            run_dir=str(spec.run_dir),
            log_path=str(spec.log_path),
        )
        records.write(record, spec.run_dir)
        launched.go()
    return record


def launch_order(
    spec: EngineSpec,
    place: Place,
    *,
    program: Path,
    arguments: list[str],
    environment: dict[str, str],
    files: list[Path],
    has_parts: bool = False,
) -> LaunchOrder:
    """What to start, for a program that writes into the replica's folder only.

    Args:
        program: What is run.
        arguments: Command line, the program first.
        environment: All that it gets.
        files: That it reads beside what the program itself needs.
        has_parts: It starts processes of its own.
    """
    return LaunchOrder(
        replica_id=spec.replica_id,
        arguments=arguments,
        environment=environment,
        run_dir=str(spec.run_dir),
        log_path=str(spec.log_path),
        readable=spawning.readable_paths(program, files),
        devices=spawning.devices(),
        memory_limit_bytes=spec.memory_limit_bytes,
        seal_required=spec.seal_required,
        needs_loopback=place.port != 0,
        has_parts=has_parts,
    )


def failure(record: EngineRecord) -> str | None:
    """Why an engine ended or will not start, in one sentence out of its log; None where the log does not say."""
    if record.run_dir is None or record.log_path is None:
        return None
    limit = _read_json(Path(record.run_dir, _ORDER_FILE)).get("memory_limit_bytes")
    ending = _ending(record, Path(record.run_dir, ENDING_FILE))
    # The warden keeps the last output; without it (it was killed, too) the log says what it can.
    output = ending.get("output") or outputs.output_of(Path(record.log_path), record.replica_id)
    return failures.explain(output, ending.get("status"), memory_limit_bytes=limit)


def stop(record: EngineRecord, *, grace_seconds: float) -> None:
    """Asks it to end, waits, kills, and leaves no process and no folder.

    Of several threads that stop one replica, each returns when it is gone.
    """
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


def is_alive(record: EngineRecord) -> bool:
    """Whether its process runs."""
    process = record.process
    return process is not None and process.is_alive()


def ask(
    record: EngineRecord, method: str, path: str, body: dict[str, Any] | None, *, timeout_seconds: float
) -> dict[str, Any]:
    """One request and its answer, a JSON object.

    Raises:
        UnavailableError: It did not answer, or with an error.
    """
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
    while not path.exists() and not is_alive(record) and path.parent.exists() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return _read_json(path)


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
