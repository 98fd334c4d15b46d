"""One replica's life, in a thread of its own: start or adopt, wait, warm up, watch, stop.

The thread publishes what it sees as a `ReplicaView`; it decides nothing about other replicas.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from undercroft.core.errors import UnavailableError, UndercroftError
from undercroft.engines.contract import (
    Capabilities,
    Engine,
    EngineFigures,
    EngineMemory,
    EngineRecord,
    EngineSpec,
    Health,
    ReplicaState,
    WarmUp,
)

_log = structlog.get_logger("replica")

_LOADING_POLL_SECONDS = 0.02
_HEALTH_INTERVAL_SECONDS = 2.0
_LOOK_SECONDS = 2.0
_DRAIN_POLL_SECONDS = 0.1
_FIGURES_INTERVAL_SECONDS = 10.0
_ENDING_SECONDS = 5.0  # that an engine with several processes takes to end after it has told that one of them did


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a replica gets.

    Args:
        start: From its start until it is ready.
        silence: Without an answer to a health look, before it is killed.
        drain: For running requests, when it is stopped.
    """

    start: float
    silence: float
    drain: float


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What is known of a replica at one moment.

    Args:
        started: Monotonic seconds when its thread began.
        ready_since: Monotonic seconds; None before.
        load_seconds: Start until healthy; None where it was adopted or is not yet.
        figures: What its engine counted, as last asked; None where it counts nothing.
        peak: The most memory that it was seen with.
        note: Why it failed, or what it waits for, in plain words.
        was_adopted: It ran before this control process did.
    """

    spec: EngineSpec
    spec_digest: str
    state: ReplicaState
    started: float
    record: EngineRecord | None = None
    ready_since: float | None = None
    load_seconds: float | None = None
    warm_up: WarmUp | None = None
    capabilities: Capabilities | None = None
    memory: EngineMemory | None = None
    figures: EngineFigures | None = None
    peak: EngineMemory | None = None
    note: str = ""
    was_adopted: bool = False


class Replica:
    """Runs one replica until it is stopped or fails.

    Args:
        engine: What runs it.
        spec: What to run.
        spec_digest: Digest of the spec, for comparing with what is wanted.
        deadlines: See there.
        on_change: Called, from the thread, after every change of the view.
        record: An engine that runs already, to adopt; None starts one.
    """

    def __init__(
        self,
        engine: Engine,
        spec: EngineSpec,
        spec_digest: str,
        deadlines: Deadlines,
        on_change: Callable[[], None],
        record: EngineRecord | None = None,
    ) -> None:
        self._engine = engine
        self._deadlines = deadlines
        self._on_change = on_change
        self._stop_read, self._stop_write = os.pipe()
        self._is_stopping = threading.Event()
        self._may_end = threading.Event()
        self.view = ReplicaView(
            spec=spec,
            spec_digest=spec_digest,
            state=ReplicaState.STARTING,
            started=time.monotonic(),
            record=record,
            was_adopted=record is not None,
        )
        self._thread = threading.Thread(target=self._live, name=spec.replica_id, daemon=True)

    def begin(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Marks it stopping: the next snapshot does not name it. It drains and ends after `release`."""
        if self.view.state in {ReplicaState.STOPPED, ReplicaState.FAILED} or self._is_stopping.is_set():
            return
        self._is_stopping.set()
        self._show(state=ReplicaState.STOPPING)
        os.write(self._stop_write, b"x")

    def release(self) -> None:
        """No door sends it requests any more: it may end as soon as the running ones have."""
        self._may_end.set()

    def leave(self) -> None:
        """Ends the watching, not the engine: control is going away and a later one adopts it."""
        self._is_stopping.set()
        os.write(self._stop_write, b"l")

    def join(self, timeout_seconds: float) -> None:
        """Waits for the thread to end."""
        self._thread.join(timeout_seconds)

    # The rest runs in the thread.

    def _live(self) -> None:
        try:
            if self._come_up():
                self._watch()
        except UndercroftError as error:
            self._fail(error.message)
        except Exception as error:  # noqa: BLE001  (the boundary of a job: one replica must not end the others)
            _log.exception("replica thread ended", replica=self.view.spec.replica_id)
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            os.close(self._stop_read)

    def _come_up(self) -> bool:
        """True when it is ready; False when it was told to stop or left meanwhile."""
        record = self.view.record
        if record is None:
            record = self._engine.start(self.view.spec)
            self._show(record=record)
        if not self._wait_until_healthy(record):
            return False
        load_seconds = None if self.view.was_adopted else time.monotonic() - self.view.started
        capabilities = self._engine.capabilities(record, self.view.spec)
        self._show(state=ReplicaState.WARMING, load_seconds=load_seconds, capabilities=capabilities)
        if not self.view.was_adopted:
            self._show(warm_up=self._warmed_up(record))
        if self._is_stopping.is_set():
            return self._told()
        self._remember(self._engine.memory(record))
        self._show(state=ReplicaState.READY, ready_since=time.monotonic())
        return True

    def _warmed_up(self, record: EngineRecord) -> WarmUp:
        """Raises what ended the engine where the first request did, and not that it went unanswered."""
        left = self._deadlines.start - (time.monotonic() - self.view.started)
        try:
            return self._engine.warm_up(record, self.view.spec, timeout_seconds=max(left, 1.0))
        except UnavailableError as error:
            if record.pid is None:  # somebody else's: whether it ends is not known here
                raise
            self._pause(record, _ENDING_SECONDS)
            if self._engine.look(record, timeout_seconds=_LOOK_SECONDS) is not Health.DEAD:
                raise
            raise UnavailableError("engine-ended", self._engine.failure(record) or error.message) from error

    def _wait_until_healthy(self, record: EngineRecord) -> bool:
        while True:
            health = self._engine.look(record, timeout_seconds=_LOOK_SECONDS)
            if health is Health.HEALTHY:
                return True
            if health is Health.DEAD and record.pid is not None:
                self._fail(self._engine.failure(record) or "it ended while its model was loading")
                return False
            waited = time.monotonic() - self.view.started
            if waited > self._deadlines.start:
                self._kill(record)
                self._fail(f"it was not ready after {self._deadlines.start:.0f} s")
                return False
            pause = _LOADING_POLL_SECONDS if waited < 5 or record.pid is not None else 1.0
            if self._pause(record, pause):
                return self._told()

    def _watch(self) -> None:
        """Looks at it until it is told to stop, dies, or stays silent."""
        record = self.view.record
        assert record is not None
        answered = time.monotonic()
        counted = 0.0
        while True:
            if self._pause(record, _HEALTH_INTERVAL_SECONDS):
                self._told()
                return
            health = self._engine.look(record, timeout_seconds=_LOOK_SECONDS)
            now = time.monotonic()
            if health is Health.HEALTHY:
                answered = now
                self._remember(self._engine.memory(record))
                if now - counted >= _FIGURES_INTERVAL_SECONDS:
                    counted = now
                    self.view = replace(self.view, figures=self._engine.figures(record))
            elif health is Health.DEAD and (record.pid is not None or now - answered > self._deadlines.silence):
                self._fail(self._engine.failure(record) or "its process ended")
                return
            elif now - answered > self._deadlines.silence:
                self._kill(record)
                self._fail(f"it gave no sign of life for {self._deadlines.silence:.0f} s and was killed")
                return

    def _told(self) -> bool:
        """Carries out a stop or a leave. Always False."""
        record = self.view.record
        if os.read(self._stop_read, 1) == b"l" or record is None:
            return False
        until = time.monotonic() + self._deadlines.drain
        self._may_end.wait(self._deadlines.drain)
        while time.monotonic() < until and self._engine.is_busy(record):
            time.sleep(_DRAIN_POLL_SECONDS)
        self._engine.stop(record, grace_seconds=5.0)
        self._show(state=ReplicaState.STOPPED)
        return False

    def _pause(self, record: EngineRecord, seconds: float) -> bool:
        """Sleeps; wakes early when the process ends or when told to stop. True when told."""
        process = record.process
        with contextlib.ExitStack() as stack:
            poller = select.poll()
            poller.register(self._stop_read, select.POLLIN)
            if process is not None and process.is_alive():
                with contextlib.suppress(OSError):  # no pidfd on this system, or the process ended just now
                    descriptor = os.pidfd_open(process.pid)
                    stack.callback(os.close, descriptor)
                    poller.register(descriptor, select.POLLIN)
            return any(fd == self._stop_read for fd, _ in poller.poll(seconds * 1000))

    def _kill(self, record: EngineRecord) -> None:
        self._engine.stop(record, grace_seconds=0.0)

    def _fail(self, note: str) -> None:
        if self.view.record is not None:
            self._kill(self.view.record)
        state = ReplicaState.STOPPED if self._is_stopping.is_set() else ReplicaState.FAILED
        _log.warning("replica failed", replica=self.view.spec.replica_id, deployment=self.view.spec.name, note=note)
        self._show(state=state, note=note)

    def _remember(self, memory: EngineMemory | None) -> None:
        self.view = replace(self.view, memory=memory, peak=_larger(self.view.peak, memory))

    def _show(self, **changes: object) -> None:
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]
        self._on_change()


def _larger(peak: EngineMemory | None, memory: EngineMemory | None) -> EngineMemory | None:
    if peak is None or memory is None:
        return peak or memory
    gpus = {*peak.gpu_bytes, *memory.gpu_bytes}
    return EngineMemory(
        private_bytes=max(peak.private_bytes, memory.private_bytes),
        file_bytes=max(peak.file_bytes, memory.file_bytes),
        gpu_bytes={index: max(peak.gpu_bytes.get(index, 0), memory.gpu_bytes.get(index, 0)) for index in gpus},
    )
