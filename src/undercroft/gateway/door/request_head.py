"""A request's first line and headers: what they say, and what is refused before a body is read. No network."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping

import httptools

from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.errors import DoorError

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def read_head(exchange: Exchange, method: bytes, version: str) -> None:
    """Fills in method, path, query and id; a target that names a host counts more than the ``Host`` header.

    Args:
        exchange: Its target and headers are there.
        method: As the parser read it.
        version: As the parser read it: ``1.1``.

    Raises:
        DoorError: Another version of HTTP, a method that the door does not know, or a target that is no path.

    Source:
        RFC 9112, section 3.2.2: with a target in absolute form the received Host header is ignored.
    """
    exchange.method = method.decode()
    exchange.is_http_10 = version == "1.0"
    given = exchange.headers.get(b"x-request-id")
    exchange.id = given.decode() if given and _REQUEST_ID.fullmatch(given) else new_request_id(time.time())
    if version not in ("1.0", "1.1"):
        raise DoorError(505, "bad-http", f"the door speaks HTTP/1.1, got HTTP/{version}")
    if method not in _METHODS:
        raise DoorError(501, "bad-method", f"the door knows no method {exchange.method}")
    exchange.path, exchange.query, authority = split_target(exchange.target)
    if authority is not None and b"host" in exchange.headers:
        exchange.headers[b"host"] = authority


def check_announced_body(headers: Mapping[bytes, bytes], limit_bytes: int) -> None:
    """Raises `DoorError` where the headers announce a body that the door does not take."""
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit_bytes:
        raise body_too_large(limit_bytes)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise DoorError(415, "encoded-body", "the door reads plain bodies only, not content-encoding")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and coding.lower() != b"chunked":
        raise DoorError(501, "bad-http", "the door reads no transfer-encoding but chunked")


def body_too_large(limit_bytes: int) -> DoorError:
    """HTTP 413."""
    return DoorError(413, "body-too-large", f"the body may have {limit_bytes} bytes at most")


def new_request_id(at_seconds: float) -> str:
    """For a request that brought none; later ones sort behind earlier ones, so that an index of millions stays cheap.

    Args:
        at_seconds: The time, of the clock; seconds since 1970.

    Source:
        The order of fields is that of UUID version 7, RFC 9562, section 5.7: milliseconds, then chance.
    """
    return f"req-{int(at_seconds * 1000):011x}{secrets.token_hex(6)}"


def split_target(target: bytes) -> tuple[str, bytes, bytes | None]:
    """Path and query of a request's target, and the host with its port where the target is an absolute URL.

    Raises:
        DoorError: 400; it is neither a path nor such a URL.
    """
    authority = None
    try:
        if not target.startswith(b"/"):
            parsed = httptools.parse_url(target)
            is_web = parsed.schema is not None and parsed.schema.lower() in (b"http", b"https")
            if not is_web or parsed.host is None or parsed.userinfo is not None:
                raise DoorError(400, "bad-http", "the request's target is neither a path nor the http URL of one")
            authority = target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
            target = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return path.decode("ascii"), query, authority
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError) as error:
        raise DoorError(400, "bad-http", "the request's target cannot be read") from error
