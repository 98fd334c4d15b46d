"""LINE: a push message of the Messaging API. What has its retry key is told once, however often it is tried.

Source: https://developers.line.biz/en/reference/messaging-api/#send-push-message (a text of at most 5,000 UTF-16 units)
and /en/docs/messaging-api/retrying-api-request (409 says that it was taken before).
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime

from undercroft.watch.incidents.alert_texts import shortened, text_of
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import SENT, Outcome, Post, Response, judge_status

_CHARACTERS = 4500
_TAKEN_BEFORE = 409


def request(endpoint: str, token: str, to: str, message: Message, _now: datetime) -> Post:
    """What LINE gets."""
    body = {"to": to, "messages": [{"type": "text", "text": shortened(text_of(message), _CHARACTERS)}]}
    headers = {"Authorization": f"Bearer {token}", "X-Line-Retry-Key": str(uuid.UUID(message.key))}
    return Post(f"{endpoint}/v2/bot/message/push", headers, json.dumps(body, ensure_ascii=False).encode())


def judge(response: Response) -> Outcome:
    """As the status says; one that was taken before is sent."""
    return SENT if response.status == _TAKEN_BEFORE else judge_status(response)
