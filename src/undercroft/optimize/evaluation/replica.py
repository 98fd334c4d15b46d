"""A sealed engine for one evaluation: started, watched, stopped."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from undercroft.catalog.engines import EngineName
from undercroft.core.errors import UnavailableError
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.all import engines
from undercroft.engines.contract import Engine, EngineRecord, EngineSpec, Health, Task
from undercroft.optimize.evaluation.guardian import guarded
from undercroft.optimize.evaluation.records import Peak

NAME = "evaluated"
_LOOK_SECONDS = 0.05
_LOOK_TIMEOUT_SECONDS = 5.0
_MEMORY_SECONDS = 0.1
_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is run while it is evaluated; the same for a candidate and its parent.

    Args:
        context_tokens: Of one request, prompt and answer together.
        slots: Requests at the same time.
        threads: CPU threads; 0 means the physical cores there are.
        gpu_layers: Layers put on a GPU; -1 means all that fit, 0 none.
        answer_tokens: Longest answer where a task does not say.
        memory_limit_bytes: Most private memory of the engine; None is no limit.
        start_timeout_seconds: Longest time to load and warm up.
        request_timeout_seconds: Longest time of one request.
    """

    context_tokens: int
    slots: int = 4
    threads: int = 0
    gpu_layers: int = -1
    answer_tokens: int = 512
    memory_limit_bytes: int | None = None
    start_timeout_seconds: float = 600.0
    request_timeout_seconds: float = 600.0


class Replica:
    """An engine that answers.

    Args:
        endpoint: Where.
        load_seconds: From its start to its first answer.
        memory: What watches it.
    """

    def __init__(self, endpoint: wire.Endpoint, load_seconds: float, memory: MemoryWatch) -> None:
        self.endpoint = endpoint
        self.load_seconds = load_seconds
        self._memory = memory

    def peak(self) -> Peak | None:
        """The most memory so far; None where it could not be seen."""
        return self._memory.peak()


class MemoryWatch:
    """Looks at the memory of an engine ten times a second, in a thread of its own, until it is stopped."""

    def __init__(self, engine: Engine, record: EngineRecord) -> None:
        self._engine, self._record = engine, record
        self._private = self._file = self._samples = 0
        self._gpu: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of an evaluated model", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def peak(self) -> Peak | None:
        """The most of each kind so far, with one more look; None where nothing was seen."""
        self._look()
        return Peak(self._private, self._file, dict(self._gpu), self._samples) if self._samples else None

    def _watch(self) -> None:
        while not self._ended.wait(_MEMORY_SECONDS):
            self._look()

    def _look(self) -> None:
        seen = self._engine.memory(self._record)
        if seen is None:
            return
        self._samples += 1
        self._private = max(self._private, seen.private_bytes)
        self._file = max(self._file, seen.file_bytes)
        for index, used in seen.gpu_bytes.items():
            self._gpu[index] = max(self._gpu.get(index, 0), used)


@contextmanager
def running(
    model_path: Path,
    setup: Setup,
    settings: EngineSettings,
    *,
    task: Task = Task.GENERATE,
    engine: EngineName = "llama.cpp",
    environment: Path | None = None,
) -> Iterator[Replica]:
    """A replica of a model that answers inside the block; nothing of it is left afterwards, even after ``kill -9``.

    Args:
        model_path: GGUF file; for other engines the folder of the model.
        setup: How it is run.
        settings: Which program of llama.cpp, and whether it has to be sealed.
        task: What the model is for.
        engine: Which runs it.
        environment: Folder of the Python environment that the engine is installed in; None for one that is built in.

    Raises:
        InvalidError: The engine cannot do what the setup asks for.
        UnavailableError: It does not load, does not answer in time, or cannot be sealed where that is required.
    """
    runner = engines(settings)[engine]
    folder = Path(tempfile.gettempdir(), f"undercroft-evaluate-{secrets.token_hex(6)}")
    with guarded(folder):  # who cleans up is there before there is something to clean up
        folder.mkdir(mode=0o700)
        spec = replace(_spec(folder, model_path, setup, settings, task), environment=environment)
        begun = time.monotonic()
        record = runner.start(spec)
        try:
            with MemoryWatch(runner, record) as memory:
                _wait(runner, record, model_path, begun + setup.start_timeout_seconds)
                runner.warm_up(record, spec, timeout_seconds=setup.start_timeout_seconds)
                yield Replica(wire.endpoint_of(record), time.monotonic() - begun, memory)
        finally:
            runner.stop(record, grace_seconds=_GRACE_SECONDS)


def _spec(folder: Path, model_path: Path, setup: Setup, settings: EngineSettings, task: Task) -> EngineSpec:
    replica_id = new_id("rep")
    return EngineSpec(
        replica_id=replica_id,
        name=NAME,
        task=task,
        run_dir=folder / replica_id,
        log_path=folder / "engine.log",
        model_path=model_path.absolute(),
        context_tokens=setup.context_tokens,
        slots=setup.slots,
        threads=setup.threads or settings.threads,
        gpu_layers=setup.gpu_layers,
        memory_limit_bytes=setup.memory_limit_bytes,
        seal_required=settings.seal == "required",
    )


def _wait(engine: Engine, record: EngineRecord, model_path: Path, deadline: float) -> None:
    while True:
        health = engine.look(record, timeout_seconds=_LOOK_TIMEOUT_SECONDS)
        if health is Health.HEALTHY:
            return
        if health is Health.DEAD or time.monotonic() > deadline:
            why = engine.failure(record) or ("it ended" if health is Health.DEAD else "it did not answer in time")
            raise UnavailableError(
                "does-not-load",
                f"{model_path.name!r} does not load: {why}",
                hint=f"undercroft plan {model_path.name} says how much memory it needs",
            )
        time.sleep(_LOOK_SECONDS)
