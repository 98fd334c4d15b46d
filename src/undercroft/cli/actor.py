"""Who types: for the journal."""

from __future__ import annotations

import getpass


def current_actor() -> str:
    """``cli:`` and the login name of the user."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli:unknown"
