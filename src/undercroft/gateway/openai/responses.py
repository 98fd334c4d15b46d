"""``/v1/responses``, stateless: translated to a chat completion and back. Nothing is stored."""

from __future__ import annotations

import time
from typing import Any

import orjson

from undercroft.core.ids import new_id
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.calls import answer_by_release, ask, ask_for_stream, quarantine_body
from undercroft.gateway.openai.fields import CHAT, RESPONSES, read
from undercroft.gateway.openai.generate import check_chat, check_loaded_chat, check_tools
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.releases import with_release
from undercroft.gateway.openai.responses_events import ResponseEvents
from undercroft.gateway.openai.shadow import copy_request
from undercroft.gateway.openai.signs import Watched
from undercroft.gateway.openai.stream import EVENT_STREAM, NO_CACHE, Relay
from undercroft.serving.snapshot import ReleaseEntry, ReplicaEntry

_ENGINE_ROUTE = "/v1/chat/completions"
_SAME = ("model", "temperature", "top_p", "parallel_tool_calls", "prompt_variables")


async def responses(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/responses``."""
    data = read(RESPONSES, exchange.body)
    chat = to_chat(data)
    check_chat(chat)

    async def ask_release(deployment: Deployment, release: ReleaseEntry | None) -> bytes | None:
        return await _answer(dispatcher, exchange, deployment, data, with_release(chat, release))

    answer = await answer_by_release(dispatcher, exchange, data, "chat", ask_release)
    if answer is not None:
        copy_request(dispatcher, exchange, CHAT, chat, answer)


async def _answer(
    dispatcher: Dispatcher, exchange: Exchange, deployment: Deployment, data: dict[str, Any], chat: dict[str, Any]
) -> bytes | None:
    """The engine's own answer, where a candidate is being tried; None where nobody asks, or it broke off."""
    watched = Watched(chat) if exchange.trace.is_tried else None
    check_tools(chat, deployment)
    frame = response_frame(data, new_id("resp"), time.time())
    if data.get("stream"):
        chat = {**chat, "stream": True}
    payload = payload_for(CHAT, chat, orjson.dumps(chat), adapter=exchange.trace.adapter)
    call = Call(
        _ENGINE_ROUTE,
        quarantine_body(exchange, exchange.body),
        payload,
        lambda: check_loaded_chat(chat, deployment),
        "input",
    )
    trace = exchange.trace
    if not data.get("stream"):
        body, _ = await ask(dispatcher, exchange, deployment, call, trace)
        answer = to_response(frame, orjson.loads(body), trace.prompt_tokens or 0, trace.completion_tokens or 0)
        if watched is not None:
            watched.take(body)
            trace.signs = watched.signs()
        exchange.respond(200, orjson.dumps(answer))
        return watched.body if watched is not None else None
    exchange.stream_type, exchange.stream_headers = EVENT_STREAM, NO_CACHE
    events = ResponseEvents(frame, exchange.pass_on)

    def relay(_: ReplicaEntry) -> Relay:
        return Relay(
            trace,
            # What is sent are the events that `events.take` makes of the frames.
            watched.take if watched is not None else lambda _: None,
            model=data["model"],
            has_usage_request=True,
            is_framed=True,
            content_field="input",
            change=events.take,
        )

    try:
        await ask_for_stream(dispatcher, exchange, deployment, call, trace, relay)
    except DoorError as error:
        if not exchange.is_started:
            raise
        trace.error_source = error.source
        exchange.keep_alive = False
        events.fail(error)
        watched = None
    else:
        events.finish(trace.prompt_tokens or 0, trace.completion_tokens or 0)
    if watched is not None:
        trace.signs = watched.signs()
    exchange.end()
    return watched.body if watched is not None else None


def to_chat(data: dict[str, Any]) -> dict[str, Any]:
    """The chat request that means the same as a checked request for a response."""
    chat: dict[str, Any] = {name: data[name] for name in _SAME if data.get(name) is not None}
    chat["messages"] = _messages(data)
    if data.get("max_output_tokens") is not None:
        chat["max_tokens"] = data["max_output_tokens"]
    if data.get("tools"):
        chat["tools"] = [
            {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
            for tool in data["tools"]
        ]
    choice = data.get("tool_choice")
    if type(choice) is dict:
        chat["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice is not None and (choice == "required" or data.get("tools")):
        chat["tool_choice"] = choice
    form = (data.get("text") or {}).get("format")
    if form is not None and form["type"] == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is not None:
        chat["response_format"] = form
    return chat


def response_frame(data: dict[str, Any], response_id: str, created_at: float) -> dict[str, Any]:
    """A response object without output, which repeats what was asked for."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(created_at),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": data.get("instructions"),
        "max_output_tokens": data.get("max_output_tokens"),
        "metadata": data.get("metadata") or {},
        "model": data["model"],
        "output": [],
        "parallel_tool_calls": data.get("parallel_tool_calls", True) is not False,
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "temperature": data.get("temperature"),
        "text": {"format": (data.get("text") or {}).get("format") or {"type": "text"}},
        "tool_choice": data.get("tool_choice") or "auto",
        "tools": data.get("tools") or [],
        "top_p": data.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": data.get("user"),
    }


def to_response(
    frame: dict[str, Any], completion: dict[str, Any], prompt_tokens: int, completion_tokens: int
) -> dict[str, Any]:
    """The response that means the same as a chat completion.

    Raises:
        DoorError: 502; the engine's answer has no choice in it.
    """
    try:
        choice = completion["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise DoorError(502, "engine-error", "the engine answered without a choice", source="engine") from error
    # The same events as in a stream, of which the last one holds the whole response.
    last: list[dict[str, Any]] = []
    events = ResponseEvents(frame, lambda _: None, keep=last)
    calls = [{**call, "index": index} for index, call in enumerate(message.get("tool_calls") or [])]
    delta = {"content": message.get("content"), "tool_calls": calls}
    events.take({"choices": [{"delta": delta, "finish_reason": choice.get("finish_reason")}]})
    events.finish(prompt_tokens, completion_tokens)
    response: dict[str, Any] = last[-1]["response"]
    return response


def _messages(data: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if data.get("instructions"):
        messages.append({"role": "system", "content": data["instructions"]})
    if isinstance(data["input"], str):
        return [*messages, {"role": "user", "content": data["input"]}]
    for item in data["input"]:
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": item["role"], "content": _text(item["content"])})
        elif kind == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
        else:
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
    return messages


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
