"""The one place that reads the process environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PREFIX = "UNDERCROFT_"


def environment() -> Mapping[str, str]:
    """All of it."""
    return os.environ


def home_path() -> Path:
    """The home of this installation: ``UNDERCROFT_HOME``, else ``~/.undercroft``."""
    given = os.environ.get("UNDERCROFT_HOME")
    return Path(given).expanduser().absolute() if given else Path.home() / ".undercroft"


def clean_environment() -> dict[str, str]:
    """What an engine process gets: what a program needs to run on this machine, and none of our secrets."""
    kept = (
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}


def proxy_environment() -> dict[str, str]:
    """Proxy variables, which a download respects."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {n: os.environ[n] for name in names for n in (name, name.lower()) if n in os.environ}


def installer_environment() -> dict[str, str]:
    """What a package installer gets: the user's own, with its index and proxies, and nothing that is ours.

    Variables that would change which packages another Python sees are left out.
    """
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: text for name, text in os.environ.items() if name not in hidden and not name.startswith(PREFIX)}


def hub_endpoint() -> str | None:
    """``HF_ENDPOINT``, as the hub's own client reads it; None where it is not set."""
    return os.environ.get("HF_ENDPOINT") or None
