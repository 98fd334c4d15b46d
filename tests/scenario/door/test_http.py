"""What the door makes of HTTP: hygiene, limits, kept connections, headers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Upstream

_TLS = Path(__file__).parents[2] / "support" / "tls"


def exchange(door: DoorProcess, data: bytes) -> bytes:
    """Sends bytes and reads until the door closes the connection."""
    with door.connect() as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the end."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (
            b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", 505),
        (b"GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\nConnection: close\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, 431),
    ],
)
def test_bad_http_is_refused_and_the_connection_closed(door: DoorProcess, request_bytes: bytes, status: int) -> None:
    """Whatever two servers could read differently is answered with an error, and the connection ends."""
    answer = exchange(door, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b'"error":{' in answer
    assert b"\r\nconnection: close\r\n" in answer


def test_an_absolute_target_is_understood(door: DoorProcess) -> None:
    """A proxy's form of a request has the same answer."""
    answer = exchange(door, b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://evil.example/healthz", b"localhost", 421),
        (b"http://evil.example:8440/healthz?x#y", b"localhost", 421),
        (b"HTTP://LOCALHOST:1/healthz", b"evil.example", 200),
        (b"http://localhost?x", b"localhost", 200),
        (b"http://localhost@evil.example/healthz", b"localhost", 400),
        (b"ftp://localhost/healthz", b"localhost", 400),
        (b"http:///healthz", b"localhost", 400),
    ],
)
def test_the_host_of_an_absolute_target_is_the_one_that_counts(
    door: DoorProcess, target: bytes, host: bytes, status: int
) -> None:
    """The name in the target must be the door's own; the Host header beside it decides nothing."""
    answer = exchange(door, b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


def test_an_absolute_target_needs_the_host_header_too(door: DoorProcess) -> None:
    """HTTP/1.1 asks for it, whatever the target says."""
    answer = exchange(door, b"GET http://localhost/healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_http_10_is_answered(door: DoorProcess) -> None:
    """An old client gets its answer and the end of the connection."""
    answer = exchange(door, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_pipelined_requests_are_answered_in_order(door: DoorProcess) -> None:
    """Requests sent without waiting come back in their order."""
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n"
    answer = exchange(door, first * 20 + last)
    assert answer.count(b"HTTP/1.1 200 ") == 21
    assert answer.index(b"x-request-id: two") > answer.rindex(b"x-request-id: one")


def test_a_kept_connection_serves_many(door: DoorProcess) -> None:
    """One connection is used again and again, errors in between included."""
    with door.client() as client:
        for _ in range(3):
            assert client.get("/healthz").status == 200
            assert client.get("/nothing").status == 404
            assert client.post(ROUTE, {"model": "bot"}).status == 400
            assert client.post(ROUTE, CHAT).status == 200


def test_an_announced_body_that_is_too_large_is_refused_unread(door: DoorProcess) -> None:
    """413 comes before the body is sent, for who waits with it."""
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    answer = exchange(door, (head + "Content-Length: 314572800\r\nExpect: 100-continue\r\n\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_is_counted_while_it_comes(door: DoorProcess) -> None:
    """A body that announces no length is refused at the byte that is too many, and the answer is not lost."""
    with door.connect() as connection:
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(130):
            connection.sendall(piece)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 "), answer[:100]


def test_a_body_is_asked_for(door: DoorProcess) -> None:
    """Who expects 100 Continue gets it, once the headers are accepted."""
    with door.connect() as connection:
        body = b'{"model":"bot","messages":[{"role":"user","content":"x"}]}'
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        head += f"Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_without_a_key_is_not_read(door: DoorProcess, engine: Upstream) -> None:
    """Who has no key is refused before a large body is taken."""
    answer = exchange(door, f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert engine.received == []


def test_compressed_bodies_are_refused(door: DoorProcess) -> None:
    """A body that would have to be unpacked is not read."""
    reply = door.post(ROUTE, CHAT, {"content-encoding": "gzip"})
    assert reply.status == 415


def test_silent_and_half_headers_are_ended(make_door: Callable[[str], DoorProcess]) -> None:
    """Headers that do not come are answered with 408 after the time-out; a connection that says nothing is closed."""
    door = make_door("[gateway]\nheader_timeout_seconds = 0.3\n")
    door.start(door.snapshot())
    with door.connect() as half, door.connect() as silent:
        half.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert read_all(half).startswith(b"HTTP/1.1 408 ")
        assert read_all(silent) == b""


def test_a_silent_body_is_ended(make_door: Callable[[str], DoorProcess]) -> None:
    """A body that stops coming is answered with 408."""
    door = make_door("[gateway]\nbody_idle_timeout_seconds = 0.3\n")
    door.start(door.snapshot())
    head = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\nContent-Length: 10\r\n\r\n{{"
    )
    answer = exchange(door, head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body-too-slow" in answer


def test_an_idle_connection_is_closed(make_door: Callable[[str], DoorProcess]) -> None:
    """A kept connection on which nothing is asked ends after the keep-alive time."""
    door = make_door("[gateway]\nkeep_alive_seconds = 0.3\n")
    door.start(door.snapshot())
    with door.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(connection).endswith(b'{"status":"ok"}')


def test_connections_are_limited(make_door: Callable[[str], DoorProcess]) -> None:
    """One connection too many is told so and closed; when others end there is room again."""
    door = make_door("[gateway]\nconnections_limit = 16\n")
    door.start(door.snapshot())
    open_ones = []
    for _ in range(16):
        connection = door.connect()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        open_ones.append(connection)
    with door.connect() as extra:
        assert b"too-many-connections" in read_all(extra)
    for connection in open_ones:
        connection.close()
    for _ in range(100):
        with door.client() as client:
            try:
                if client.get("/healthz").status == 200:
                    return
            except OSError:
                continue
    pytest.fail("there was no room again")


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
def test_a_request_id_comes_back(door: DoorProcess, given: str) -> None:
    """A client's own request id is kept, on errors too, and reaches the engine's log."""
    assert door.post(ROUTE, CHAT, {"x-request-id": given}).headers["x-request-id"] == given
    assert door.get("/nothing", {"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["x" * 65, "a b", "ü", ""])
def test_a_bad_request_id_is_replaced(door: DoorProcess, given: str) -> None:
    """A request id that could break logs is replaced by a fresh one."""
    found = {door.get("/healthz", {"x-request-id": given}).headers["x-request-id"] for _ in range(2)}
    assert len(found) == 2
    assert all(one.startswith("req-") for one in found)


def test_the_request_id_reaches_the_engine(door: DoorProcess, engine: Upstream) -> None:
    """The engine's own log can be searched for it."""
    door.post(ROUTE, CHAT, {"x-request-id": "find-me"})
    assert engine.received[0].headers["x-request-id"] == "find-me"


def test_head_has_no_body(door: DoorProcess) -> None:
    """HEAD is GET without a body."""
    with door.client() as client:
        reply = client.send("HEAD", "/healthz", None)
        assert (reply.status, reply.content) == (200, b"")
        assert client.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", ROUTE, "POST"), ("POST", "/v1/models", "GET, HEAD"), ("DELETE", "/v1/models/bot", "GET, HEAD")],
)
def test_a_wrong_method_says_which_are_right(door: DoorProcess, method: str, path: str, allow: str) -> None:
    """405 with Allow."""
    with door.client() as client:
        reply = client.send(method, path, None)
    assert reply.status == 405
    assert reply.headers["allow"] == allow


def test_there_are_no_cors_headers(door: DoorProcess) -> None:
    """A page in a browser is never let in."""
    reply = door.get("/v1/models", {"origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in reply.headers)
    with door.client() as client:
        assert client.send("OPTIONS", ROUTE, None, {"origin": "https://evil.example"}).status == 405


def test_answers_name_deployment_and_replica(door: DoorProcess) -> None:
    """Headers say who answered, on errors of the engine too."""
    reply = door.post(ROUTE, CHAT)
    assert reply.headers["x-undercroft-deployment"] == "bot"
    assert reply.headers["x-undercroft-replica"] == "rep_000000000001"


def test_tls(make_door: Callable[[str], DoorProcess]) -> None:
    """With a certificate the door speaks TLS, and plain HTTP gets nowhere."""
    cert, key = _TLS / "cert.pem", _TLS / "key.pem"  # for localhost, made for tests and good for nothing else
    door = make_door(f'[gateway]\ntls_cert_file = "{cert}"\ntls_key_file = "{key}"\n')
    door.start(door.snapshot(deployment("bot", replica(socket_path="/nowhere"))), has_control=True)
    context = ssl.create_default_context(cafile=str(cert))
    with door.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    with door.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not read_all(plain).startswith(b"HTTP/1.1 200 ")


def test_all_bodies_together_are_limited(make_door: Callable[[str], DoorProcess]) -> None:
    """However many send however much, the door holds so much and no more, and has room again afterwards."""
    door = make_door("[gateway]\nbody_limit_bytes = 1073741824\n")
    door.start(door.snapshot())
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    with door.connect() as first, door.connect() as second:
        for connection, mebibytes in ((first, 100), (second, 40)):
            connection.sendall(f"{head}Content-Length: 900000000\r\n\r\n".encode())
            piece = b" " * (1 << 20)
            for _ in range(mebibytes):
                connection.sendall(piece)
        answer = second.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"too-much-at-once" in answer
    for _ in range(100):
        reply = door.post(ROUTE, b" " * (50 << 20))
        if reply.status == 400:
            return
    pytest.fail("there was no room again")
