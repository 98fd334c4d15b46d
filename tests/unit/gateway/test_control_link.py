"""What the door keeps for control while control is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from undercroft.gateway.door import control_link
from undercroft.gateway.door.control_link import ControlLink
from undercroft.serving.snapshot import Snapshot


def link(path: Path, applied: list[Snapshot] | None = None) -> ControlLink:
    """A link that gathers nothing of its own."""
    found = applied if applied is not None else []
    return ControlLink(path, "door_1", found.append, lambda: [])


async def control_once(path: Path, made: ControlLink, lines: int, snapshot: bytes = b"") -> list[dict[str, Any]]:
    """Plays control for so many lines."""
    received: list[dict[str, Any]] = []
    is_done = asyncio.Event()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(snapshot)
        while len(received) < lines and (line := await reader.readline()):
            received.append(json.loads(line))
        writer.close()
        is_done.set()

    server = await asyncio.start_unix_server(meet, str(path), limit=1 << 24)
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(20):
            await is_done.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
    return received


def test_the_oldest_usage_is_dropped_and_counted(tmp_path: Path) -> None:
    """The queue is bounded: what is lost is known, and the newest is kept."""

    async def run() -> None:
        made = link(tmp_path / "s")
        limit = control_link._USAGE_LIMIT_ROWS
        for number in range(limit + 3):
            made.add_usage({"n": number})
        assert made.dropped == 3
        received = await control_once(tmp_path / "s", made, 2)
        assert received[0] == {"type": "hello", "door": "door_1", "pid": received[0]["pid"]}
        assert received[1]["rows"][0] == {"n": 3}
        assert len(received[1]["rows"]) == control_link._USAGE_BATCH_ROWS

    asyncio.run(run())


def test_events_wait_for_control(tmp_path: Path) -> None:
    """What happened while control was away is told when it is back, in order."""

    async def run() -> None:
        made = link(tmp_path / "s")
        made.emit({"type": "demand", "deployment": "a"})
        made.emit({"type": "broke", "replica": "r", "in_flight": []})
        received = await control_once(tmp_path / "s", made, 3)
        assert [event["type"] for event in received] == ["hello", "demand", "broke"]

    asyncio.run(run())


def test_a_snapshot_is_put_in_force_before_it_is_acknowledged(tmp_path: Path) -> None:
    """The answer names its version."""

    async def run() -> None:
        applied: list[Snapshot] = []
        made = link(tmp_path / "s", applied)
        line = json.dumps(Snapshot(7).to_dict()).encode() + b"\n"
        received = await control_once(tmp_path / "s", made, 2, line)
        assert received[1] == {"type": "ack", "version": 7}
        assert [snapshot.version for snapshot in applied] == [7]

    asyncio.run(run())


def test_nonsense_from_control_is_survived(tmp_path: Path) -> None:
    """A line that is no snapshot breaks the connection, not the door: it connects again."""

    async def run() -> None:
        made = link(tmp_path / "s")
        hellos = 0
        is_back = asyncio.Event()

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal hellos
            hellos += json.loads(await reader.readline())["type"] == "hello"
            writer.write(b'{"version": "x"}\n')
            if hellos == 2:
                is_back.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(meet, str(tmp_path / "s"))
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(20):
            await is_back.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()

    asyncio.run(run())
