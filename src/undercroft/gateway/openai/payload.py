"""What of a checked request goes to an engine, and how each kind of engine wants it said.

The client's own bytes are sent where nothing has to change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from undercroft.gateway.errors import DoorError, invalid
from undercroft.gateway.openai import kserve
from undercroft.gateway.openai.fields import MESSAGE, forwarded
from undercroft.gateway.openai.kinds import Record
from undercroft.serving.snapshot import ReplicaEntry

_PENALTY = "repetition_penalty"
_TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})


def payload_for(
    table: Record, data: dict[str, Any], body: bytes | None, *, adapter: str | None = None
) -> Callable[[ReplicaEntry], bytes]:
    """A function from a replica to the body that it gets; it raises `DoorError` for one that lacks the adapter.

    Args:
        table: What the request may have.
        data: The checked request.
        body: Its bytes as they came; None where ``data`` says something else.
        adapter: Of the replica, that the client asked for by its name; None is the base.
    """
    common = _common(table, data)

    def payload(entry: ReplicaEntry) -> bytes:
        if entry.kserve is not None:
            return kserve.request_body(data, entry.kserve)
        if adapter is not None and adapter not in entry.adapters:
            raise _not_loaded(adapter)
        is_llama_cpp = entry.protocol == "llama.cpp"
        changed = _for_llama_cpp(common, entry, adapter) if is_llama_cpp else _for_openai(common, entry, adapter)
        return body if changed is data and body is not None else orjson.dumps(changed)

    return payload


def _common(table: Record, data: dict[str, Any]) -> dict[str, Any]:
    """What no engine sees, and what every engine understands the same way; ``data`` itself where nothing changes."""
    changed = forwarded(table, data)
    if data.get("tool_choice") == "none":
        # Engines put the tools into the prompt all the same, where they cost tokens and get called.
        changed = {name: value for name, value in changed.items() if name not in _TOOL_FIELDS}
    messages = data.get("messages")
    if messages is not None:
        rewritten = [_message(message) for message in messages]
        if any(new is not old for new, old in zip(rewritten, messages, strict=True)):
            changed = {**changed, "messages": rewritten}
    return changed


def _message(message: dict[str, Any]) -> dict[str, Any]:
    role = message["role"]
    fields = MESSAGE.records[role].fields
    if any(call["function"]["arguments"] == "" for call in message.get("tool_calls") or ()):
        message = {**message, "tool_calls": [_with_arguments(call) for call in message["tool_calls"]]}
    if role == "developer":
        message = {**message, "role": "system"}  # chat templates know the older name
    if all(name in fields and fields[name].is_forwarded for name in message):
        return message
    return {name: value for name, value in message.items() if name in fields and fields[name].is_forwarded}


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A call whose arguments are JSON, as chat templates expect; clients write an empty text for none."""
    function = call["function"]
    return {**call, "function": {**function, "arguments": function["arguments"] or "{}"}}


def _for_llama_cpp(data: dict[str, Any], entry: ReplicaEntry, adapter: str | None) -> dict[str, Any]:
    changed = data
    if data.get("truncate"):
        raise invalid("truncate: the engine of this model cuts nothing; send shorter texts", "truncate")
    choice = data.get("tool_choice")
    if type(choice) is dict:
        # llama.cpp reads words only, and takes anything else silently for "auto".
        name = choice["function"]["name"]
        tools = [tool for tool in data["tools"] if tool["function"]["name"] == name]
        changed = {**changed, "tools": tools, "tool_choice": "required"}
    if type(data.get("logprobs")) is int:
        # The older API counts from 0, where 0 still means the chosen tokens.
        changed = {**changed, "logprobs": max(1, data["logprobs"])}
    if entry.adapters:
        # A request that names no adapter after one that did is answered with the other's cache, so each is named.
        scales = [{"id": index, "scale": float(name == adapter)} for index, name in enumerate(entry.adapters)]
        changed = {**changed, "lora": scales}
    return changed


def _for_openai(data: dict[str, Any], entry: ReplicaEntry, adapter: str | None) -> dict[str, Any]:
    changed = data
    if adapter is not None:
        changed = {**changed, "model": adapter}
    elif entry.upstream_model is not None and entry.upstream_model != data["model"]:
        changed = {**changed, "model": entry.upstream_model}
    if "repeat_penalty" in changed:
        # OpenAI has none; every engine but llama.cpp that has one calls it so.
        changed = {_PENALTY if name == "repeat_penalty" else name: value for name, value in changed.items()}
    if data.get("stream") and not (data.get("stream_options") or {}).get("include_usage"):
        # Metering needs it; the client, which did not ask, does not get to see it.
        changed = {**changed, "stream_options": {"include_usage": True}}
    return changed


def _not_loaded(adapter: str) -> DoorError:
    """While replicas with other adapters take the place of these; a client that tries again finds one."""
    return DoorError(
        503,
        "model-loading",
        f"the adapter '{adapter}' is being loaded, or was taken away just now",
        source="engine",
        retry_after_seconds=1,
    )
