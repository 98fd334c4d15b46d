"""The events of a streamed response, made of the frames of a chat completion.

response.created, response.in_progress
for a text        output_item.added, content_part.added, output_text.delta …, output_text.done, content_part.done,
                  output_item.done
for a call        output_item.added, function_call_arguments.delta …, function_call_arguments.done, output_item.done
response.completed, or response.incomplete where the tokens ran out; an error event where the engine failed
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from undercroft.core.ids import new_id
from undercroft.gateway.errors import DoorError


class ResponseEvents:
    """One response while it comes.

    Args:
        frame: The response object without output.
        emit: Takes server-sent events.
        keep: Gets every event as data too; None keeps none.
    """

    def __init__(
        self, frame: dict[str, Any], emit: Callable[[bytes], None], keep: list[dict[str, Any]] | None = None
    ) -> None:
        self._frame = frame
        self._emit = emit
        self._keep = keep
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._open_call = -1
        self._is_begun = False
        self._finish_reason: str | None = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Takes a frame of the chat completion."""
        self._begin()
        choices = chunk.get("choices") or ()
        if not choices:
            return
        delta = choices[0].get("delta") or {}
        if delta.get("content"):
            self._add_text(delta["content"])
        for call in delta.get("tool_calls") or ():
            self._add_call(call)
        self._finish_reason = choices[0].get("finish_reason") or self._finish_reason

    def finish(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The completion is over."""
        self._begin()
        if not self._output:
            self._open_text()
        self._close()
        is_cut = self._finish_reason == "length"
        if is_cut:
            self._output[-1]["status"] = "incomplete"
        self._send(
            "response.incomplete" if is_cut else "response.completed",
            response={
                **self._frame,
                "status": "incomplete" if is_cut else "completed",
                "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
                "completed_at": None if is_cut else int(time.time()),
                "output": self._output,
                "usage": {
                    "input_tokens": prompt_tokens,
                    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "output_tokens": completion_tokens,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            },
        )

    def fail(self, error: DoorError) -> None:
        """The completion broke off."""
        self._send("error", code=error.code, message=error.message, param=error.param, error=error.envelope())

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._send("response.created", response=self._frame)
            self._send("response.in_progress", response=self._frame)

    def _add_text(self, text: str) -> None:
        if self._open is None or self._open["type"] != "message":
            self._open_text()
        item = self._output[-1]
        item["content"][0]["text"] += text
        self._send_in("response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def _open_text(self) -> None:
        self._close()
        item = {"id": new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._open_item(item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._send_in("response.content_part.added", content_index=0, part=part)
        self._output[-1]["content"].append(part)

    def _add_call(self, call: dict[str, Any]) -> None:
        function = call.get("function") or {}
        index = call.get("index", 0)
        if self._open is None or self._open["type"] != "function_call" or self._open_call != index:
            self._close()
            self._open_call = index
            self._open_item(
                {
                    "id": new_id("fc"),
                    "type": "function_call",
                    "status": "in_progress",
                    "call_id": call.get("id") or new_id("call"),
                    "name": function.get("name") or "",
                    "arguments": "",
                }
            )
        arguments = function.get("arguments") or ""
        if arguments:
            self._output[-1]["arguments"] += arguments
            self._send_in("response.function_call_arguments.delta", delta=arguments)

    def _open_item(self, item: dict[str, Any]) -> None:
        self._output.append(item)
        self._open = item
        self._send("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close(self) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        item["status"] = "completed"
        if item["type"] == "message":
            part = item["content"][0]
            self._send_in("response.output_text.done", content_index=0, text=part["text"], logprobs=[])
            self._send_in("response.content_part.done", content_index=0, part=part)
        else:
            self._send_in("response.function_call_arguments.done", name=item["name"], arguments=item["arguments"])
        self._send("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _send_in(self, kind: str, **members: Any) -> None:
        """An event within the item that is the last so far."""
        self._send(kind, item_id=self._output[-1]["id"], output_index=len(self._output) - 1, **members)

    def _send(self, kind: str, **members: Any) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        if self._keep is not None:
            self._keep.append(event)
        self._emit(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event)))
