"""What each service gets is what its documentation asks for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest

from tests.support.alerts import KEY, NOW, message, note
from undercroft.core.errors import InvalidError
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.alert_texts import LANGUAGES
from undercroft.watch.incidents.incidents import Incident
from undercroft.watch.incidents.notes import Event, Message
from undercroft.watch.sinks import alertmanager, dingtalk, line, slack, teams, telegram, webhook
from undercroft.watch.sinks.contract import Response, Result

# The parts of each service's documentation that a message of ours uses, with their limits.
_SLACK = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "maxLength": 4000},
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    {
                        "properties": {
                            "type": {"const": "header"},
                            "text": {
                                "properties": {
                                    "type": {"const": "plain_text"},
                                    "text": {"type": "string", "minLength": 1, "maxLength": 150},
                                    "emoji": {"type": "boolean"},
                                },
                                "required": ["type", "text"],
                            },
                        },
                        "required": ["type", "text"],
                        "additionalProperties": False,
                    },
                    {
                        "properties": {
                            "type": {"const": "section"},
                            "text": {
                                "properties": {
                                    "type": {"const": "mrkdwn"},
                                    "text": {"type": "string", "minLength": 1, "maxLength": 3000},
                                },
                                "required": ["type", "text"],
                            },
                        },
                        "required": ["type", "text"],
                        "additionalProperties": False,
                    },
                    {
                        "properties": {
                            "type": {"const": "context"},
                            "elements": {"type": "array", "minItems": 1, "maxItems": 10},
                        },
                        "required": ["type", "elements"],
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
}
_BLOCK = {
    "properties": {
        "type": {"const": "TextBlock"},
        "text": {"type": "string", "minLength": 1},
        "wrap": {"type": "boolean"},
        "weight": {"enum": ["Lighter", "Default", "Bolder"]},
        "size": {"enum": ["Small", "Default", "Medium", "Large", "ExtraLarge"]},
        "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]},
        "fontType": {"enum": ["Default", "Monospace"]},
        "spacing": {"enum": ["None", "Small", "Default", "Medium", "Large", "ExtraLarge", "Padding"]},
        "isSubtle": {"type": "boolean"},
    },
    "required": ["type", "text"],
    "additionalProperties": False,
}
_FACTS = {
    "properties": {
        "type": {"const": "FactSet"},
        "facts": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["title", "value"],
                "additionalProperties": {"type": "string"},
            },
        },
    },
    "required": ["type", "facts"],
    "additionalProperties": False,
}
_TEAMS = {
    "type": "object",
    "required": ["type", "attachments"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["contentType", "content"],
                "properties": {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": {
                        "required": ["type", "version", "body"],
                        "properties": {
                            "type": {"const": "AdaptiveCard"},
                            "version": {"enum": ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]},
                            "rtl": {"type": "boolean"},
                            "body": {"type": "array", "minItems": 1, "items": {"oneOf": [_BLOCK, _FACTS]}},
                        },
                    },
                },
            },
        },
    },
}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_ALERTMANAGER = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "additionalProperties": False,
        "properties": {
            "labels": {
                **_TEXTS,
                "required": ["alertname"],
                "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
            },
            "annotations": _TEXTS,
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
    },
}

MESSAGES = [
    message(),
    message(note(kind=Kind.LATENCY, sentence="<!channel> & *all* " * 400, cause="<x>")),
    message(*(note(number) for number in range(1, 60)), is_repeat=True),
    message(note(event=Event.RESOLVED, until=NOW), language="ar"),
    message(note(event=Event.TEST, incident=None, kind=None), language="zh"),
]


def check(schema: dict[str, Any], body: bytes) -> Any:
    plain = json.loads(body)
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(plain)
    return plain


@pytest.mark.parametrize("one", MESSAGES)
def test_slack_gets_blocks_within_its_limits(one: Message) -> None:
    """Nothing in them calls a channel or makes a link."""
    plain = check(_SLACK, slack.request("https://hooks.example/x", one, NOW).body)
    read = [plain["text"], *(block["text"]["text"] for block in plain["blocks"] if block["type"] == "section")]
    assert not any("<" in text for text in read)


def test_slack_shows_the_command_as_code() -> None:
    """To be copied as it stands."""
    sections = [block["text"]["text"] for block in slack.blocks(message()) if block["type"] == "section"]
    assert sections[-1] == "*To act:*\n```undercroft probe report bot\nundercroft incident show 12```"


@pytest.mark.parametrize("one", MESSAGES)
def test_teams_gets_an_adaptive_card_within_its_limits(one: Message) -> None:
    """At most 28 KB, from right to left where the language is."""
    body = teams.request("https://flow.example/x", one, NOW).body
    plain = check(_TEAMS, body)
    assert len(body) < 28 * 1024
    assert plain["attachments"][0]["content"]["rtl"] is (one.language == "ar")


def test_teams_shows_how_grave_it_is() -> None:
    """Red for what is critical, green for what is over, amber between."""
    colours = [
        teams.card(message(one))["body"][0]["color"]
        for one in (note(), note(event=Event.RESOLVED), note(severity=Severity.WARNING))
    ]
    assert colours == ["Attention", "Good", "Warning"]


@pytest.mark.parametrize("one", MESSAGES)
def test_telegram_gets_plain_text_within_its_limits(one: Message) -> None:
    """The token stands in the address only."""
    made = telegram.request("https://api.telegram.org", "123:abc", "-100", one, NOW)
    assert made.url == "https://api.telegram.org/bot123:abc/sendMessage"
    plain = json.loads(made.body)
    assert plain["chat_id"] == "-100"
    assert 1 <= len(plain["text"].encode("utf-16-le")) // 2 <= 4096
    assert "parse_mode" not in plain
    assert b"123:abc" not in made.body


def test_telegram_says_how_long_to_wait() -> None:
    """In the body, where the headers say nothing."""
    body = b'{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":35}}'
    outcome = telegram.judge(Response(429, {}, body))
    assert (outcome.result, outcome.wait_seconds) == (Result.LATER, 35)
    assert telegram.judge(Response(200, {}, b'{"ok":true,"result":{}}')).result is Result.SENT
    assert telegram.judge(Response(400, {}, b'{"ok":false,"parameters":[]}')).result is Result.REFUSED


@pytest.mark.parametrize("one", MESSAGES)
def test_line_gets_a_text_with_a_retry_key(one: Message) -> None:
    """A UUID that is the same each time the message is tried."""
    made = line.request("https://api.line.me", "token", "U123", one, NOW)
    assert made.url == "https://api.line.me/v2/bot/message/push"
    assert made.headers["Authorization"] == "Bearer token"
    assert made.headers["X-Line-Retry-Key"] == "01234567-89ab-cdef-0123-456789abcdef"
    plain = json.loads(made.body)
    assert plain["to"] == "U123"
    (text,) = plain["messages"]
    assert text["type"] == "text"
    assert 1 <= len(text["text"].encode("utf-16-le")) // 2 <= 5000


def test_line_has_what_it_took_before() -> None:
    """409 answers a retry of what went through."""
    assert line.judge(Response(409, {}, b"{}")).result is Result.SENT
    assert line.judge(Response(401, {}, b"{}")).result is Result.REFUSED


def test_dingtalk_gets_a_signed_text() -> None:
    """Signed as its documentation's own example: base64 of HMAC-SHA256 over the time and the secret."""
    made = dingtalk.request("https://oapi.dingtalk.com/robot/send?access_token=t", "SECabc", message(), NOW)
    query = parse_qs(urlsplit(made.url).query)
    moment = query["timestamp"][0]
    assert moment == str(int(NOW.timestamp() * 1000))
    signed = hmac.new(b"SECabc", f"{moment}\nSECabc".encode(), hashlib.sha256).digest()
    assert query["sign"] == [base64.b64encode(signed).decode()]
    assert query["access_token"] == ["t"]
    plain = json.loads(made.body)
    assert plain["msgtype"] == "text"
    assert len(made.body) < 20_000


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"errcode":0,"errmsg":"ok"}', Result.SENT),
        (b'{"errcode":310000,"errmsg":"sign not match"}', Result.REFUSED),
        (b'{"errcode":130101,"errmsg":"send too fast"}', Result.LATER),
        (b"<html>", Result.LATER),
        (b"[]", Result.LATER),
    ],
)
def test_dingtalk_tells_in_its_body(body: bytes, wanted: Result) -> None:
    """It answers 200 whatever happens."""
    assert dingtalk.judge(Response(200, {}, body)).result is wanted


