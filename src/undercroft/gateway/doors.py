"""Control's end of the link to the doors: snapshots go out, events come in, JSON lines over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.gateway.metrics import Families, merge
from undercroft.serving.snapshot import Snapshot

_log = structlog.get_logger("doors")

_LINE_BYTES = 16 * 1024 * 1024
_POLL_SECONDS = 0.005
_ENDED_KEPT, _ENDED_MERGED = 16, 8


@dataclass(slots=True)
class Door:
    """A connected door process.

    Args:
        id: As it calls itself.
        pid: Its process.
        acked_version: Newest snapshot that it has in force.
        families: Its counters since it started, as it last sent them.
    """

    writer: asyncio.StreamWriter
    id: str = ""
    pid: int = 0
    acked_version: int = 0
    families: Families = field(default_factory=dict)


class DoorLink:
    """Serves ``run/doors.sock``.

    Args:
        home: Whose doors.
        on_event: Called, in the event loop, with every event that is not this link's own; must not block.
    """

    def __init__(self, home: Home, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self._home = home
        self._on_event = on_event
        self._doors: list[Door] = []
        self._line = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended_families: dict[str, Families] = {}

    async def serve(self) -> None:
        """Accepts doors until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._home.doors_socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._meet, str(self._home.doors_socket), limit=_LINE_BYTES)
        async with server:
            await server.serve_forever()

    def publish(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot for doors that come, and sends it to those that are there. From any thread."""
        line = orjson.dumps(snapshot.to_dict()) + b"\n"
        try:
            write_atomically(self._home.snapshot_file, line)
        except OSError as error:
            # On a full disk doors that run are told all the same; one that starts meanwhile reads an older snapshot.
            _log.error("snapshot not kept", error=str(error))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._send_all, line)
        else:
            self._line = line

    def acked_version(self) -> int:
        """The newest version that every connected door has in force; very large where none is connected."""
        return min((door.acked_version for door in list(self._doors) if door.id), default=sys.maxsize)

    async def wait_for(self, version: int, *, timeout_seconds: float) -> bool:
        """Waits until every connected door has that version."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.acked_version() < version:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def families(self, *, except_door: str) -> list[Families]:
        """Counters of every other door, those that ended included: sums do not go down when a door is restarted."""
        live = {door.id: door.families for door in self._doors}
        return [families for id_, families in {**self._ended_families, **live}.items() if id_ != except_door]

    def _keep_ended(self, door: Door) -> None:
        """What a door counted stays; what it had under way does not."""
        self._ended_families[door.id] = {n: f for n, f in door.families.items() if f["type"] != "gauge"}
        if len(self._ended_families) > _ENDED_KEPT:
            oldest = list(self._ended_families)[:_ENDED_MERGED]
            self._ended_families[""] = merge([self._ended_families.pop(id_) for id_ in oldest])

    def list_doors(self) -> list[dict[str, Any]]:
        """Connected doors, for status."""
        return [{"id": door.id, "pid": door.pid, "snapshot": door.acked_version} for door in self._doors if door.id]

    def _send_all(self, line: bytes) -> None:
        self._line = line
        for door in self._doors:
            door.writer.write(line)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door = Door(writer)
        self._doors.append(door)
        if self._line:
            writer.write(self._line)
        try:
            while line := await reader.readline():
                self._take(door, orjson.loads(line))
        except (OSError, ValueError, asyncio.LimitOverrunError) as error:
            _log.warning("door link broke", door=door.id, error=str(error))
        finally:
            self._doors.remove(door)
            if door.families:
                self._keep_ended(door)
            with contextlib.suppress(OSError):
                writer.close()

    def _take(self, door: Door, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "hello":
            door.id, door.pid = str(event["door"]), int(event["pid"])
            self._ended_families.pop(door.id, None)  # it only lost its connection, and goes on counting
            self._on_event(event)
        elif kind == "ack":
            door.acked_version = int(event["version"])
            self._on_event(event)
        elif kind == "metrics":
            door.families = event["families"]
        else:
            self._on_event(event)
