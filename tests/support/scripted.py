"""A loopback server that answers every connection with given bytes at a given pace, as no well-behaved one does."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def scripted(answer: bytes, *, pause_seconds: float = 0.0, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serves ``answer`` and yields the port.

    Args:
        answer: Sent after a request's headers have come; empty sends nothing and keeps the connection open.
        pause_seconds: Between two bytes; 0 sends all at once.
        context: For TLS; None is plain.
    """
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(client: socket.socket) -> None:
            with suppress(OSError):
                if context is not None:
                    client = context.wrap_socket(client, server_side=True)
                with client:
                    client.recv(65536)
                    for byte in answer if pause_seconds else ():
                        client.sendall(bytes([byte]))
                        if is_over.wait(pause_seconds):
                            return
                    if not pause_seconds and answer:
                        client.sendall(answer)
                        return
                    is_over.wait()

        def accept() -> None:
            while not is_over.is_set():
                with suppress(OSError):
                    client, _ = listening.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            is_over.set()
            with suppress(OSError), socket.create_connection(listening.getsockname()):
                pass  # wakes the accept
            accepting.join()


def http(status: str, body: str = "", *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode()
