"""Errors as a client of the door sees them: OpenAI's envelope, with who failed. One of two places that know numbers.

    {"error": {"message": …, "type": …, "param": …, "code": …, "source": "client" | "door" | "engine"}}

``source`` says who has to act: the sender of the request, this server, or the engine behind it.
"""

from __future__ import annotations

import math
from typing import Literal

import orjson

from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)

Source = Literal["client", "door", "engine"]

HTTP_STATUS: dict[type[UndercroftError], int] = {
    InvalidError: 422,
    RefusedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    UnavailableError: 503,
}

# What OpenAI's own server calls each kind; its client library maps by status, other clients read the type.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


class DoorError(Exception):
    """A request that the door answers with an error.

    Not an `UndercroftError`: it speaks HTTP, and where OpenAI's clients know a code of OpenAI's own (such as
    ``context_length_exceeded``, with underscores), it is used.

    Args:
        status: HTTP status.
        code: Fixed name of the problem; part of the interface.
        message: What failed, expected before got, one thing to do. Never a secret.
        source: Who failed.
        param: The request's field, where one is to blame.
        retry_after_seconds: When trying again makes sense; None sends no ``Retry-After``.
        allow: Methods, for 405.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        source: Source = "client",
        param: str | None = None,
        retry_after_seconds: float | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.source: Source = source
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.allow = allow

    def envelope(self) -> dict[str, object]:
        """The ``error`` object."""
        return {
            "message": self.message,
            "type": _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error"),
            "param": self.param,
            "code": self.code,
            "source": self.source,
        }

    def body(self) -> bytes:
        """JSON of the whole answer."""
        return orjson.dumps({"error": self.envelope()})

    def event(self) -> bytes:
        """A server-sent event that ends a stream which has begun."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that belong to this error."""
        found = []
        if self.retry_after_seconds is not None:
            found.append((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after_seconds))))
        if self.allow is not None:
            found.append((b"allow", self.allow.encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        return found


class DisplacedError(DoorError):
    """What a request waited for was unloaded, removed or failed before it was its turn.

    Nothing was computed for it, so that who asked for a name may be answered by the release that took the place.
    """


class OvertakenError(DisplacedError):
    """Another release answers for the name now; who asked for this very one goes on waiting for it."""


def http_status(error: UndercroftError) -> int:
    """The HTTP status of an error's kind."""
    return next(status for kind, status in HTTP_STATUS.items() if isinstance(error, kind))


def from_core(error: UndercroftError, *, source: Source = "client") -> DoorError:
    """The same error in HTTP's words."""
    message = f"{error.message}. Try: {error.hint}" if error.hint else error.message
    retry_after = error.retry_after_seconds if isinstance(error, UnavailableError) else None
    return DoorError(http_status(error), error.code, message, source=source, retry_after_seconds=retry_after)


def invalid(message: str, param: str | None = None, code: str = "invalid-field") -> DoorError:
    """HTTP 400: the request's body is wrong."""
    return DoorError(400, code, message, param=param)
