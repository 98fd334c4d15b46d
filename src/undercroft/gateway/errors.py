"""HTTP statuses of the error tree. Nothing else in the gateway decides them."""

from __future__ import annotations

from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)

HTTP_STATUS: dict[type[UndercroftError], int] = {
    InvalidError: 422,
    RefusedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    UnavailableError: 503,
}


def http_status(error: UndercroftError) -> int:
    """The HTTP status of an error's kind."""
    return next(status for kind, status in HTTP_STATUS.items() if isinstance(error, kind))
