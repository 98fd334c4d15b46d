"""One HTTP/2 connection to a gRPC server, one unary call at a time. It reads and writes no socket.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, RFC 9113.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import unquote

from undercroft.core.errors import UnavailableError

# What gRPC's codes are in HTTP, as Triton's own HTTP server has them; the others are failures of the server.
_HTTP_STATUS = {0: 200, 1: 503, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 11: 400, 12: 501, 14: 503, 16: 401}
_NAMES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
# What an end of the stream without gRPC's own status means, by HTTP/2's error code and by HTTP's status.
_OF_RESET = {7: 14, 8: 1, 11: 8, 12: 7}
_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN, _INTERNAL = 2, 13
# The server gives up a moment after the caller has: what ends a call is then the caller's clock.
_MARGIN_SECONDS = 1.0
_WINDOW_BYTES = 16 * 1024 * 1024
_FRAME_HEAD_BYTES, _GOAWAY, _STREAM_MASK = 9, 7, 0x7FFFFFFF


class BrokenError(Exception):
    """What came is no gRPC, or the server took its leave of a call that it did not answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a call ended.

    Args:
        code: gRPC's status; 0 is OK.
        reason: What the server said of it.
        message: The answer; empty where the code is not 0.
    """

    code: int
    reason: str
    message: bytes

    @property
    def status(self) -> int:
        """The status that an HTTP server would have answered with."""
        return _HTTP_STATUS.get(self.code, 500)

    @property
    def code_name(self) -> str:
        """``NOT_FOUND`` and the like."""
        return _NAMES[self.code] if self.code < len(_NAMES) else f"code {self.code}"


def check_installed(what: str) -> None:
    """Makes sure that the library for HTTP/2 is there.

    Raises:
        UnavailableError: ``extra-missing``.
    """
    if find_spec("h2") is None:
        raise UnavailableError(
            "extra-missing",
            f"{what} needs a library for gRPC that is not installed",
            hint="pip install 'undercroft[grpc]', or attach the server by its http:// URL",
        )


class Conversation:
    """Calls over one connection, each begun after the one before has ended.

    Bytes that have to be sent are returned by each function.

    Args:
        authority: Host and port of the server.
        is_tls: Whether the connection is one of TLS.
        key: Sent as bearer token; None sends none.
        limit_bytes: Largest answer.
    """

    def __init__(self, authority: str, *, is_tls: bool, key: str | None, limit_bytes: int) -> None:
        from h2.config import H2Configuration  # noqa: PLC0415 behind an extra
        from h2.connection import H2Connection  # noqa: PLC0415 behind an extra
        from h2.settings import SettingCodes  # noqa: PLC0415 behind an extra

        self._http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = _WINDOW_BYTES
        self._http2.local_settings[SettingCodes.ENABLE_PUSH] = 0
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(_WINDOW_BYTES)
        self._common = [(":method", "POST"), (":scheme", "https" if is_tls else "http"), (":authority", authority)]
        self._metadata = [("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "undercroft")]
        if key is not None:
            self._metadata.append(("authorization", f"Bearer {key}"))
        self._limit_bytes = limit_bytes
        self._unread = b""
        self._last: int | None = None
        self._stream = 0
        self._to_send = memoryview(b"")
        self._received = bytearray()
        self._headers: dict[str, str] = {}
        self.reply: Reply | None = None
        self.has_begun = False
        self.is_leaving = False

    def call(self, method: str, message: bytes, *, timeout_seconds: float) -> bytes:
        """Begins a call.

        Args:
            method: ``/package.Service/Method``.
            message: The request.
            timeout_seconds: For how long the caller waits; the server is told a moment more.
        """
        self._stream = self._http2.get_next_available_stream_id()
        self._received.clear()
        self._headers, self.reply, self.has_begun = {}, None, False
        milliseconds = min(99_999_999, max(1, int((timeout_seconds + _MARGIN_SECONDS) * 1000)))
        head = [*self._common, (":path", method), *self._metadata, ("grpc-timeout", f"{milliseconds}m")]
        self._http2.send_headers(self._stream, head)
        self._to_send = memoryview(struct.pack(">?I", False, len(message)) + message)
        self._send_more()
        return self._http2.data_to_send()

    def feed(self, data: bytes) -> bytes:
        """Takes what came; `reply` is there once the call has ended.

        Raises:
            BrokenError: It is no gRPC, too large, or the server leaves without an answer.
        """
        from h2.exceptions import ProtocolError  # noqa: PLC0415 behind an extra

        for frame in self._frames(data):
            try:
                for event in self._http2.receive_data(frame):
                    self._handle(event)
            except (ProtocolError, UnicodeDecodeError) as error:
                self.is_leaving = True
                if self.reply is None:
                    raise BrokenError(f"the server's answer is not HTTP/2: {error or type(error).__name__}") from error
                return b""  # Triton 2.51 tells some errors several times over, the call is over with the first
        if self._last is not None and self._stream > self._last and self.reply is None:
            raise BrokenError("the server closes the connection, and did not begin with the request")
        if self.reply is None:
            self._send_more()
        return self._http2.data_to_send()

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Whole frames of what came, but for those in which the server says that it takes no more calls.

        h2 would drop the call that is under way then; servers go on with it to its end.
        """
        self._unread += data
        while len(self._unread) >= _FRAME_HEAD_BYTES:
            size = int.from_bytes(self._unread[:3], "big")
            if size > self._http2.max_inbound_frame_size:
                raise BrokenError("the server's answer is not HTTP/2")
            end = _FRAME_HEAD_BYTES + size
            if end > len(self._unread):
                return
            frame, self._unread = self._unread[:end], self._unread[end:]
            if frame[3] == _GOAWAY:
                self.is_leaving = True
                self._last = int.from_bytes(frame[9:13], "big") & _STREAM_MASK
            else:
                yield frame

    def _send_more(self) -> None:
        """As much of the request as the server has room for."""
        while len(self._to_send):
            room = min(self._http2.local_flow_control_window(self._stream), self._http2.max_outbound_frame_size)
            if room <= 0:
                return
            piece, self._to_send = self._to_send[:room], self._to_send[room:]
            self._http2.send_data(self._stream, bytes(piece), end_stream=not len(self._to_send))

    def _handle(self, event: object) -> None:
        from h2 import events  # noqa: PLC0415 behind an extra

        if getattr(event, "stream_id", self._stream) != self._stream or self.reply is not None:
            if isinstance(event, events.DataReceived):
                self._http2.increment_flow_control_window(event.flow_controlled_length)
            return
        if isinstance(event, events.ResponseReceived | events.TrailersReceived):
            self.has_begun = True
            self._headers.update({str(name): str(value) for name, value in event.headers or ()})
        elif isinstance(event, events.DataReceived):
            self.has_begun = True
            self._received += event.data
            if len(self._received) > self._limit_bytes:
                raise BrokenError(f"the server's answer has more than {self._limit_bytes} bytes")
            self._http2.acknowledge_received_data(event.flow_controlled_length, self._stream)
        elif isinstance(event, events.StreamReset):
            code = int(event.error_code or 0)
            self._end(reset=code)
        elif isinstance(event, events.StreamEnded):
            self._end(reset=None)

    def _end(self, *, reset: int | None) -> None:
        """Reads how the call ended; a reset after gRPC's own status is no error of the call."""
        if len(self._to_send):  # it was not heard to its end: the next call gets a connection of its own
            self.is_leaving, self._to_send = True, memoryview(b"")
        code, reason = _status_of(self._headers, reset)
        message = b""
        if code == 0:
            try:
                message = _one_message(bytes(self._received))
            except ValueError as error:
                code, reason = _INTERNAL, f"the answer is not one message of gRPC: {error}"
        self.reply = Reply(code, reason, message)


def _status_of(headers: Mapping[str, str], reset: int | None) -> tuple[int, str]:
    told = headers.get("grpc-status", "")
    if told.isascii() and told.isdigit():
        return int(told), unquote(headers.get("grpc-message", ""))
    status = headers.get(":status", "")
    if status not in ("", "200"):
        code = _OF_HTTP.get(int(status) if status.isdigit() else 0, _UNKNOWN)
        return code, f"HTTP {status} in place of an answer of gRPC"
    if reset is not None:
        return _OF_RESET.get(reset, _INTERNAL), f"the server ended the call (HTTP/2 error {reset})"
    return _UNKNOWN, "the answer has no status of gRPC"


def _one_message(data: bytes) -> bytes:
    """The one message of a unary answer, behind its flag and length."""
    if len(data) < 5:
        raise ValueError("it is cut off")
    is_compressed, size = struct.unpack_from(">?I", data)
    if is_compressed:
        raise ValueError("it is compressed, which was not asked for")
    if len(data) != 5 + size:
        raise ValueError(f"it tells {size} bytes and has {len(data) - 5}")
    return data[5:]
