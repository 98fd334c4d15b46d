"""A real llama.cpp server in a process of its own, on a Unix socket, without anything of ours around it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

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
        command = [
            sys.executable,
            "-m",
            "tests.support.real_engine_server",
            str(given.model),
            str(given.socket),
            given.name,
        ]
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
