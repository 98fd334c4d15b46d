"""Notes language and topic of some chat requests for the detectors of drift; their text is not kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.trace import Trace
from undercroft.watch.probes.input_signs import language_of, topic_of

# At most so often a deployment: what many ask is known from a few.
_EVERY_SECONDS = 0.2


def note_input(trace: Trace, deployment: Deployment, data: Mapping[str, Any]) -> None:
    """Notes what the last message of a user is like, where none was looked at a moment ago.

    Args:
        trace: Of the request.
        deployment: That is asked.
        data: The checked chat request.
    """
    now = time.monotonic()
    if now - deployment.input_seen_at < _EVERY_SECONDS or trace.is_background:
        return
    text = last_words(data)
    if text:
        deployment.input_seen_at = now
        trace.input_language, trace.input_topic = language_of(text), topic_of(text)


def last_words(data: Mapping[str, Any]) -> str:
    """The text of the last message of a user; empty where there is none."""
    for message in reversed(data["messages"]):
        if message["role"] == "user":
            content = message.get("content")
            if type(content) is str:
                return content
            parts = content if type(content) is list else ()
            return " ".join(part["text"] for part in parts if type(part.get("text")) is str)
    return ""
