"""Sinks against real servers on loopback: what they answer, and what they do not."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from pydantic import ValidationError

from tests.support.alerts import NOW, message, note, receiving
from tests.support.scripted import http, scripted
from tests.support.server import free_port
from undercroft.core.errors import InvalidError, UnavailableError, UndercroftError
from undercroft.core.settings import AlertSettings
from undercroft.watch.sinks.all import SINKS, configured, make_sink, told_of_escalations
from undercroft.watch.sinks.contract import Outcome, Post, Result
from undercroft.watch.sinks.mail import MailSink
from undercroft.watch.sinks.posting import Wire, post

_TLS = Path(__file__).parent.parent.parent.parent / "support" / "tls"


def settings(folder: Path, url: str, **others: Any) -> AlertSettings:
    """Every sink that speaks HTTP, told to go to one place."""
    secrets = {
        "slack_url": f"{url}/slack",
        "teams_url": f"{url}/teams",
        "webhook_url": f"{url}/hook",
        "webhook_secret": "a-secret-of-more-than-16-bytes",
        "telegram_token": "123:abc",
        "line_token": "line-token",
        "dingtalk_url": f"{url}/robot/send?access_token=t",
        "dingtalk_secret": "SECabc",
    }
    files = {}
    for name, secret in secrets.items():
        files[f"{name}_file"] = folder / name
        (folder / name).write_text(f"{secret}\n", encoding="utf-8")
    places = {"telegram_endpoint": url, "line_endpoint": url, "telegram_chat": "-100", "line_to": "U1"}
    return AlertSettings(**{**files, **places, "timeout_seconds": 5.0, **others})


HTTP_SINKS = [name for name in SINKS if name != "email"]


@pytest.mark.parametrize("name", HTTP_SINKS)
def test_a_sink_is_sent_or_later_or_refused_as_the_service_says(tmp_path: Path, name: str) -> None:
    """2xx is sent, 429 and 5xx are later with the time that is asked for, any other is refused, a redirection too."""
    with receiving() as receiver:
        receiver.answer(200, b'{"errcode":0}')
        sink = make_sink(name, settings(tmp_path, receiver.url))
        assert sink.send(message(), NOW) == Outcome(Result.SENT)
        assert len(receiver.received) == 1
        receiver.answer(429, Retry_After="30")
        assert sink.send(message(), NOW) == Outcome(Result.LATER, "it answered 429", 30.0)
        receiver.answer(503, b"busy")
        assert sink.send(message(), NOW) == Outcome(Result.LATER, "it answered 503: busy")
        receiver.answer(404)
        assert sink.send(message(), NOW).result is Result.REFUSED
        receiver.answer(302, Location=f"{receiver.url}/elsewhere")
        assert sink.send(message(), NOW).result is Result.REFUSED
        assert len(receiver.received) == 5


@pytest.mark.parametrize("name", HTTP_SINKS)
def test_nobody_there_is_later_and_says_no_secret(tmp_path: Path, name: str) -> None:
    """The problem is shown in status and lists, so no address stands in it."""
    outcome = make_sink(name, settings(tmp_path, f"http://127.0.0.1:{free_port()}")).send(message(), NOW)
    assert outcome == Outcome(Result.LATER, "no answer: Connection refused")


def test_a_server_that_never_ends_its_answer_is_given_up() -> None:
    """However often it sends a byte."""
    slow = scripted(http("200 OK", "x" * 1000), pause_seconds=0.05)
    with slow as port, pytest.raises(TimeoutError, match=r"no answer in 0\.5 s"):
        post(Post(f"http://127.0.0.1:{port}/", {}, b"{}"), Wire(0.5))


def test_a_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    """One's own is named in the settings; without that nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_TLS / "cert.pem", _TLS / "key.pem")
    with receiving(context) as receiver:
        trusted = settings(tmp_path, f"https://localhost:{receiver.port}", ca_file=_TLS / "cert.pem")
        assert make_sink("slack", trusted).send(message(), NOW) == Outcome(Result.SENT)
        unknown = settings(tmp_path, f"https://localhost:{receiver.port}")
        refused = make_sink("slack", unknown).send(message(), NOW)
    assert (refused.result, "certificate is not trusted" in refused.problem) == (Result.LATER, True)
    assert len(receiver.received) == 1


def test_only_what_the_settings_name_is_a_sink(tmp_path: Path) -> None:
    """And escalations go to some of them, or to all."""
    assert configured(AlertSettings()) == ()
    given = settings(tmp_path, "http://127.0.0.1:1", escalate_to=["line", "email"])
    assert configured(given) == tuple(HTTP_SINKS)
    assert told_of_escalations(given) == ("line",)
    assert told_of_escalations(settings(tmp_path, "http://127.0.0.1:1")) == tuple(HTTP_SINKS)
    with pytest.raises(ValidationError, match="escalate_to"):
        AlertSettings.model_validate({"escalate_to": ["pager"]})


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("slack", {"slack_url_file": "missing"}, "alerts.slack_url_file: cannot read"),
        ("slack", {"slack_url_file": "empty"}, "expected one line"),
        ("slack", {"slack_url_file": "text"}, "expected the http"),
        ("slack", {"slack_url_file": "plain"}, "expected https"),
        ("webhook", {"webhook_secret_file": None}, "alerts.webhook_secret_file is missing"),
        ("telegram", {"telegram_token_file": "words"}, "expected a token"),
        ("telegram", {"telegram_chat": ""}, "alerts.telegram_chat is missing"),
        ("line", {"line_to": ""}, "alerts.line_to is missing"),
        ("dingtalk", {"dingtalk_secret_file": None}, "alerts.dingtalk_secret_file is missing"),
        ("telegram", {"telegram_endpoint": "http://example.org"}, "expected https"),
    ],
)
def test_what_cannot_be_used_says_which_setting(tmp_path: Path, name: str, changed: dict[str, Any], said: str) -> None:
    """Never what the file holds."""
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "text").write_text("hunter2\n", encoding="utf-8")
    (tmp_path / "plain").write_text("http://hooks.example.org/hunter2\n", encoding="utf-8")
    (tmp_path / "words").write_text("hunter2 and more\n", encoding="utf-8")
    paths = {key: tmp_path / value if key.endswith("_file") and value else value for key, value in changed.items()}
    with pytest.raises(UndercroftError, match=said) as caught:
        make_sink(name, settings(tmp_path, "http://127.0.0.1:1", **paths))
    assert "hunter2" not in str(caught.value)


