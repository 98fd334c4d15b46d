"""What the door notes of chat requests for the detectors of drift."""

from __future__ import annotations

import math
from typing import Any

import pytest

from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.openai.input_signs import last_words, note_input
from undercroft.gateway.trace import Trace
from undercroft.serving.snapshot import DeploymentEntry

ENTRY = DeploymentEntry("bot", "ready", "", (), False, 0, None, 1, ())


def asked(content: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "system", "content": "Du bist nett und hilfst."}, {"role": "user", "content": content}]
    }


def test_language_and_topic_are_noted() -> None:
    """Of the last message of a user, as two short words; not of the system's."""
    trace = Trace()
    note_input(trace, Deployment(ENTRY), asked("Where is the parcel that I paid for?"))
    assert trace.input_language == "en"
    assert trace.input_topic in range(16)


def test_not_every_request_is_looked_at() -> None:
    """One that comes right after another that was looked at costs nothing."""
    deployment, trace = Deployment(ENTRY), Trace()
    deployment.input_seen_at = math.inf
    note_input(trace, deployment, asked("Where is the parcel?"))
    assert (trace.input_language, trace.input_topic) == (None, None)


def test_standard_questions_are_not_counted_as_users() -> None:
    """What waits behind everybody else says nothing of what users ask."""
    trace = Trace()
    trace.is_background = True
    note_input(trace, Deployment(ENTRY), asked("Where is the parcel?"))
    assert trace.input_language is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("one", "one"),
        ([{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "text", "text": "two"}], "one two"),
        (None, ""),
    ],
)
def test_messages_in_parts_are_read(content: Any, words: str) -> None:
    """Parts without text are left out; a message without any has no words."""
    assert last_words(asked(content)) == words


def test_a_chat_without_a_user_has_no_words() -> None:
    """A system prompt alone tells nothing of users."""
    assert last_words({"messages": [{"role": "system", "content": "hello"}]}) == ""
