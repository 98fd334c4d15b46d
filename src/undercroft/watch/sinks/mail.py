"""E-mail over SMTP: STARTTLS, TLS from the beginning, or in the clear within a house.

Source: RFC 5321, 5322, 3207, 8314; ``Auto-Submitted`` (RFC 3834) keeps out-of-office answers away.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_FORM
from email.utils import format_datetime
from typing import Any, Literal

from undercroft.core.errors import InvalidError
from undercroft.watch.incidents.alert_texts import text_of, title_of
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import SENT, Outcome, Result
from undercroft.watch.sinks.posting import Wire, why

_PORTS = {"starttls": 587, "tls": 465, "plain": 25}


@dataclass(frozen=True, slots=True)
class MailSink:
    """An SMTP server.

    Args:
        host: Its name.
        port: 0 is the usual one.
        security: How the connection is sealed.
        user: Who logs in; nobody where it is empty.
        password: Of the user.
        sender: Address.
        recipients: Addresses.
        wire: How long it may take, and what is trusted.
    """

    host: str
    port: int
    security: Literal["starttls", "tls", "plain"]
    user: str
    password: str
    sender: str
    recipients: tuple[str, ...]
    wire: Wire
    name: str = "email"
    has_memory: bool = False

    def __post_init__(self) -> None:
        if not self.recipients:
            raise InvalidError("no-recipient", "alerts.email_to: expected an address", hint="docs/guide/alerts.md")
        if self.security == "plain" and self.user:
            raise InvalidError(
                "password-in-the-clear",
                "alerts.email_user: a password is not sent in the clear",
                hint="set alerts.email_security to starttls or tls",
            )
        for address in (self.sender, *self.recipients):
            check_address(address)

    def send(self, message: Message, now: datetime) -> Outcome:
        """One try."""
        try:
            with contextlib.closing(_Cutter(self.wire.timeout_seconds)) as cutter, self._connect(cutter) as server:
                if self.security == "starttls":
                    server.starttls(context=self.wire.tls())
                if self.user:
                    server.login(self.user, self.password)
                refused = server.send_message(self.compose(message, now))
        except smtplib.SMTPRecipientsRefused as error:
            return _judged(min(code for code, _ in error.recipients.values()), "nobody of alerts.email_to is taken")
        except smtplib.SMTPResponseException as error:
            return _judged(error.smtp_code, f"it answered {error.smtp_code}")
        except smtplib.SMTPNotSupportedError:
            return Outcome(Result.REFUSED, "it knows no STARTTLS or no login; see alerts.email_security")
        except (OSError, smtplib.SMTPException) as error:
            return Outcome(Result.LATER, f"no answer: {why(error)}")
        return Outcome(Result.SENT, f"{len(refused)} addresses were refused") if refused else SENT

    def compose(self, message: Message, now: datetime) -> EmailMessage:
        """The letter; the same key gives the same Message-ID, by which mail programs know a copy."""
        letter = EmailMessage(policy=SMTP_FORM)
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.recipients)
        letter["Subject"] = title_of(message)
        letter["Date"] = format_datetime(now)
        letter["Message-ID"] = f"<{message.key}@undercroft.invalid>"
        letter["Auto-Submitted"] = "auto-generated"
        letter["Content-Language"] = message.language
        letter.set_content(text_of(message) + "\n")
        return letter

    def _connect(self, cutter: _Cutter) -> smtplib.SMTP:
        port = self.port or _PORTS[self.security]
        seconds = self.wire.timeout_seconds
        if self.security == "tls":
            return _Sealed(cutter, self.host, port, timeout=seconds, context=self.wire.tls())
        return _Plain(cutter, self.host, port, timeout=seconds)


class _Cutter:
    """Ends a conversation that takes too long, however often the other side says a word."""

    def __init__(self, seconds: float) -> None:
        self._server: smtplib.SMTP | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, server: smtplib.SMTP) -> None:
        """This is the conversation."""
        self._server = server

    def close(self) -> None:
        """It ended by itself."""
        self._timer.cancel()

    def _cut(self) -> None:
        opened = getattr(self._server, "sock", None)
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


class _Plain(smtplib.SMTP):
    """Watched from the greeting on."""

    def __init__(self, cutter: _Cutter, host: str, port: int, **others: Any) -> None:
        cutter.watch(self)
        super().__init__(host, port, **others)


class _Sealed(smtplib.SMTP_SSL):
    """Watched from the greeting on."""

    def __init__(self, cutter: _Cutter, host: str, port: int, **others: Any) -> None:
        cutter.watch(self)
        super().__init__(host, port, **others)


def check_address(address: str) -> None:
    """Refuses what is no address.

    Raises:
        InvalidError: ``bad-email-address``.
    """
    try:
        found = Address(addr_spec=address)
        is_usable = bool(found.username and found.domain) and address.isprintable()
    except (ValueError, IndexError, AttributeError):  # what email's own parser raises for odd texts
        is_usable = False
    if not is_usable:
        raise InvalidError(
            "bad-email-address",
            f"alerts.email_from and email_to: expected addresses such as ops@example.org, got {address[:80]!r}",
            hint="docs/guide/alerts.md",
        )


def _judged(code: int, problem: str) -> Outcome:
    return Outcome(Result.REFUSED if code >= 500 else Result.LATER, problem)
