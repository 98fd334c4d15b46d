"""What a sink is: it takes a message, and says whether it has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.watch.incidents.notes import Message

_LIMIT_BYTES = 8192
_SHOWN_CHARACTERS = 160
# Statuses that say "later" of their own accord.
_LATER = frozenset({408, 425, 429})
_HINT = "undercroft config show; docs/guide/alerts.md"


class Result(StrEnum):
    """How one try ended."""

    SENT = "sent"
    LATER = "later"  # the same may work at another time
    REFUSED = "refused"  # it will not work until somebody changes something


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try ended, and why.

    Args:
        result: See there.
        problem: In plain words, without any secret; empty where it was sent.
        wait_seconds: How long the service asks to be left alone; None where it does not.
    """

    result: Result
    problem: str = ""
    wait_seconds: float | None = None


SENT = Outcome(Result.SENT)


class Sink(Protocol):
    """Takes messages. A message that it gets twice under the same key is told once where ``has_memory`` is true."""

    @property
    def name(self) -> str:
        """As in settings and commands."""

    @property
    def has_memory(self) -> bool:
        """Whether the service drops a message whose key it has seen."""

    def send(self, message: Message, now: datetime) -> Outcome:
        """Sends it, whatever that takes; never longer than the settings allow.

        Raises:
            UndercroftError: What the settings name cannot be used.
        """


@dataclass(frozen=True, slots=True)
class Post:
    """An HTTP request.

    Args:
        url: Whole; it may hold a secret.
        headers: Beside those of every request.
        body: JSON.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What came back.

    Args:
        status: Of HTTP.
        headers: Names in lower case.
        body: The beginning of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def judge_status(response: Response) -> Outcome:
    """What an HTTP status says of a message.

    Returns:
        Sent for 2xx; later for 408, 425, 429 and 5xx, with the seconds of ``Retry-After``; else refused.
    """
    if 200 <= response.status < 300:
        return SENT
    problem = f"it answered {response.status}{_said(response.body)}"
    if response.status in _LATER or response.status >= 500:
        return Outcome(Result.LATER, problem, seconds_of(response.headers.get("retry-after")))
    return Outcome(Result.REFUSED, problem)


def seconds_of(text: object) -> float | None:
    """Seconds that a service asks to wait, at most an hour; None for what is no number, a date included."""
    try:
        return min(max(float(str(text)), 0.0), 3600.0)
    except ValueError:
        return None


def read_secret(file: Path, what: str) -> str:
    """The one line that a file holds.

    Args:
        file: As the settings name it.
        what: The setting, for errors; never the content.

    Raises:
        UnavailableError: ``alert-file-unreadable``.
        InvalidError: ``bad-alert-file``: it is empty, has several lines, or is too long.
    """
    try:
        with file.open("rb") as opened:
            raw = opened.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise UnavailableError(
            "alert-file-unreadable", f"alerts.{what}: cannot read {file}: {error.strerror}", hint=_HINT
        ) from error
    lines = raw.decode("utf-8", "replace").strip().splitlines()
    if len(lines) != 1 or len(raw) > _LIMIT_BYTES or not lines[0].isprintable():
        raise InvalidError(
            "bad-alert-file", f"alerts.{what}: expected one line in {file}, got {len(lines)}", hint=_HINT
        )
    return lines[0]


def check_address(url: str, what: str, *, must_be_secret: bool) -> str:
    """A URL that may be used, without a slash at its end.

    Args:
        url: As given.
        what: The setting, for errors; the URL is never shown.
        must_be_secret: Whether it carries a secret, so that anything but this machine needs ``https``.

    Raises:
        InvalidError: ``bad-alert-url``.
    """
    parts = urlsplit(url)
    try:
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    is_printable = url.isascii() and not any(letter.isspace() for letter in url)
    if not is_url or not is_printable:
        raise InvalidError("bad-alert-url", f"alerts.{what}: expected the http(s) URL of a service", hint=_HINT)
    if must_be_secret and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidError("bad-alert-url", f"alerts.{what}: expected https, as it carries a secret", hint=_HINT)
    return url.rstrip("/")


def _said(body: bytes) -> str:
    text = "".join(letter for letter in body[:2000].decode("utf-8", "replace") if letter.isprintable()).strip()
    return f": {text[:_SHOWN_CHARACTERS]}" if text else ""
