"""A receiver of one's own: JSON, signed as Standard Webhooks says, so that there is a library for it in most languages.

Source: https://www.standardwebhooks.com: ``webhook-signature`` is ``v1,`` and base64 of HMAC-SHA256 over
"ID.TIMESTAMP.BODY"; a secret that begins with ``whsec_`` is base64, any other is taken as it stands.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from undercroft.core.clock import to_iso
from undercroft.core.errors import InvalidError
from undercroft.watch.incidents.alert_texts import shown, text_of, title_of
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import Post

_BASE64_MARK = "whsec_"


def request(url: str, key: bytes, message: Message, now: datetime) -> Post:
    """What the receiver gets. It should refuse what is older than some minutes, and an id that it has seen."""
    moment = str(int(now.timestamp()))
    body = json.dumps(content(message, now), ensure_ascii=False, separators=(",", ":")).encode()
    signed = hmac.new(key, b".".join([message.key.encode(), moment.encode(), body]), hashlib.sha256).digest()
    headers = {
        "webhook-id": message.key,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    return Post(url, headers, body)


def content(message: Message, now: datetime) -> dict[str, Any]:
    """The message as data, and as text for whoever only shows it."""
    return {
        "type": "undercroft.alert",
        "timestamp": to_iso(now),
        "data": {
            "site": message.site,
            "language": message.language,
            "title": title_of(message),
            "text": text_of(message),
            "may_be_repeated": message.is_repeat,
            "alerts": [
                {
                    **note.to_dict(),
                    "what": shown(note, message.language).what,
                    "commands": list(shown(note, message.language).commands),
                }
                for note in message.notes
            ],
        },
    }


def signing_key(secret: str) -> bytes:
    """The bytes that sign.

    Raises:
        InvalidError: ``bad-webhook-secret``: it is too short to be one, or no base64.
    """
    try:
        is_base64 = secret.startswith(_BASE64_MARK)
        key = base64.b64decode(secret.removeprefix(_BASE64_MARK), validate=True) if is_base64 else secret.encode()
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < 16:
        raise InvalidError(
            "bad-webhook-secret",
            "alerts.webhook_secret_file: expected at least 16 bytes, as they are or as whsec_ and base64",
            hint="head -c 32 /dev/urandom | base64 -w 0 | sed s/^/whsec_/ > FILE",
        )
    return key
