"""Microsoft Teams: a workflow with the trigger "When a Teams webhook request is received", an adaptive card.

Source: https://learn.microsoft.com/connectors/teams (a message with attachments), https://adaptivecards.io/explorer
(version 1.5, of which Teams shows all that is used here); a message has at most 28 KB.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from undercroft.watch.incidents.alert_texts import gathered_lines, gravest, is_bad, shown, title_of, word
from undercroft.watch.incidents.notes import Event, Message
from undercroft.watch.sinks.contract import Post

_CARD = "application/vnd.microsoft.card.adaptive"


def request(url: str, message: Message, _now: datetime) -> Post:
    """What the workflow gets."""
    attachment = {"contentType": _CARD, "contentUrl": None, "content": card(message)}
    body = {"type": "message", "attachments": [attachment]}
    return Post(url, {}, json.dumps(body, ensure_ascii=False).encode())


def card(message: Message) -> dict[str, Any]:
    """A title, what happened, its figures, and the commands; for several notes a line each."""
    title = _block(title_of(message), weight="Bolder", size="Medium", color=_colour(message))
    body: list[dict[str, Any]] = [title]
    if len(message.notes) == 1:
        one = shown(message.notes[0], message.language)
        body.append(_block(one.what))
        if one.lines:
            facts = [{"title": label, "value": text} for label, text in one.lines]
            body.append({"type": "FactSet", "facts": facts})
        if one.commands:
            body.append(_block(word("todo", message.language), weight="Bolder"))
            body += [_block(command, fontType="Monospace", spacing="None") for command in one.commands]
    else:
        body.append(_block(word("gathered", message.language).format(count=len(message.notes))))
        body += [_block(f"• {line}", spacing="Small") for line in gathered_lines(message)]
    if message.is_repeat:
        body.append(_block(word("repeated", message.language), isSubtle=True))
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "rtl": message.language == "ar",
        "msteams": {"width": "Full"},
        "body": body,
    }


def _block(text: str, **others: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **others}


def _colour(message: Message) -> str:
    if is_bad(message):
        return "Attention"
    return "Good" if gravest(message).event in (Event.RESOLVED, Event.TEST) else "Warning"
