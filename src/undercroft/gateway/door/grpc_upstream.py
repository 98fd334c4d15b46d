"""The client side of an engine that is asked over gRPC: one connection, one call at a time, as over HTTP/1.1."""

from __future__ import annotations

import time

import orjson

from undercroft.engines.grpc.conversation import BrokenError, Conversation, Reply
from undercroft.engines.grpc.messages import INFER
from undercroft.gateway.door.upstream import (
    BODY_LIMIT_BYTES,
    IDLE_LIMIT_SECONDS,
    LostError,
    MalformedError,
    UpstreamConnection,
)


class GrpcConnection(UpstreamConnection):
    """A connection whose requests are messages of ``ModelInfer``.

    Its answer is the message that came, with status 200; or, with the status that the server would have answered over
    HTTP, the reason in the JSON of Triton's HTTP server. There is nothing of it before it is whole.

    Args:
        silence_seconds: Longest silence while an answer is awaited; the server gives up a moment later.
        authority: Host and port of the server.
        is_tls: Whether it is asked over TLS.
        key: Sent as bearer token; None sends none.
    """

    def __init__(self, silence_seconds: float, authority: str, *, is_tls: bool, key: str | None) -> None:
        super().__init__(silence_seconds)
        self._talk = Conversation(authority, is_tls=is_tls, key=key, limit_bytes=BODY_LIMIT_BYTES)

    @property
    def is_open(self) -> bool:
        """Another call may be made."""
        return super().is_open and not self._talk.is_leaving

    def send(self, data: bytes) -> None:
        """Sends a request; the answer before it must be complete."""
        super().send(self._talk.call(INFER, data, timeout_seconds=self._silence_seconds))

    def data_received(self, data: bytes) -> None:
        """What the server says between two calls is heard, too: pings, and that it closes the connection."""
        try:
            answer = self._talk.feed(data)
        except BrokenError as error:
            self._fail(LostError(str(error)) if self._talk.is_leaving else MalformedError(str(error)))
            return
        if self._transport is not None and answer and not self._transport.is_closing():
            self._transport.write(answer)
        if self._talk.has_begun:
            self._heard_at = time.monotonic()  # a ping of the server says nothing of the answer
            self._is_fresh_answer = False
        if self._talk.reply is not None and not self.is_complete:
            self._answer(self._talk.reply)

    def _answer(self, reply: Reply) -> None:
        self.status, self.headers = reply.status, {}
        told = reply.message if reply.code == 0 else orjson.dumps({"error": f"{reply.reason} ({reply.code_name})"})
        self.body = [told]
        self._has_head = self.is_complete = True
        self.idle_until = time.monotonic() + (0.0 if self._talk.is_leaving else IDLE_LIMIT_SECONDS)
        self._stop_watch()
        self._wake()
