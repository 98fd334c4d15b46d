"""Which sinks the settings name, each ready to take messages."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.core.settings import AlertSettings
from undercroft.watch.sinks import dingtalk, line, slack, teams, telegram, webhook
from undercroft.watch.sinks.contract import Sink, check_address, judge_status, read_secret
from undercroft.watch.sinks.mail import MailSink
from undercroft.watch.sinks.posting import HttpSink, Wire

ALERTMANAGER = "alertmanager"
SINKS = ("slack", "teams", "webhook", "telegram", "line", "dingtalk", "email")
_TOKEN = re.compile(r"[A-Za-z0-9:._~+/=-]+")
# Those whose service drops a message that it has seen.
WITH_MEMORY = ("webhook", "line")


def configured(settings: AlertSettings) -> tuple[str, ...]:
    """Names of the sinks that the settings name, in the order of `SINKS`."""
    marks = {
        "slack": settings.slack_url_file,
        "teams": settings.teams_url_file,
        "webhook": settings.webhook_url_file,
        "telegram": settings.telegram_token_file,
        "line": settings.line_token_file,
        "dingtalk": settings.dingtalk_url_file,
        "email": settings.email_host,
    }
    return tuple(name for name in SINKS if marks[name])


def told_of_escalations(settings: AlertSettings) -> tuple[str, ...]:
    """Names of the sinks that get what is open for long."""
    names = configured(settings)
    return tuple(name for name in names if name in settings.escalate_to) if settings.escalate_to else names


def site_of(settings: AlertSettings) -> str:
    """What messages call this server."""
    return settings.site or socket.gethostname()


def wire_of(settings: AlertSettings) -> Wire:
    """How requests leave this machine."""
    return Wire(settings.timeout_seconds, settings.ca_file)


def alertmanager_url(settings: AlertSettings) -> str | None:
    """Where Alertmanager is; None where none is named.

    Raises:
        UndercroftError: The file cannot be used.
    """
    if settings.alertmanager_url_file is None:
        return None
    what = "alertmanager_url_file"
    return check_address(read_secret(settings.alertmanager_url_file, what), what, must_be_secret=False)


def make_sink(name: str, settings: AlertSettings) -> Sink:
    """A sink, with its secrets read.

    Args:
        name: One of `configured`.
        settings: In force.

    Raises:
        UndercroftError: A file, an address or a value cannot be used.
    """
    return _MAKERS[name](settings)


def _slack(settings: AlertSettings) -> Sink:
    url = _url(settings.slack_url_file, "slack_url_file")
    return HttpSink("slack", False, partial(slack.request, url), judge_status, wire_of(settings))


def _teams(settings: AlertSettings) -> Sink:
    url = _url(settings.teams_url_file, "teams_url_file")
    return HttpSink("teams", False, partial(teams.request, url), judge_status, wire_of(settings))


def _webhook(settings: AlertSettings) -> Sink:
    url = _url(settings.webhook_url_file, "webhook_url_file", must_be_secret=False)
    key = webhook.signing_key(_secret(settings.webhook_secret_file, "webhook_secret_file"))
    return HttpSink("webhook", True, partial(webhook.request, url, key), judge_status, wire_of(settings))


def _telegram(settings: AlertSettings) -> Sink:
    endpoint = check_address(settings.telegram_endpoint, "telegram_endpoint", must_be_secret=True)
    token = _token(settings.telegram_token_file, "telegram_token_file")
    chat = _given(settings.telegram_chat, "telegram_chat")
    return HttpSink(
        "telegram", False, partial(telegram.request, endpoint, token, chat), telegram.judge, wire_of(settings)
    )


def _line(settings: AlertSettings) -> Sink:
    endpoint = check_address(settings.line_endpoint, "line_endpoint", must_be_secret=True)
    token = _token(settings.line_token_file, "line_token_file")
    to = _given(settings.line_to, "line_to")
    return HttpSink("line", True, partial(line.request, endpoint, token, to), line.judge, wire_of(settings))


def _dingtalk(settings: AlertSettings) -> Sink:
    url = _url(settings.dingtalk_url_file, "dingtalk_url_file")
    secret = _secret(settings.dingtalk_secret_file, "dingtalk_secret_file")
    return HttpSink("dingtalk", False, partial(dingtalk.request, url, secret), dingtalk.judge, wire_of(settings))


def _mail(settings: AlertSettings) -> Sink:
    password = ""
    if settings.email_user:
        password = _secret(settings.email_password_file, "email_password_file")
    return MailSink(
        settings.email_host,
        settings.email_port,
        settings.email_security,
        settings.email_user,
        password,
        _given(settings.email_from, "email_from"),
        tuple(settings.email_to),
        wire_of(settings),
    )


def _url(file: Path | None, what: str, *, must_be_secret: bool = True) -> str:
    return check_address(_secret(file, what), what, must_be_secret=must_be_secret)


def _secret(file: Path | None, what: str) -> str:
    if file is None:
        raise InvalidError("alert-setting-missing", f"alerts.{what} is missing", hint="docs/guide/alerts.md")
    return read_secret(file, what)


def _token(file: Path | None, what: str) -> str:
    """A secret that stands in an address or a header, where not every letter may."""
    found = _secret(file, what)
    if not _TOKEN.fullmatch(found):
        raise InvalidError("bad-alert-file", f"alerts.{what}: expected a token of letters and digits in {file}")
    return found


def _given(value: str, what: str) -> str:
    if not value:
        raise InvalidError("alert-setting-missing", f"alerts.{what} is missing", hint="docs/guide/alerts.md")
    return value


_MAKERS: dict[str, Callable[[AlertSettings], Sink]] = {
    "slack": _slack,
    "teams": _teams,
    "webhook": _webhook,
    "telegram": _telegram,
    "line": _line,
    "dingtalk": _dingtalk,
    "email": _mail,
}
