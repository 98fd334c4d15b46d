"""The pool of connections to an engine, over a real Unix socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvloop

from tests.support.upstream import Received, Upstream, answer_json, write_json
from undercroft.gateway.door.pool import Pool, Target
from undercroft.gateway.door.upstream import ConnectError, LostError, MalformedError, SilentError

REQUEST = b"POST /x HTTP/1.1\r\nhost: engine\r\ncontent-length: 2\r\n\r\n{}"


def pool(path: Path, silence_seconds: float = 10.0) -> Pool:
    """A pool for a Unix socket."""
    return Pool(Target(socket_path=str(path)), silence_seconds)


async def ask(made: Pool) -> tuple[int, bytes]:
    """Status and body of one answer; nothing stays open."""
    connection = await made.request(REQUEST, whole=True)
    made.give_back(connection)
    made.close()
    return connection.status, connection.body[0]


def test_an_answer_and_its_connection_again(tmp_path: Path) -> None:
    """A connection is used for the next request once its answer was read."""
    with Upstream(answer_json({"a": 1}), tmp_path / "s") as engine:

        async def run() -> None:
            made = pool(tmp_path / "s")
            for _ in range(3):
                connection = await made.request(REQUEST, whole=True)
                assert (connection.status, connection.body) == (200, [b'{"a":1}'])
                made.give_back(connection)
            made.close()

        uvloop.run(run())
        assert engine.connections == 1


def test_a_server_that_says_how_long_is_taken_at_its_word(tmp_path: Path) -> None:
    """Neither after its time nor after its number of requests is a connection used again."""
    for header, expected in (("timeout=1, max=100", 4), ("timeout=5, max=3", 2), ("timeout=60", 1)):
        with Upstream(answer_json({}, headers={"keep-alive": header}), tmp_path / "s") as engine:

            async def run() -> None:
                made = pool(tmp_path / "s")
                for _ in range(4):
                    made.give_back(await made.request(REQUEST, whole=True))
                made.close()

            uvloop.run(run())
            assert engine.connections == expected, header


def test_a_crowded_socket_is_tried_again(tmp_path: Path) -> None:
    """An engine that lets few connections wait turns one away for a moment; that is no failure."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(tmp_path / "s"))
        except BlockingIOError:
            pass

        async def run() -> int:
            made = pool(tmp_path / "s")
            asking = asyncio.create_task(made.request(REQUEST, whole=True))
            await asyncio.sleep(0)
            for one in waiting:
                one.close()
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            while True:
                peer, _ = await loop.sock_accept(listener)
                with peer:
                    if await loop.sock_recv(peer, 65536):
                        await loop.sock_sendall(peer, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        return (await asking).status

        assert uvloop.run(run()) == 200


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", LostError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", LostError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", LostError),
        (b"nonsense\r\n\r\n", MalformedError),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, MalformedError),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", MalformedError),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes, error: type[Exception]) -> None:
    """An answer that ends too early or is not HTTP is told apart."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    with Upstream(behave, tmp_path / "s"), pytest.raises(error):
        uvloop.run(ask(pool(tmp_path / "s")))


def test_nobody_there(tmp_path: Path) -> None:
    """A socket that is not there, and one where nobody listens any more."""
    with pytest.raises(ConnectError):
        uvloop.run(ask(pool(tmp_path / "s")))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    with pytest.raises(ConnectError):
        uvloop.run(ask(pool(tmp_path / "s")))


def test_silence(tmp_path: Path) -> None:
    """Silence ends it, while something that keeps coming does not."""

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.08)
            writer.write(b"x")
        await writer.drain()

    with Upstream(hang, tmp_path / "s") as engine:
        with pytest.raises(SilentError):
            uvloop.run(ask(pool(tmp_path / "s", 0.3)))
        engine.behaviour = slow
        assert uvloop.run(ask(pool(tmp_path / "s", 0.3))) == (200, b"x" * 8)


def test_early_hints_are_passed_over(tmp_path: Path) -> None:
    """An informational answer before the real one is not taken for it."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        write_json(writer, {"real": True})
        await writer.drain()

    with Upstream(behave, tmp_path / "s"):
        assert uvloop.run(ask(pool(tmp_path / "s"))) == (200, b'{"real":true}')
