"""Writing a report where somebody wants it."""

from __future__ import annotations

from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically


def write_report(path: Path, text: str) -> None:
    """Writes it, in place of what was there.

    Raises:
        InvalidError: ``cannot-write``: there is no such folder, or it may not be written.
    """
    try:
        write_atomically(path.expanduser(), text.encode("utf-8"), mode=0o644)
    except OSError as error:
        raise InvalidError(
            "cannot-write",
            f"cannot write {str(path)!r}: {error.strerror or error}",
            hint="give a file in a folder that is there and that you may write",
        ) from error
