"""The error tree.

    UndercroftError
    ├── InvalidError       what was given is wrong                    HTTP 422   exit 2
    ├── RefusedError       understood, and not allowed                HTTP 403   exit 3
    ├── NotFoundError      there is no such thing                     HTTP 404   exit 4
    ├── ConflictError      the state of things does not allow it now  HTTP 409   exit 5
    └── UnavailableError   something that is needed is not there      HTTP 503   exit 6

The numbers are applied in two places only: ``gateway/errors.py`` and ``cli/errors.py``.
"""

from __future__ import annotations

import re

_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class UndercroftError(Exception):
    """Something that a user can understand and mend.

    Args:
        code: Fixed kebab-case name of the problem; part of the interface.
        message: What failed, for which thing, expected before got. Never a secret.
        hint: One thing to do, or None where there is none.
    """

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(f"error code {code!r} is not kebab-case")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text}\nTry: {self.hint}" if self.hint else text


class InvalidError(UndercroftError):
    """What was given is wrong: a field, a file, a name, a setting."""


class RefusedError(UndercroftError):
    """Understood, and not allowed."""


class NotFoundError(UndercroftError):
    """There is no such thing."""


class ConflictError(UndercroftError):
    """The state of things does not allow it now."""


class UnavailableError(UndercroftError):
    """Something that is needed is not there: a process, a peer, memory, time.

    Args:
        retry_after_seconds: When trying again makes sense; None where that is not known.
    """

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_seconds = retry_after_seconds
