"""Which certificates another machine is trusted by."""

from __future__ import annotations

import ssl
from pathlib import Path

from undercroft.core.errors import UnavailableError


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """What is trusted.

    Args:
        ca_file: Certificates in PEM; None is the system's.

    Raises:
        UnavailableError: ``bad-ca-file``.
    """
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(ca_file.expanduser()))
    except OSError as error:
        raise UnavailableError("bad-ca-file", f"backup.ca_file: cannot use {ca_file}: {error}") from error
