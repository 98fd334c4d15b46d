"""Engines under test: each implementation of the contract with what it needs, as real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.support import fake_llama_server, fake_vllm
from tests.support.ggufs import write_chat_model
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.all import engines
from undercroft.engines.contract import Engine, EngineRecord, EngineSpec, Health, Task

KINDS = ("wheel", "binary", "vllm", "external")
_ENGINES = {"wheel": "llama.cpp", "binary": "llama.cpp", "vllm": "vllm", "external": "external"}


@dataclass
class Bench:
    """One implementation, ready to be started.

    Args:
        kind: One of `KINDS`.
        settings: What the engine was made with.
        engine: The implementation.
        spec: What to start; its folder does not exist yet.
        server: For ``external``, the process behind its URL.
    """

    kind: str
    settings: EngineSettings
    engine: Engine
    spec: EngineSpec
    server: subprocess.Popen[bytes] | None = None

    def fresh_engine(self) -> Engine:
        """Another object of the same engine, as a later control process has."""
        return engines(self.settings)[self.engine.name]

    def pid(self, record: EngineRecord) -> int:
        """The process that answers."""
        if record.pid is not None:
            return record.pid
        assert self.server is not None
        return self.server.pid

    def with_spec(self, **changes: object) -> EngineSpec:
        """The spec with other settings."""
        return replace(self.spec, **changes)  # type: ignore[arg-type]


@contextmanager
def bench(kind: str, folder: Path) -> Iterator[Bench]:
    """Makes one implementation; whatever it started is gone afterwards. ``folder`` has a short path, for sockets."""
    model = write_chat_model(folder / "model.gguf")
    replica_id = new_id("rep")
    settings = EngineSettings()
    spec = EngineSpec(
        replica_id=replica_id,
        name="bot",
        task=Task.GENERATE,
        run_dir=folder / "engines" / replica_id,
        log_path=folder / "engine-bot.log",
        model_path=model,
        context_tokens=256,
        slots=2,
        threads=1,
        memory_limit_bytes=2 * 1024**3,
        digest="digest-of-the-spec",
    )
    server: subprocess.Popen[bytes] | None = None
    if kind == "binary":
        settings = EngineSettings(llama_server=fake_llama_server.install(folder / "bin"))
    if kind == "external":
        server, url, key_file = serve_external(folder, model)
        spec = replace(spec, model_path=None, url=url, key_file=key_file, upstream_model="upstream")
    if kind == "vllm":
        published = folder / "published"
        published.mkdir()
        (published / "config.json").write_text("{}", encoding="utf-8")
        (published / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
        spec = replace(spec, model_path=published, environment=fake_vllm.install(folder / "vllm"))
    engine = engines(settings)[_ENGINES[kind]]
    try:
        yield Bench(kind, settings, engine, spec, server)
    finally:
        if server is not None:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()
        for process in replica_processes(spec.run_dir):
            process.kill()


def serve_external(folder: Path, model: Path) -> tuple[subprocess.Popen[bytes], str, Path]:
    """Starts the fake on a free port, as a server that somebody else runs; its process, URL and key file."""
    key_file = folder / "external.key"
    key_file.write_text("a key of another server\n", encoding="utf-8")
    port = free_port()
    program = fake_llama_server.install(folder / "external")
    arguments = [str(program), "--model", str(model), "--alias", "upstream", "--host", "127.0.0.1"]
    arguments += ["--port", str(port), "--api-key-file", str(key_file), "--ctx-size", "512", "--parallel", "2"]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: can_connect(port), what="the external server listens")
    return server, f"http://127.0.0.1:{port}", key_file


def replica_processes(run_dir: Path) -> list[psutil.Process]:
    """Every process that has the replica's folder in its command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        is_running = process.info["status"] != psutil.STATUS_ZOMBIE
        if is_running and any(str(run_dir) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def healthy(bench_: Bench, record: EngineRecord) -> None:
    """Waits until a replica is healthy; fails with its reason where it ends before."""

    def is_healthy() -> bool:
        health = bench_.engine.look(record, timeout_seconds=5)
        assert health is not Health.DEAD, bench_.engine.failure(record)
        return health is Health.HEALTHY

    wait_until(is_healthy, what="the engine is healthy")


def chat(record: EngineRecord, text: str, *, timeout_seconds: float = 30, key: str | None = "right") -> wire.Answer:
    """One chat request, straight to the replica."""
    endpoint = wire.endpoint_of(record)
    if key != "right":
        endpoint = replace(endpoint, key=key)
    message = {"role": "user", "content": text}
    body = {"model": record.upstream_model or "bot", "messages": [message], "max_tokens": 4}
    return wire.request(endpoint, "POST", "/v1/chat/completions", body, timeout_seconds=timeout_seconds)


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """Polls until ``condition`` holds.

    Raises:
        TimeoutError: It does not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as trying:
        trying.bind(("127.0.0.1", 0))
        return int(trying.getsockname()[1])


def can_connect(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


def is_root() -> bool:
    """Whether the tests run as root."""
    return os.geteuid() == 0 and sys.platform == "linux"
