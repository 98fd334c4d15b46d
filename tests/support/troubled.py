"""A server of objects on the loopback that can be told to fail: the ground that a bucket and a registry stand on."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).parent / "tls" / "cert.pem"
CERTIFICATE_KEY = Path(__file__).parent / "tls" / "key.pem"


@dataclass
class Trouble:
    """What goes wrong with some requests.

    Args:
        method: Of these.
        part: Stands in their target.
        kind: A status; or ``cut``: no answer; or ``short``: an answer that ends in its middle.
        times: How many of them; after that all is well.
        skip: How many of them are well before that.
    """

    method: str
    part: str
    kind: int | str
    times: int = 1_000_000
    skip: int = 0


@dataclass
class Remote:
    """A running server.

    Args:
        url: Where it is.
        lock: Held while it is looked at or changed.
        troubles: What goes wrong.
        seen: Method and target of every request.
    """

    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    troubles: list[Trouble] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)


class RemoteHandler(BaseHTTPRequestHandler):
    """Reads a request, lets it go wrong where it should, and hands it on to `serve`."""

    protocol_version = "HTTP/1.1"
    server: RemoteServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def _any(self) -> None:
        body = self._body()
        remote = self.server.remote
        with remote.lock:
            remote.seen.append((self.command, self.path))
            self.kind = next((one.kind for one in remote.troubles if self._meets(one)), None)
            if self.kind == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif isinstance(self.kind, int):
                self.answer(self.kind)
            else:
                self.serve(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _any  # noqa: N815 names of http.server

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _meets(self, trouble: Trouble) -> bool:
        if not trouble.times or trouble.method != self.command or trouble.part not in self.path:
            return False
        if trouble.skip:
            trouble.skip -= 1
            return False
        trouble.times -= 1
        return True

    def serve(self, body: bytes) -> None:
        """Answers."""
        raise NotImplementedError

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        """Sends it; cut off in its middle where it should be."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.kind == "short":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)


class RemoteServer(ThreadingHTTPServer):
    """One thread a connection."""

    daemon_threads = True
    remote: Any


@contextmanager
def serving(handler: type[RemoteHandler], remote: Remote, *, is_tls: bool = False) -> Iterator[None]:
    """Serves until the block ends, and says where in ``remote.url``."""
    server = RemoteServer(("127.0.0.1", 0), handler)
    server.remote = remote
    if is_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, CERTIFICATE_KEY)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    remote.url = f"{'https' if is_tls else 'http'}://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
