"""Control's small HTTP client: it waits no longer than it was told, follows nobody, and believes no certificate."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.support.scripted import http as answer
from tests.support.scripted import scripted
from undercroft.engines import wire

DROP = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def get(port: int, *, timeout_seconds: float = 10, path: str = "/v1/models", scheme: str = "http") -> wire.Answer:
    endpoint = wire.Endpoint(None, f"{scheme}://127.0.0.1:{port}", None)
    return wire.request(endpoint, "GET", path, timeout_seconds=timeout_seconds)


def test_reads_an_answer() -> None:
    """Status and body come back; the body is JSON on demand."""
    with scripted(answer("200 OK", '{"data": []}')) as port:
        found = get(port)
    assert (found.status, found.json(), found.location) == (200, {"data": []}, None)


def test_follows_no_redirect() -> None:
    """A redirect comes back as what it is."""
    with scripted(answer("302 Found", "", "Location: http://127.0.0.1:1/elsewhere")) as port:
        found = get(port)
    assert (found.status, found.location) == (302, "http://127.0.0.1:1/elsewhere")


@pytest.mark.parametrize("slow", [DROP, DROP + b"x" * 900], ids=["headers", "body"])
def test_slow_bytes_do_not_stretch_the_deadline(slow: bytes) -> None:
    """A server that sends a byte now and then is left when the time is up, though it was never silent for long."""
    with scripted(slow, pause_seconds=0.02) as port:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            get(port, timeout_seconds=0.3 if slow == DROP else 1.2)
        assert time.monotonic() - begun < 30


def test_a_broken_off_answer_ends_its_connection() -> None:
    """The server sees at once that nobody waits any more, and not only when the garbage of the error is collected."""
    has_ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(65536)
                client.sendall(DROP.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                if client.recv(1) == b"":
                    has_ended.set()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(TimeoutError) as kept:  # with all that its traceback holds
            get(listening.getsockname()[1], timeout_seconds=0.3)
        assert has_ended.wait(60)
    assert kept.tb is not None


def test_silence_is_a_timeout() -> None:
    """A server that accepts and says nothing is a timeout."""
    with scripted(b"") as port, pytest.raises(TimeoutError):
        get(port, timeout_seconds=0.2)


def test_nobody_there_is_refused(tmp_path: Path) -> None:
    """Nobody at a port, and no socket in a folder, are operating system errors, no timeouts."""
    with pytest.raises(ConnectionRefusedError):
        get(1)
    with pytest.raises(FileNotFoundError):
        wire.request(wire.Endpoint(str(tmp_path / "no.sock"), None, None), "GET", "/", timeout_seconds=1)


def test_what_is_no_http_is_said_so() -> None:
    """Another protocol's greeting is no HTTP."""
    with scripted(b"SSH-2.0-OpenSSH_9.2\r\n") as port, pytest.raises(http.client.HTTPException):
        get(port)


def test_large_answers_are_cut() -> None:
    """No more than the limit is read, however much is sent."""
    with scripted(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (wire.ANSWER_LIMIT_BYTES + 1000)) as port:
        assert len(get(port).body) == wire.ANSWER_LIMIT_BYTES


def test_certificate_of_nobody_is_refused() -> None:
    """TLS is verified: a server that signed its own certificate is not believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self-signed.pem"))
    with scripted(answer("200 OK", "{}"), context=context) as port, pytest.raises(ssl.SSLCertVerificationError):
        get(port, scheme="https")


def test_path_of_the_url_is_kept() -> None:
    """A server below a path is asked below it."""
    endpoint = wire.Endpoint(None, "http://127.0.0.1:{}/below", "the key")
    with scripted(answer("204 No Content")) as port:
        found = wire.request(
            wire.Endpoint(None, (endpoint.base_url or "").format(port), endpoint.key),
            "POST",
            "/v1/models",
            {"a": 1},
            timeout_seconds=10,
        )
    assert (found.status, found.body) == (204, b"")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no key \xe2\x80\xa6", "code": 1}}', "no key \u2026"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"detail": "Not Found"}', '{"detail": "Not Found"}'),
        (b'{"error": {"message": null}}', '{"error": {"message": null}}'),
        (b"[]", "[]"),
        (b"<h1>\x1b[31mBad\r\n  Gateway</h1>\xff", "<h1> [31mBad Gateway</h1>\ufffd"),
        (b"", "nothing"),
    ],
)
def test_what_an_error_says_is_one_line_of_text(body: bytes, message: str) -> None:
    """OpenAI's form, the plainer one of others, or what came, without what a terminal would obey."""
    assert wire.Answer(500, body).message() == message
    assert len(wire.Answer(500, body * 500).message(20)) <= 20
