from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import machine
from benchmarks.answers import http_request, request_body
from benchmarks.processes import MissingError, answers, free_port, started
from benchmarks.request_load import latencies
from benchmarks.stream_load import Seen, load
from benchmarks.token_load import Place, StreamError, generate

EVERYWHERE = set().union(*machine.apart())


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The stream upstream as a process; its port and its Unix socket."""
    port, path = free_port(), tmp_path_factory.mktemp("upstream") / "s.sock"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.stream_upstream",
        "--port",
        str(port),
        "--socket",
        path,
    ]
    with started(command, is_ready=lambda: answers(port) and path.exists(), cores=EVERYWHERE):
        yield port, path


def see(port: int, *, frames: int, expected: int, pace_ms: int) -> Seen:
    request = http_request(port, None, request_body("memory", frames=frames, pace_ms=pace_ms))
    return asyncio.run(load(port, request, frames=expected, clients=3, seconds=0.0, stagger=0.0))


def test_each_frame_is_seen_with_its_delay(upstream: tuple[int, Path]) -> None:
    """Every client gets a whole stream, and no frame arrives before it was written."""
    seen = see(upstream[0], frames=4, expected=4, pace_ms=1)
    assert (seen.streams, seen.broken, seen.frames) == (3, 0, 12)
    assert len(seen.first_frames_ms) == len(seen.worst_ms) == 3
    assert min(seen.delays_ms) >= 0
    assert max(seen.worst_ms) == max(seen.delays_ms)


def test_a_stream_without_all_its_frames_is_broken(upstream: tuple[int, Path]) -> None:
    """A frame that is missing is not taken for a fast stream."""
    seen = see(upstream[0], frames=4, expected=5, pace_ms=0)
    assert (seen.streams, seen.broken) == (0, 3)


def test_pace_is_what_the_request_asks_for(upstream: tuple[int, Path]) -> None:
    """The frames of a stream are written no faster than its pace."""
    port = upstream[0]
    taken = latencies(
        port,
        http_request(port, None, request_body("memory", frames=6, pace_ms=5)),
        seconds=60,
        cores=EVERYWHERE,
        most=12,
    )
    assert len(taken) == 2
    assert min(taken) >= 5 * 0.005


def test_answers_in_one_piece_are_read_whole(upstream: tuple[int, Path]) -> None:
    """One connection carries many requests; the first ten are not counted."""
    port = upstream[0]
    taken = latencies(port, http_request(port, "k", request_body("memory")), seconds=60, cores=EVERYWHERE, most=30)
    assert len(taken) == 20


def test_an_answer_that_is_no_success_is_told(upstream: tuple[int, Path]) -> None:
    """A server that refuses is never measured as a fast one."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await asyncio.to_thread(latencies, port, http_request(port, None, b"{}"), seconds=1, cores=EVERYWHERE)

    with pytest.raises(MissingError, match=r"expected status 200, got 'HTTP/1\.1 401"):
        asyncio.run(ask())


@pytest.mark.parametrize("is_unix", [False, True])
def test_tokens_are_those_that_the_server_counted(upstream: tuple[int, Path], is_unix: bool) -> None:
    """The same client reads a port and a Unix socket, and sums what the usage says."""
    port, path = upstream
    done = generate(Place("upstream", path if is_unix else port, "k", "memory"), clients=2, tokens=3, mark="1")
    assert done.tokens == 6
    assert done.tokens_per_second == pytest.approx(6 / done.seconds)
    assert len(done.first_token_ms) == 2


def test_a_stream_without_usage_is_an_error() -> None:
    """Tokens are never guessed."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\n\r\ndata: {"choices":[]}\n\n')
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        place = Place("cut", server.sockets[0].getsockname()[1], "k", "memory")
        async with server:
            await asyncio.to_thread(generate, place, clients=1, tokens=3, mark="1")

    with pytest.raises(StreamError, match="cut ended a stream without saying its usage"):
        asyncio.run(ask())
