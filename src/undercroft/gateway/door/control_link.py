"""The door's end of the link to control: snapshots come in, events go out, JSON lines over a Unix socket.

Serving never waits for it. While control is away events are kept, oldest usage dropped first, and counted.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import structlog

from undercroft.serving.snapshot import Snapshot

_LINE_LIMIT_BYTES = 64 * 1024 * 1024
_USAGE_LIMIT_ROWS = 50_000
_USAGE_BATCH_ROWS = 1_000
_EVENTS_LIMIT = 10_000
_FLUSH_SECONDS = 0.25
_BACKOFF_FIRST_SECONDS = 0.05
_BACKOFF_LIMIT_SECONDS = 1.0

_log = structlog.get_logger("door")


class ControlLink:
    """Keeps the link up.

    Args:
        socket_path: Control's socket for doors.
        door_id: How this door calls itself.
        apply: Puts a snapshot in force.
        gather: Events that are made when they are sent: activity and metrics.
    """

    def __init__(
        self,
        socket_path: Path,
        door_id: str,
        apply: Callable[[Snapshot], None],
        gather: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self.dropped = 0
        self._socket_path = socket_path
        self._door_id = door_id
        self._apply = apply
        self._gather = gather
        self._events: deque[dict[str, Any]] = deque()
        self._usage: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()

    def emit(self, event: dict[str, Any]) -> None:
        """Queues an event and sends it soon; never blocks."""
        if len(self._events) >= _EVENTS_LIMIT:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._wake.set()

    def add_usage(self, row: dict[str, Any]) -> None:
        """Queues a usage row, which goes out with the next batch."""
        if len(self._usage) >= _USAGE_LIMIT_ROWS:
            self._usage.popleft()
            self.dropped += 1
        self._usage.append(row)

    async def run(self) -> None:
        """Connects, and connects again, until cancelled."""
        pause = _BACKOFF_FIRST_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket_path), limit=_LINE_LIMIT_BYTES)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF_LIMIT_SECONDS)
                continue
            pause = _BACKOFF_FIRST_SECONDS
            try:
                await self._talk(reader, writer)
            except (OSError, ValueError, KeyError, TypeError, asyncio.LimitOverrunError) as error:
                _log.warning("link to control broke", error=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(pause)
            finally:
                writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _write(writer, {"type": "hello", "door": self._door_id, "pid": os.getpid()})
        sending = asyncio.create_task(self._send_all(writer))
        try:
            while line := await reader.readline():
                snapshot = Snapshot.from_dict(orjson.loads(line))
                self._apply(snapshot)
                _write(writer, {"type": "ack", "version": snapshot.version})
        finally:
            sending.cancel()

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        """Sends what is queued: events at once, usage in batches; what the connection does not take stays queued."""
        loop = asyncio.get_running_loop()
        gathered_at = 0.0
        while True:
            self._wake.clear()
            while self._events:
                _write(writer, self._events.popleft())
            rows = [self._usage.popleft() for _ in range(min(_USAGE_BATCH_ROWS, len(self._usage)))]
            if rows:
                _write(writer, {"type": "usage", "rows": rows})
            if loop.time() - gathered_at >= 1.0:
                gathered_at = loop.time()
                for event in self._gather():
                    _write(writer, event)
            await writer.drain()
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def flush(self, timeout_seconds: float) -> None:
        """Waits until what is queued was handed over, at the end of a door; not longer than the time given."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._wake.set()
        while (self._events or self._usage) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


def _write(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    writer.write(orjson.dumps(event) + b"\n")
