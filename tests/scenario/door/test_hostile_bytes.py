"""Bytes that no client of good will sends: the door answers or closes, and goes on."""

from __future__ import annotations

import random
import socket
import time

from tests.scenario.door.conftest import ROUTE
from tests.support.doors import DoorProcess

_ROUNDS = 300
_ROUNDS_AT_FULL_SIZE = 20_000
_INSERTS = (
    b"\r\n",
    b"\n",
    b"\x00",
    b"\xff",
    b" ",
    b":",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: evil\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"%00",
    b"../",
)


def test_mutated_requests_never_break_the_door(door: DoorProcess, is_full: bool) -> None:
    """Requests with bytes changed, cut, doubled and put in: no defect of ours in the log, and the door still serves."""
    body = b'{"model":"bot","messages":[{"role":"user","content":"x"}]}'
    whole = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    chunked = (
        (
            f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n"
        ).encode()
        + body
        + b"\r\n0\r\n\r\n"
    )
    seed = time.time_ns()
    chance = random.Random(seed)
    for number in range(_ROUNDS_AT_FULL_SIZE if is_full else _ROUNDS):
        data = _mutated(chance, chance.choice((whole, chunked)))
        with door.connect() as connection:
            connection.settimeout(0.02)
            try:
                for at in range(0, len(data), size := chance.choice((7, 60, 1 << 16))):
                    connection.sendall(data[at : at + size])
                answer = connection.recv(65536)
            except (TimeoutError, ConnectionError):
                continue
            finally:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 "), (seed, number, data)
        assert not answer.startswith(b"HTTP/1.1 500"), (seed, number, data)
    assert door.get("/healthz").status == 200
    assert "Traceback" not in door.log_file.read_text()


def _mutated(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + chance.choice(_INSERTS) + data[at:]
        elif kind == 2:
            data = data[: at + 1]
        else:
            data = data[:at] + data[at:] * 2
    return data
