"""``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.errors import DoorError, invalid
from undercroft.gateway.openai import fanout
from undercroft.gateway.openai.answers import renamed, rewritten, with_completion_id, without_timings
from undercroft.gateway.openai.calls import answer_by_release, ask, ask_for_stream, check_task, quarantine_body
from undercroft.gateway.openai.fields import CHAT, COMPLETIONS, read
from undercroft.gateway.openai.input_signs import note_input
from undercroft.gateway.openai.kinds import Record
from undercroft.gateway.openai.legacy import LegacyChoices
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.releases import with_release
from undercroft.gateway.openai.shadow import copy_request
from undercroft.gateway.openai.signs import Watched
from undercroft.gateway.openai.stream import EVENT_STREAM, NO_CACHE, Relay
from undercroft.serving.snapshot import ReleaseEntry, ReplicaEntry


async def chat(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/chat/completions``."""
    data = read(CHAT, exchange.body)
    check_chat(data)

    async def ask_release(deployment: Deployment, release: ReleaseEntry | None) -> bytes | None:
        check_tools(data, deployment)
        note_input(exchange.trace, deployment, data)
        sent = with_release(data, release)
        body = exchange.body if sent is data else None
        return await _answer(
            dispatcher, exchange, deployment, CHAT, sent, body, lambda: check_loaded_chat(sent, deployment)
        )

    answer = await answer_by_release(dispatcher, exchange, data, "chat", ask_release)
    if answer is not None:
        copy_request(dispatcher, exchange, CHAT, data, answer)


async def completions(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/completions``."""
    data = read(COMPLETIONS, exchange.body)
    _check_stream_options(data)

    async def ask_release(deployment: Deployment, release: ReleaseEntry | None) -> bytes | None:
        def check() -> None:
            check_task(deployment.entry, "completions")

        sent = with_release(data, release)
        body = exchange.body if sent is data else None
        return await _answer(dispatcher, exchange, deployment, COMPLETIONS, sent, body, check)

    answer = await answer_by_release(dispatcher, exchange, data, "completions", ask_release)
    if answer is not None:
        copy_request(dispatcher, exchange, COMPLETIONS, data, answer)


def check_chat(data: dict[str, Any]) -> None:
    """Raises `DoorError` where fields that are right by themselves do not go together."""
    _check_stream_options(data)
    if data.get("top_logprobs") and not data.get("logprobs"):
        raise invalid("top_logprobs: only allowed with logprobs set to true", "top_logprobs")
    if data.get("max_tokens") is not None and data.get("max_completion_tokens") is not None:
        raise invalid("max_tokens: only one of max_tokens and max_completion_tokens is allowed", "max_tokens")
    choice = data.get("tool_choice")
    names = [tool["function"]["name"] for tool in data.get("tools") or ()]
    if choice is not None and choice not in ("none", "auto") and not names:
        raise invalid("tool_choice: only allowed with tools", "tool_choice")
    if type(choice) is dict and choice["function"]["name"] not in names:
        raise invalid(f"tool_choice: there is no tool named '{choice['function']['name']}' in tools", "tool_choice")


def check_tools(data: dict[str, Any], deployment: Deployment) -> None:
    """Raises `DoorError` where tools are sent to a model that would not see them."""
    entry = deployment.entry
    if data.get("tool_choice") == "none":
        return  # no engine gets them
    # What a deployment that never ran can do is not known yet; it is looked at again once there is an engine.
    if data.get("tools") and not entry.has_tools and (entry.tasks or entry.replicas):
        raise DoorError(
            400,
            "tools-not-offered",
            f"the chat template of the model '{entry.name}' knows no tools, so it would never see them",
            param="tools",
        )


def check_loaded_chat(data: dict[str, Any], deployment: Deployment) -> None:
    """Raises `DoorError` where the deployment, now that it is loaded, cannot answer a chat or knows no tools."""
    check_task(deployment.entry, "chat")
    check_tools(data, deployment)


def has_usage_request(data: dict[str, Any]) -> bool:
    """Whether the client asked for the usage frame of a stream."""
    return bool((data.get("stream_options") or {}).get("include_usage"))


async def _answer(
    dispatcher: Dispatcher,
    exchange: Exchange,
    deployment: Deployment,
    table: Record,
    data: dict[str, Any],
    body: bytes | None,
    check: Callable[[], None],
) -> bytes | None:
    """What the client got, where a candidate is being tried; None where nobody asks."""
    if fanout.is_needed(data, deployment):
        return await fanout.answer(dispatcher, exchange, deployment, table, data, check)
    name = data["model"]
    is_completion = table is COMPLETIONS
    content_field = "prompt" if is_completion else "messages"
    payload = payload_for(table, data, body, adapter=exchange.trace.adapter)
    call = Call(exchange.path, quarantine_body(exchange, exchange.body), payload, check, content_field)
    legacy = data.get("logprobs") if is_completion else None
    watched = Watched(data) if exchange.trace.is_tried else None
    if data.get("stream"):

        def pass_on(piece: bytes) -> None:
            if watched is not None:
                watched.take(piece)
            exchange.pass_on(piece)

        def relay(entry: ReplicaEntry) -> Relay:
            return Relay(
                exchange.trace,
                exchange.pass_on if watched is None else pass_on,
                model=name,
                has_usage_request=has_usage_request(data),
                is_framed=not is_llama_cpp(entry) and not has_usage_request(data),
                content_field=content_field,
                is_completion=is_completion,
                change=LegacyChoices(legacy).rewrite if legacy is not None and is_llama_cpp(entry) else None,
            )

        exchange.stream_type = EVENT_STREAM
        exchange.stream_headers = NO_CACHE
        await ask_for_stream(dispatcher, exchange, deployment, call, exchange.trace, relay)
        exchange.trace.signs = watched.signs() if watched is not None else None
        exchange.end()
        return watched.body if watched is not None else None
    answer, entry = await ask(dispatcher, exchange, deployment, call, exchange.trace)
    if legacy is not None and is_llama_cpp(entry):
        answer = rewritten(answer, name, LegacyChoices(legacy).rewrite)
    answer = without_timings(renamed(answer, name))
    if watched is not None:
        watched.take(answer)
        exchange.trace.signs = watched.signs()
    exchange.respond(200, with_completion_id(answer) if is_completion else answer)
    return watched.body if watched is not None else None


def is_llama_cpp(entry: ReplicaEntry) -> bool:
    """Whether the replica speaks llama.cpp's dialect."""
    return entry.protocol == "llama.cpp"


def _check_stream_options(data: dict[str, Any]) -> None:
    if data.get("stream_options") is not None and not data.get("stream"):
        raise invalid("stream_options: only allowed with stream set to true", "stream_options")
