"""Speaks to an OCI registry: one request at a time, with the credentials that it asks for, patiently.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md and, for tokens,
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import TypeVar
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from undercroft.core.clock import utc_now
from undercroft.core.errors import RefusedError, UnavailableError
from undercroft.recovery.objects.credentials import Credentials
from undercroft.recovery.objects.patience import Patience

_Result = TypeVar("_Result")

_ANSWER_LIMIT_BYTES = 64 * 1024
_READ_BYTES = 1024**2
_MOVED = {301, 302, 303, 307, 308}
_REDIRECTIONS = 3
_FULL = {413, 507}
_PARAMETER = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')


class ShakyError(Exception):
    """The connection was cut, or the registry is in trouble: the same may work a moment later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        status: Of HTTP.
        headers: Names in small letters.
        body: At most one byte more than was asked for.
        url: That answered, after redirections.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class RegistryClient:
    """A registry, and who this machine is to it.

    Args:
        url: Of the registry: scheme, host and port.
        credentials: Shown to it when it asks; None for nobody.
        tls: What is trusted.
        patience: With what is cut off.
    """

    def __init__(
        self, url: str, *, credentials: Credentials | None, tls: ssl.SSLContext | None, patience: Patience
    ) -> None:
        self.url = url
        self._credentials = credentials
        self._tls = tls
        self._patience = patience
        self._authorization: str | None = None
        self._ahead = timedelta()

    def now(self) -> datetime:
        """By the clock of the registry, as its last answer told."""
        return utc_now() + self._ahead

    def steadily(self, act: Callable[[], _Result]) -> _Result:
        """Does something again where it was cut off.

        Raises:
            UnavailableError: ``store-unreachable``: it was, as often as there is patience.
        """
        for attempt in range(self._patience.attempts):
            try:
                return act()
            except ShakyError as error:
                if attempt + 1 == self._patience.attempts:
                    raise UnavailableError(
                        "store-unreachable",
                        f"the registry {self.url} {error}; the backups that were there are as they were",
                        hint="check backup.endpoint, the network, and backup.ca_file for its certificate; then again",
                    ) from error
                time.sleep(self._patience.first_pause_seconds * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def ask(
        self,
        method: str,
        target: str,
        *,
        expected: Collection[int],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        limit_bytes: int = _ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """One request; credentials are shown when the registry asks for them, to nobody else.

        Args:
            method: Of HTTP.
            target: Beginning with ``/``, or a URL that the registry itself named.
            expected: Statuses that are results.
            body: Sent.
            headers: Sent.
            limit_bytes: Most that is read of the answer, and one byte more.

        Raises:
            ShakyError: Try again.
            RefusedError: ``store-refused``.
            UnavailableError: ``disk-full``, ``store-unusable``.
        """
        url = urljoin(self.url, target)
        answer = self._follow(method, url, body, headers or {}, limit_bytes)
        if answer.status == 401 and self._is_its_own(answer.url):
            self._authorization = self._authorized(answer.headers.get("www-authenticate", ""))
            answer = self._follow(method, url, body, headers or {}, limit_bytes)
        if answer.status in expected:
            return answer
        raise self._problem(answer, f"{method} {urlsplit(url).path[:120]}")

    def _follow(self, method: str, url: str, body: bytes, headers: Mapping[str, str], limit_bytes: int) -> Answer:
        for _ in range(_REDIRECTIONS + 1):
            answer = self._send(method, url, body, headers, limit_bytes)
            location = answer.headers.get("location")
            if answer.status not in _MOVED or location is None or method not in ("GET", "HEAD"):
                return answer
            url = urljoin(url, location)
        return answer

    def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str], limit_bytes: int) -> Answer:
        parts = urlsplit(url)
        own = {"User-Agent": "undercroft", **headers}
        if self._authorization is not None and self._is_its_own(url):
            own["Authorization"] = self._authorization
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with closing(self._connection(parts)) as connection:
                connection.request(method, target, body or (b"" if method in ("POST", "PUT") else None), own)
                with connection.getresponse() as response:
                    names = {name.lower(): value for name, value in response.getheaders()}
                    content = _read(response, limit_bytes)
                    if method != "HEAD":
                        _check_length(names, content, limit_bytes)
        except (OSError, HTTPException, ValueError) as error:
            raise ShakyError(f"cannot be reached: {_why(error)}") from error
        if self._is_its_own(url):
            with suppress(TypeError, ValueError):
                self._ahead = parsedate_to_datetime(names["date"]) - utc_now() if "date" in names else self._ahead
        return Answer(response.status, names, content, url)

    def _connection(self, parts: SplitResult) -> HTTPConnection:
        host = parts.hostname or ""
        timeout_seconds = self._patience.timeout_seconds
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=timeout_seconds, context=self._tls)
        if parts.scheme == "http" and not self.url.startswith("https:"):
            return HTTPConnection(host, parts.port, timeout=timeout_seconds)
        raise RefusedError(
            "store-refused",
            f"the registry {self.url} sends this machine to an address without TLS: {parts.netloc[:100]}",
        )

    def _is_its_own(self, url: str) -> bool:
        """Whether a URL is of the registry itself: nobody else is shown what it gave us."""
        return urlsplit(url)[:2] == urlsplit(self.url)[:2]

    def _authorized(self, challenge: str) -> str | None:
        """What is shown from now on, as the registry asks.

        Raises:
            RefusedError: ``store-refused``: there are no credentials, or they do not do.
        """
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "bearer":
            return f"Bearer {self._token(dict(_PARAMETER.findall(rest)))}"
        if scheme.lower() == "basic" and self._credentials is not None:
            return self._basic()
        raise RefusedError(
            "store-refused",
            f"the registry {self.url} asks for credentials",
            hint="backup.credentials_file: two lines, user and password",
        )

    def _basic(self) -> str:
        if self._credentials is None:
            raise AssertionError("only asked for with credentials")
        pair = f"{self._credentials.name}:{self._credentials.secret}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def _token(self, asked: Mapping[str, str]) -> str:
        query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
        url = f"{asked.get('realm', '')}?{query}"
        headers = {} if self._credentials is None else {"Authorization": self._basic()}
        if not urlsplit(url).hostname:
            raise RefusedError("store-refused", f"the registry {self.url} does not say where its tokens are given")
        if self._is_its_own(url):
            self._authorization = None
        answer = self._send("GET", url, b"", headers, _ANSWER_LIMIT_BYTES)
        if answer.status != 200:
            raise self._problem(answer, "a token")
        try:
            given = json.loads(answer.body)
            return str(given.get("token") or given["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise RefusedError("store-refused", f"the registry {self.url} gives tokens in an unknown form") from error

    def _problem(self, answer: Answer, what: str) -> Exception:
        said = f"answered {answer.status} to {what}: {_said(answer.body)}".rstrip(": ")
        if answer.status in (401, 403):
            return RefusedError(
                "store-refused",
                f"the registry {self.url} {said}",
                hint="check backup.credentials_file, and what that user may do there",
            )
        if answer.status in _FULL:
            return UnavailableError(
                "disk-full",
                f"no room in the registry {self.url}, which {said}; the backups that were there are as they were",
                hint="undercroft backup prune, or make room there",
            )
        if answer.status == 429 or answer.status >= 500:
            return ShakyError(said)
        return UnavailableError(
            "store-unusable",
            f"the registry {self.url} {said}; the backups that were there are as they were",
            hint="check that it is a registry of OCI, and its repository",
        )


def _read(response: object, limit_bytes: int) -> bytes:
    content = bytearray()
    read = response.read  # type: ignore[attr-defined]
    while len(content) <= limit_bytes and (piece := read(min(_READ_BYTES, limit_bytes + 1 - len(content)))):
        content += piece
    return bytes(content)


def _check_length(headers: Mapping[str, str], content: bytes, limit_bytes: int) -> None:
    """An answer that ends too early is no answer; `http.client` does not say so when it is read in parts."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and len(content) < min(int(announced), limit_bytes + 1):
        raise IncompleteRead(content, int(announced) - len(content))


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(getattr(error, "strerror", None) or type(error).__name__)[:160]


def _said(body: bytes) -> str:
    """The registry's own words: ``{"errors": [{"code": …, "message": …}]}``."""
    try:
        first = json.loads(body)["errors"][0]
        words = f"{first.get('code', '')} {first.get('message', '')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    return "".join(letter for letter in words if letter.isprintable())[:200].strip()
