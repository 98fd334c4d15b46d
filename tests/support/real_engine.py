"""A real llama.cpp server in a process of its own, on a Unix socket, without anything of ours around it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import xllamacpp

ENGINE_KEY = "engine-key"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What to serve.

    Args:
        model: GGUF file.
        socket: Unix socket to listen on.
        name: What it calls the model.
        task: ``generate``, ``embed`` or ``rerank``.
        slots: Requests at the same time.
        context_tokens: Of one request.
        adapters: LoRA files.
    """

    model: Path
    socket: Path
    name: str
    task: str = "generate"
    slots: int = 2
    context_tokens: int = 512
    adapters: tuple[Path, ...] = field(default=())


class RealEngine:
    """Use as a context manager; the socket answers inside."""

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RealEngine:
        given = self.request
        command = [sys.executable, "-m", "tests.support.real_engine", str(given.model), str(given.socket), given.name]
        command += [given.task, str(given.slots), str(given.context_tokens), *map(str, given.adapters)]
        log = given.socket.with_suffix(".log")
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not given.socket.exists():
            has_time = self._process.poll() is None and time.monotonic() < deadline
            assert has_time, log.read_text(errors="replace")[-2000:]
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends it without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


def serve(model: str, socket: str, name: str, task: str, slots: str, context_tokens: str, *adapters: str) -> None:
    """Runs the server until the process is ended."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.n_parallel = int(slots)
    params.n_ctx = int(context_tokens) * int(slots)
    params.cpuparams.n_threads = 1
    params.hostnames = [socket]
    params.api_keys = [ENGINE_KEY]
    params.warmup = False
    if task != "generate":
        params.embedding = True
        params.n_batch = params.n_ubatch = int(context_tokens)
    if task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    if adapters:
        params.lora_init_without_apply = True
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in adapters]
    server = xllamacpp.Server(params)
    while server.listening_address:
        time.sleep(3600)


if __name__ == "__main__":
    serve(*sys.argv[1:])
