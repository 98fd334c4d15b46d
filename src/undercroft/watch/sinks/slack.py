"""Slack: an incoming webhook, blocks of Block Kit.

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/block-kit/blocks: a header has 150 characters, a section 3,000, a message 50 blocks.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from undercroft.watch.incidents.alert_texts import gathered_lines, shortened, shown, title_of, word
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import Post

_HEADER_CHARACTERS = 150
_SECTION_CHARACTERS = 2900


def request(url: str, message: Message, _now: datetime) -> Post:
    """What Slack gets: the title for notifications, and blocks for the channel."""
    body = {"text": _escaped(title_of(message)), "blocks": blocks(message)}
    return Post(url, {}, json.dumps(body, ensure_ascii=False).encode())


def blocks(message: Message) -> list[dict[str, Any]]:
    """A header, what happened, its figures, and the commands; for several notes a line each."""
    header = {"type": "plain_text", "text": shortened(title_of(message), _HEADER_CHARACTERS), "emoji": False}
    found: list[dict[str, Any]] = [{"type": "header", "text": header}]
    if len(message.notes) == 1:
        one = shown(message.notes[0], message.language)
        found.append(_section(_escaped(one.what)))
        if one.lines:
            found.append(_section("\n".join(f"*{_escaped(label)}:* {_escaped(text)}" for label, text in one.lines)))
        if one.commands:
            commands = "\n".join(map(_escaped, one.commands))
            found.append(_section(f"*{_escaped(word('todo', message.language))}:*\n```{commands}```"))
    else:
        gathered = word("gathered", message.language).format(count=len(message.notes))
        found.append(_section(_escaped(gathered)))
        # A section each, so that none is cut in the middle.
        found += [_section(f"• {_escaped(line)}") for line in gathered_lines(message)]
    if message.is_repeat:
        text = {"type": "mrkdwn", "text": _escaped(word("repeated", message.language))}
        found.append({"type": "context", "elements": [text]})
    return found


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": shortened(text, _SECTION_CHARACTERS)}}


def _escaped(text: str) -> str:
    """Slack's three letters of control; without them nothing can call a channel or show a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
