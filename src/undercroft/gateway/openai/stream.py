"""Passes an engine's server-sent events on to the client.

Where nothing has to change, whole frames go through as they come, in a callback, without being parsed; the last ones
are kept to count tokens. Where a piece ends within a frame, or frames must change (the model's name, usage that the
client did not ask for, the older form of log probabilities), they are taken apart at blank lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from undercroft.gateway.door import engine_errors
from undercroft.gateway.errors import DoorError
from undercroft.gateway.histogram import INTER_TOKEN_BOUNDS, Histogram
from undercroft.gateway.openai.answers import (
    find_model_mark,
    model_mark,
    token_counts,
    with_completion_id,
    without_timings,
)
from undercroft.gateway.trace import Trace

EVENT_STREAM = b"text/event-stream; charset=utf-8"
# The second one tells nginx, where it stands before the door, not to gather frames.
NO_CACHE = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_TAIL_BYTES = 4096
_ERROR_MARK = b'{"error":'
_DONE = b"data: [DONE]"


class Relay:
    """One stream on its way.

    Args:
        trace: Gets times and counts.
        emit: Takes what goes to the client.
        model: What the answer calls the model.
        has_usage_request: The client asked for the usage frame.
        is_framed: Take it apart from the start.
        is_completion: The frames are those of ``/v1/completions``.
        content_field: The client's field that holds what may be too long for the model.
        change: Applied to every parsed frame; implies ``is_framed``.
    """

    def __init__(
        self,
        trace: Trace,
        emit: Callable[[bytes], None],
        *,
        model: str,
        has_usage_request: bool,
        is_framed: bool,
        content_field: str,
        is_completion: bool = False,
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.error: DoorError | None = None
        self.has_begun = False
        self._trace = trace
        self._emit = emit
        self._mark = model_mark(model)
        self._foreign_mark: bytes | None = None
        self._has_usage_request = has_usage_request
        self._is_framed = is_framed or change is not None
        self._content_field = content_field
        self._is_completion = is_completion
        self._change = change
        self._buffer = b""
        self._tail = b""
        self._frames = 0
        self._last_at = 0.0
        self._latency = Histogram(INTER_TOKEN_BOUNDS)

    def feed(self, data: bytes) -> None:
        """Takes a piece as it comes from the engine."""
        now = time.monotonic()
        frames = data.count(b"\n\n")
        if self.has_begun:
            if frames:
                self._latency.observe((now - self._last_at) / frames, frames)
                self._last_at = now
        else:
            self._begin(data, now)
        self._frames += frames
        self._tail = data if len(data) >= _TAIL_BYTES else (self._tail + data)[-_TAIL_BYTES:]
        if self.error is not None:
            return
        if self._is_framed or _ERROR_MARK in data or not data.endswith(b"\n\n"):
            self._is_framed = True
            data = self._take_apart(data)
        else:
            data = self._as_openai_has_it(data)
        if data:
            self._emit(data)

    def flush(self) -> None:
        """Passes on what is left; for a stream that ended without its last blank line."""
        if self._buffer.strip() and self.error is None:
            data = self._take_apart(b"\n\n")
            if data:
                self._emit(data)

    def settle(self) -> None:
        """Counts tokens; called once, however the stream ended."""
        self._trace.inter_token = self._latency
        counts = token_counts(self._tail)
        if counts is not None:
            self._trace.prompt_tokens, self._trace.completion_tokens = counts
        elif self.has_begun:
            # A stream that was cut short says nothing of tokens: its frames are the best that is known of the answer.
            self._trace.prompt_tokens, self._trace.completion_tokens = None, max(0, self._frames - 1)

    @property
    def is_done(self) -> bool:
        """The engine said that this was all."""
        return _DONE in self._tail[-64:]

    def _begin(self, data: bytes, now: float) -> None:
        self.has_begun = True
        self._last_at = self._trace.first_token_at = now
        if self._mark not in data:
            self._is_framed = True

    def _take_apart(self, data: bytes) -> bytes:
        buffer = self._buffer + data if self._buffer else data
        if b"\r\n" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n")
        end = buffer.rfind(b"\n\n")
        if end < 0:
            self._buffer = buffer
            return b""
        self._buffer = buffer[end + 2 :]
        passed = []
        for frame in buffer[:end].split(b"\n\n"):
            new = self._frame(frame)
            if new:
                passed.append(new + b"\n\n")
            if self.error is not None:
                break
        return b"".join(passed)

    def _as_openai_has_it(self, frames: bytes) -> bytes:
        return with_completion_id(without_timings(frames)) if self._is_completion else without_timings(frames)

    def _rename(self, frame: bytes) -> bytes:
        """A frame with our name for the model; what the engine calls it is looked for once."""
        if self._foreign_mark is None or self._foreign_mark not in frame:
            self._foreign_mark = find_model_mark(frame)
            if self._foreign_mark is None:
                return frame
        return frame.replace(self._foreign_mark, self._mark, 1)

    def _frame(self, frame: bytes) -> bytes:
        if _ERROR_MARK in frame and frame.lstrip().startswith((b"data: {", b"data:{", b"error:")):
            self.error = engine_errors.from_event(frame, self._content_field)
            return b""
        frame = self._as_openai_has_it(frame)
        if self._mark not in frame:
            frame = self._rename(frame)
        is_usage = not self._has_usage_request and b'"usage"' in frame
        if is_usage:
            # Some servers say in every frame that there is none yet.
            frame = frame.replace(b',"usage":null', b"")
            is_usage = b'"usage"' in frame
        if (self._change is None and not is_usage) or not frame.startswith(b"data:"):
            return frame
        try:
            event = orjson.loads(frame[5:])
        except orjson.JSONDecodeError:
            return frame
        if is_usage and not event.get("choices"):
            return b""
        if is_usage:
            event.pop("usage", None)
        if self._change is not None:
            self._change(event)
        return b"data: " + orjson.dumps(event)