def test_the_webhook_is_signed_as_standard_webhooks_says() -> None:
    """Anybody with the secret can check it; one changed byte does not pass."""
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    made = webhook.request("http://10.0.0.5/hook", webhook.signing_key(secret), message(), NOW)
    moment = made.headers["webhook-timestamp"]
    assert moment == str(int(NOW.timestamp()))
    signed = hmac.new(b"k" * 32, f"{KEY}.{moment}.".encode() + made.body, hashlib.sha256).digest()
    assert made.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert made.headers["webhook-id"] == KEY
    plain = json.loads(made.body)
    (alert,) = plain["data"]["alerts"]
    assert (plain["type"], alert["incident"], alert["kind"]) == ("undercroft.alert", 12, "probe-failing")
    assert alert["commands"] == ["undercroft probe report bot", "undercroft incident show 12"]


@pytest.mark.parametrize("secret", ["short", "whsec_!!!", "whsec_" + base64.b64encode(b"short").decode()])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    """And not shown."""
    with pytest.raises(InvalidError, match="bad-webhook-secret") as caught:
        webhook.signing_key(secret)
    assert secret not in str(caught.value)


def incident(**others: Any) -> Incident:
    fields: dict[str, Any] = {
        "id": 7,
        "kind": Kind.DISK_LOW,
        "subject": "home",
        "severity": Severity.WARNING,
        "since": NOW,
        "opened_at": NOW,
        "sentence": "",
        "figures": {"free": "1.2 GiB"},
        **others,
    }
    return Incident(**fields)


@pytest.mark.parametrize("language", LANGUAGES)
def test_alertmanager_gets_postable_alerts(language: str) -> None:
    """Open ones end later unless they are sent again; resolved ones ended when they did."""
    over = incident(resolved_at=NOW + timedelta(minutes=3), cause="a blob store beside it")
    made = alertmanager.request("http://127.0.0.1:9093", [incident(), over], language, "cellar-1", NOW)
    assert made.url == "http://127.0.0.1:9093/api/v2/alerts"
    still, ended = check(_ALERTMANAGER, made.body)
    assert still["labels"] == {
        "alertname": "UndercroftDiskLow",
        "service": "undercroft",
        "site": "cellar-1",
        "subject": "home",
        "severity": "warning",
    }
    assert (still["startsAt"], still["endsAt"]) == ("2026-11-21T07:00:00.000Z", "2026-11-21T07:04:00.000Z")
    assert ended["endsAt"] == "2026-11-21T07:03:00.000Z"
    assert ended["annotations"]["likely_cause"] == "a blob store beside it"