class _Box:
    """Keeps letters; refuses addresses that begin with ``no``."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.answer = "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address.startswith("no"):
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.letters.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return self.answer


class _Post(Controller):
    """An SMTP server with or without TLS and a login."""

    def __init__(self, box: _Box, security: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_TLS / "cert.pem", _TLS / "key.pem")
        self._starttls = context if security == "starttls" else None
        super().__init__(
            box, hostname="localhost", port=free_port(), ssl_context=context if security == "tls" else None
        )
        self._security = security

    def factory(self) -> SMTP:
        def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
            is_known = isinstance(data, LoginPassword) and data.password == b"open sesame"
            return AuthResult(success=is_known, handled=False)

        return SMTP(
            self.handler,
            hostname="localhost",
            tls_context=self._starttls,
            require_starttls=self._starttls is not None,
            authenticator=check,
            auth_required=self._security != "plain",
            auth_require_tls=self._security == "starttls",
            enable_SMTPUTF8=True,
        )


@contextmanager
def posting(security: str) -> Iterator[tuple[_Box, int]]:
    box = _Box()
    server = _Post(box, security)
    server.start()
    try:
        yield box, server.port
    finally:
        server.stop()


def mail(port: int, security: Any = "plain", **others: Any) -> MailSink:
    fields: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "security": security,
        "user": "" if security == "plain" else "cellar",
        "password": "open sesame",
        "sender": "cellar@example.org",
        "recipients": ("anna@example.org", "ben@example.org"),
        "wire": Wire(20.0, _TLS / "cert.pem"),
        **others,
    }
    return MailSink(**fields)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
@pytest.mark.parametrize("security", ["plain", "starttls", "tls"])
def test_a_letter_arrives_over_every_kind_of_connection(security: str) -> None:
    """With a subject in the user's language, a Message-ID that a copy would share, and no answer wanted."""
    with posting(security) as (box, port):
        assert mail(port, security).send(message(note(), language="th"), NOW) == Outcome(Result.SENT)
    ((recipients, letter),) = box.letters
    assert recipients == ["anna@example.org", "ben@example.org"]
    assert letter["Subject"].startswith("[ใหม่ · วิกฤต] cellar-1: bot")
    assert letter["Message-ID"] == "<0123456789abcdef0123456789abcdef@undercroft.invalid>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "undercroft incident show 12" in letter.get_content()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
def test_what_a_mail_server_says_decides() -> None:
    """A wrong password and unknown addresses are refused, a full box is tried later, some of the addresses are told."""
    with posting("tls") as (_, port):
        wrong = mail(port, "tls", password="open barley").send(message(), NOW)
        assert (wrong.result, wrong.problem) == (Result.REFUSED, "it answered 535")
    with posting("plain") as (box, port):
        nobody = mail(port, recipients=("nobody@example.org",)).send(message(), NOW)
        assert nobody.result is Result.REFUSED
        some = mail(port, recipients=("nobody@example.org", "anna@example.org")).send(message(), NOW)
        assert some == Outcome(Result.SENT, "1 addresses were refused")
        box.answer = "452 no room"
        assert mail(port).send(message(), NOW).result is Result.LATER
        lacks = mail(port, "starttls", user="").send(message(), NOW)
        assert (lacks.result, "STARTTLS" in lacks.problem) == (Result.REFUSED, True)
    assert mail(free_port()).send(message(), NOW).result is Result.LATER


def test_a_mail_server_that_only_begins_is_given_up() -> None:
    """A byte of its greeting now and then keeps nobody."""
    with scripted(b"220 " + b"x" * 1000, pause_seconds=0.05) as port:
        done: list[Outcome] = []
        sending = threading.Thread(target=lambda: done.append(mail(port, wire=Wire(0.5)).send(message(), NOW)))
        sending.start()
        sending.join(30)
    assert [outcome.result for outcome in done] == [Result.LATER]


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"recipients": ()}, "no-recipient"),
        ({"user": "anna"}, "password-in-the-clear"),
        ({"sender": "cellar"}, "bad-email-address"),
        ({"recipients": ("a@b.c\nBcc: x@y.z",)}, "bad-email-address"),
    ],
)
def test_letters_that_cannot_be_right_are_refused(others: dict[str, Any], code: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidError, match=code):
        mail(25, **others)


def test_a_file_of_certificates_that_is_none_is_said(tmp_path: Path) -> None:
    """It is a setting that cannot be used."""
    (tmp_path / "ca.pem").write_text("none", encoding="utf-8")
    with pytest.raises(UnavailableError, match="bad-ca-file"):
        Wire(1.0, tmp_path / "ca.pem").tls()
