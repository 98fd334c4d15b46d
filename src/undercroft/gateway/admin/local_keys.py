"""Keys for this machine's own command line: short-lived, in memory only.

Whoever may open control's Unix socket owns the home and could create a key anyway; ``undercroft chat`` gets one
here, so that it goes through the same door as everybody, and ``undercroft probe`` one whose requests wait behind all
others.
"""

from __future__ import annotations

import threading
import time

from undercroft.core.ids import new_api_key, secret_digest
from undercroft.serving.snapshot import KeyEntry

_LIFE_SECONDS = 12 * 3600.0


class LocalKeys:
    """Digest → entry of every local key that is still good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, KeyEntry] = {}

    def issue(self, *, is_for_probes: bool = False) -> str:
        """A fresh key for every deployment, good for 12 hours or until control ends.

        Args:
            is_for_probes: It is called ``key_probe`` in the usage, and its requests wait until nobody else does.
        """
        secret = new_api_key()
        name = "key_probe" if is_for_probes else "key_local"
        entry = KeyEntry(name, None, time.time() + _LIFE_SECONDS, False, is_background=is_for_probes)
        with self._lock:
            self._entries[secret_digest(secret)] = entry
        return secret

    def entries(self) -> dict[str, KeyEntry]:
        """Those that have not expired."""
        now = time.time()
        with self._lock:
            self._entries = {d: e for d, e in self._entries.items() if e.expires_at is None or e.expires_at > now}
            return dict(self._entries)
