"""DingTalk: a custom robot whose requests are signed.

Source: https://open.dingtalk.com/document/robots/custom-robot-access (text messages) and
/document/robots/customize-robot-security-settings: base64 of HMAC-SHA256 by the secret over "TIMESTAMP\\nSECRET",
the time in milliseconds. It answers 200 whatever happens; ``errcode`` tells.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from urllib.parse import quote_plus

from undercroft.watch.incidents.alert_texts import shortened, text_of
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import SENT, Outcome, Post, Response, Result, judge_status

_CHARACTERS = 4500
# "system busy", and more than 20 messages a minute.
_LATER = frozenset({-1, 130101, 410100})


def request(url: str, secret: str, message: Message, now: datetime) -> Post:
    """What the robot gets."""
    moment = str(round(now.timestamp() * 1000))
    signed = hmac.new(secret.encode(), f"{moment}\n{secret}".encode(), hashlib.sha256).digest()
    query = f"timestamp={moment}&sign={quote_plus(base64.b64encode(signed))}"
    body = {"msgtype": "text", "text": {"content": shortened(text_of(message), _CHARACTERS)}}
    joint = "&" if "?" in url else "?"
    return Post(f"{url}{joint}{query}", {}, json.dumps(body, ensure_ascii=False).encode())


def judge(response: Response) -> Outcome:
    """As the status says, then as ``errcode`` does."""
    outcome = judge_status(response)
    if outcome.result is not Result.SENT:
        return outcome
    try:
        answer = json.loads(response.body)
        code = int(answer["errcode"])
    except (ValueError, KeyError, TypeError):
        return Outcome(Result.LATER, "it did not answer as a robot of DingTalk does")
    if code == 0:
        return SENT
    said = "".join(letter for letter in str(answer.get("errmsg", "")) if letter.isprintable())[:160]
    return Outcome(Result.LATER if code in _LATER else Result.REFUSED, f"it answered {code}: {said}")
