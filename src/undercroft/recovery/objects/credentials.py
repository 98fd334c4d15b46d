"""Who this machine is to a store or a registry: two lines in a file, which only its owner may read."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError

_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves it.

    Args:
        name: Access key id, or user.
        secret: Secret access key, or password.
    """

    name: str
    secret: str = field(repr=False)


def read_credentials(path: Path) -> Credentials:
    """Reads a file of two lines.

    Raises:
        NotFoundError: There is no such file.
        InvalidError: It has another form, or others may read it.
        UnavailableError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise NotFoundError("no-credentials", f"backup.credentials_file: there is no file {path}") from error
    except OSError as error:
        raise UnavailableError(
            "no-credentials", f"backup.credentials_file: cannot read {path}: {error.strerror}"
        ) from error
    if mode & 0o077:
        raise InvalidError(
            "open-credentials",
            f"{path} can be read by others: expected mode 0600, got {mode:04o}",
            hint=f"chmod 600 {path}",
        )
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) != 2 or not all(line.strip() and line.isprintable() for line in lines):
        raise InvalidError(
            "bad-credentials",
            f"{path}: expected two lines, the access key id or user and below it the secret access key or password",
        )
    return Credentials(lines[0].strip(), lines[1].strip())
