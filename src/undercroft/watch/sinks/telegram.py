"""Telegram: ``sendMessage`` of the Bot API, plain text.

Source: https://core.telegram.org/bots/api#sendmessage (1 to 4,096 characters), and #responseparameters for
``retry_after``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from undercroft.watch.incidents.alert_texts import shortened, text_of
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import Outcome, Post, Response, judge_status, seconds_of

_CHARACTERS = 4000


def request(endpoint: str, token: str, chat: str, message: Message, _now: datetime) -> Post:
    """What Telegram gets."""
    body = {
        "chat_id": chat,
        "text": shortened(text_of(message), _CHARACTERS),
        "link_preview_options": {"is_disabled": True},
    }
    return Post(f"{endpoint}/bot{token}/sendMessage", {}, json.dumps(body, ensure_ascii=False).encode())


def judge(response: Response) -> Outcome:
    """As the status says; how long to wait stands in the body."""
    outcome = judge_status(response)
    wait = _parameters(response.body).get("retry_after")
    return replace(outcome, wait_seconds=seconds_of(wait)) if wait is not None else outcome


def _parameters(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)["parameters"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
