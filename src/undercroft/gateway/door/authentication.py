"""Who is asking, and what for: keys by digest, and the names that the door answers to."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Mapping

from undercroft.core.ids import KEY_PATTERN, secret_digest
from undercroft.gateway.errors import DoorError
from undercroft.serving.snapshot import KeyEntry

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_EVERY_ADDRESS = ("0.0.0.0", "::", "[::]")


class Keys:
    """The keys of a snapshot."""

    def __init__(self, keys: Mapping[str, KeyEntry]) -> None:
        self._by_digest = {digest: (digest, entry) for digest, entry in keys.items()}

    def authenticate(self, headers: Mapping[bytes, bytes]) -> KeyEntry:
        """The key that a request brings.

        Args:
            headers: Lower-case names; ``Authorization: Bearer`` or ``x-api-key``.

        Raises:
            DoorError: 401. It does not tell an unknown key from an expired or revoked one.
        """
        secret = _secret(headers)
        if secret is None:
            raise DoorError(
                401, "invalid_api_key", "no key was sent. Send the header 'Authorization: Bearer uc-…' with your key"
            )
        if KEY_PATTERN.fullmatch(secret):
            digest = secret_digest(secret)
            known, entry = self._by_digest.get(digest, ("", None))
            # The dictionary finds it by a hash of a digest, of which timing tells nothing; the comparison decides.
            if entry is not None and hmac.compare_digest(known, digest) and _is_current(entry):
                return entry
        raise DoorError(401, "invalid_api_key", "the key is not valid. Keys are made with 'undercroft key create'")


def check_model(entry: KeyEntry, model: str) -> None:
    """Raises `DoorError` (403) where the key is for other models."""
    if entry.models is not None and model not in entry.models:
        raise DoorError(403, "model-not-allowed", f"this key may not use the model '{model}'", param="model")


def check_admin(entry: KeyEntry) -> None:
    """Raises `DoorError` (403) where the key does not open the admin routes."""
    if not entry.is_admin:
        raise DoorError(403, "not-an-admin", "this key may not use the admin routes; make one with --admin")


class Hosts:
    """Names that the door answers to, each with or without a port: a page that rebinds its name to us is refused.

    Args:
        listening: Address that the door listens on. Where that is every address of the machine, the one that a
            connection came to counts as it.
        allowed: Further names, as configured.
    """

    def __init__(self, listening: str, allowed: Iterable[str]) -> None:
        self._names = {name.strip().lower() for name in (_bracketed(listening), *_LOCAL_NAMES, *allowed)}
        self._is_every_address = listening in _EVERY_ADDRESS
        self._seen: set[bytes] = set()

    def check(self, header: bytes | None, came_to: Callable[[], str] = lambda: "") -> None:
        """Refuses a request whose ``Host`` header names somebody else.

        Args:
            header: Its value; None where there is none.
            came_to: Gives the address that the connection came to.

        Raises:
            DoorError: 421, or 400 where there is no such header.
        """
        if header in self._seen:
            return
        if header is None:
            raise DoorError(400, "bad-http", "the request has no Host header")
        host = header.decode("latin-1").strip().lower()
        if host in self._names or _without_port(host) in self._names:
            if len(self._seen) < 64:
                self._seen.add(header)
            return
        if self._is_every_address and _without_port(host) == _bracketed(came_to()):
            return
        raise DoorError(
            421,
            "host-not-allowed",
            f"the door does not answer to the name {host[:80]!r}. "
            "The administrator can add it to gateway.allowed_hosts in the settings",
        )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def _secret(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"authorization")
    if given is not None:
        scheme, _, secret = given.partition(b" ")
        return secret.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""
    own = headers.get(b"x-api-key")
    return None if own is None else own.strip().decode("latin-1")


def _is_current(entry: KeyEntry) -> bool:
    return entry.expires_at is None or entry.expires_at > time.time()


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and not port.startswith("]") else host
