"""One call after another over HTTP/2: how each may end, and what a server says besides."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from undercroft.core.errors import UnavailableError
from undercroft.engines.external import check_url
from undercroft.engines.grpc.conversation import BrokenError, Conversation, check_installed

OK = [("grpc-status", "0")]


class Server:
    """The other side, without a socket: what it got, and the conversation that it has."""

    def __init__(self, *, key: str | None = None, limit_bytes: int = 10_000_000) -> None:
        self.talk = Conversation("gpu:8001", is_tls=False, key=key, limit_bytes=limit_bytes)
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.stream = 0
        self.head: dict[str, str] = {}
        self.message = b""

    def call(self, message: bytes = b"question") -> None:
        """Makes a call and hears it to its end."""
        self.message = b""
        to_hear, is_over = self.talk.call("/pkg.Service/Do", message, timeout_seconds=5), False
        while not is_over:
            for event in self.http2.receive_data(to_hear):
                if isinstance(event, RequestReceived):
                    self.stream, self.head = event.stream_id, {str(n): str(v) for n, v in event.headers}
                elif isinstance(event, DataReceived):
                    self.message += event.data
                    self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    is_over = True
            to_hear = self.talk.feed(self.http2.data_to_send())

    def answer(self, message: bytes, trailers: list[tuple[str, str]] = OK, *, flag: int = 0) -> bytes:
        """The bytes of an answer."""
        self.http2.send_headers(self.stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.http2.send_data(self.stream, struct.pack(">BI", flag, len(message)) + message)
        self.http2.send_headers(self.stream, trailers, end_stream=True)
        return self.http2.data_to_send()

    def refuse(self, *headers: tuple[str, str], status: str = "200") -> bytes:
        """The bytes of an answer that is an error."""
        self.http2.send_headers(self.stream, [(":status", status), *headers], end_stream=True)
        return self.http2.data_to_send()


def test_calls_one_after_another() -> None:
    """Each is one message there and one back, over one connection; the server is told how long it is waited for."""
    server = Server(key="secret")
    for number in range(3):
        server.call(f"question {number}".encode())
        assert server.message == struct.pack(">?I", False, 10) + f"question {number}".encode()
        assert server.head[":path"] == "/pkg.Service/Do"
        assert (server.head["authorization"], server.head["grpc-timeout"]) == ("Bearer secret", "6000m")
        assert server.talk.reply is None
        server.talk.feed(server.answer(f"answer {number}".encode()))
        assert server.talk.reply is not None
        assert (server.talk.reply.code, server.talk.reply.message) == (0, f"answer {number}".encode())
        assert not server.talk.is_leaving


def test_it_is_read_however_it_is_cut() -> None:
    """Byte by byte, or a message larger than a window, it is the same."""
    server = Server()
    question = bytes(range(256)) * 1000
    server.call(question)
    assert server.message[5:] == question
    for byte in server.answer(b"answer"):
        server.talk.feed(bytes([byte]))
    assert server.talk.reply is not None
    assert server.talk.reply.message == b"answer"


@pytest.mark.parametrize(
    ("code", "name", "status"),
    [
        (3, "INVALID_ARGUMENT", 400),
        (4, "DEADLINE_EXCEEDED", 504),
        (5, "NOT_FOUND", 404),
        (8, "RESOURCE_EXHAUSTED", 429),
        (13, "INTERNAL", 500),
        (14, "UNAVAILABLE", 503),
        (16, "UNAUTHENTICATED", 401),
        (99, "code 99", 500),
    ],
)
def test_an_error_is_what_it_is_over_http(code: int, name: str, status: int) -> None:
    """Code and reason are told; the status is the one that the HTTP server of Triton has for it."""
    server = Server()
    server.call()
    server.talk.feed(server.refuse(("grpc-status", str(code)), ("grpc-message", "no%20r%C3%B6om")))
    reply = server.talk.reply
    assert reply is not None
    assert (reply.code_name, reply.status, reply.reason) == (name, status, "no röom")


def test_an_error_that_is_told_several_times_is_one() -> None:
    """Triton 2.51 repeats some errors on a stream that it has ended; the call has its reason, the connection goes."""
    server = Server()
    server.call()
    told = server.refuse(("grpc-status", "13"), ("grpc-message", "Unable to parse request"))
    reset = bytes.fromhex("000004030000000001" + "00000000")
    server.talk.feed((told + reset) * 3)
    assert server.talk.reply is not None
    assert server.talk.reply.reason == "Unable to parse request"
    assert server.talk.is_leaving


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (lambda server: server.answer(b"x", [("content-type", "x")]), 2, "no status"),
        (lambda server: server.refuse(status="404"), 12, "HTTP 404"),
        (lambda server: server.refuse(status="503"), 14, "HTTP 503"),
        (lambda server: server.answer(b"x", flag=1), 13, "compressed"),
        (lambda server: server.refuse(("grpc-status", "0")), 13, "cut off"),
    ],
)
def test_an_answer_that_is_none(end: Callable[[Server], bytes], code: int, reason: str) -> None:
    """What ends otherwise than with a status and one message is an error that says so."""
    server = Server()
    server.call()
    server.talk.feed(end(server))
    assert server.talk.reply is not None
    assert server.talk.reply.code == code
    assert reason in server.talk.reply.reason


@pytest.mark.parametrize(("error", "status"), [(7, 503), (2, 500)])
def test_a_call_that_the_server_ends(error: int, status: int) -> None:
    """A stream that is reset without a status has that of its reason: refused is busy, the rest is a failure."""
    server = Server()
    server.call()
    server.http2.reset_stream(server.stream, error)
    server.talk.feed(server.http2.data_to_send())
    assert server.talk.reply is not None
    assert server.talk.reply.status == status


def goaway(last: int) -> bytes:
    """A server takes its leave, and goes on with the calls up to a number."""
    return bytes.fromhex("000008070000000000") + struct.pack(">II", last, 0)


def test_a_server_that_leaves_ends_what_it_began() -> None:
    """The call that is under way has its answer; the connection takes no other."""
    server = Server()
    server.call()
    server.talk.feed(goaway(server.stream))
    assert server.talk.is_leaving
    assert server.talk.reply is None
    server.talk.feed(server.answer(b"answer"))
    assert server.talk.reply is not None
    assert server.talk.reply.message == b"answer"


def test_a_server_that_leaves_without_an_answer() -> None:
    """A call that it did not begin with is over, and nothing of an answer has come: it may be sent again."""
    server = Server()
    server.call()
    with pytest.raises(BrokenError, match="did not begin"):
        server.talk.feed(goaway(0))
    assert not server.talk.has_begun


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"]
)
def test_what_is_no_http2_is_told(said: bytes) -> None:
    """Another protocol at the port, or frames against the rules, are no answer."""
    server = Server()
    server.talk.call("/pkg.Service/Do", b"", timeout_seconds=5)
    with pytest.raises(BrokenError, match="not HTTP/2"):
        server.talk.feed(said)


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    """Whatever a server sends, no more than the limit is held."""
    server = Server(limit_bytes=1000)
    server.call()
    with pytest.raises(BrokenError, match="more than 1000 bytes"):
        server.talk.feed(server.answer(b"x" * 2000))


def test_a_missing_extra_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library a URL of gRPC is refused at once, and nothing else is."""
    monkeypatch.setattr("undercroft.engines.grpc.conversation.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="needs a library for gRPC") as caught:
        check_url("grpc://gpu:8001", deployment="bot", engine="triton")
    assert "pip install 'undercroft[grpc]'" in (caught.value.hint or "")
    assert check_url("http://gpu:8000", deployment="bot", engine="triton") == "http://gpu:8000"
    with pytest.raises(UnavailableError):
        check_installed("it")
