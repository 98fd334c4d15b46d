"""Whether a client that said that it will send no more still reads.

TCP ends each direction by itself, and a client that closes its connection looks, until something is sent to it, like
one that only ended its own direction. So it is sent what HTTP lets a server send before an answer, ``100 Continue``,
which every client of HTTP/1.1 takes and drops (RFC 9110, section 15.2): the system of one that is gone answers with a
reset.
"""

from __future__ import annotations

import asyncio
import socket

_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASK_SECONDS = 5.0


class EndedSide:
    """The client's direction of a connection, which has ended.

    Args:
        transport: The connection, without TLS.
        now: `time.monotonic`.
    """

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        self._transport = transport
        self._asked_at = now

    def ask(self, *, is_answer_begun: bool) -> None:
        """Sends something that a client which is gone cannot take; an answer that has begun does that by itself."""
        if not is_answer_begun:
            self._transport.write(_INTERIM)

    def is_gone(self, now: float, *, is_answer_begun: bool) -> bool:
        """Whether a reset came; asks again once in a while, for a client may go later.

        Args:
            now: `time.monotonic`.
            is_answer_begun: Something of the answer was sent.
        """
        connection = self._transport.get_extra_info("socket")
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            return True
        if now - self._asked_at > _ASK_SECONDS:
            self._asked_at = now
            self.ask(is_answer_begun=is_answer_begun)
        return False
