"""Names, digests and random identifiers: made and checked in one place."""

from __future__ import annotations

import hashlib
import re
import secrets

from undercroft.core.errors import InvalidError

NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
LONGEST_NAME = 63
DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
VARIABLE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
KEY_PATTERN = re.compile(r"uc-[A-Za-z0-9_-]{43}")


def check_name(name: str, *, what: str) -> str:
    """Returns ``name`` if it can name a thing: lower case, digits, ``.``, ``_``, ``-``, 1 to 63 characters.

    Raises:
        InvalidError: It cannot.
    """
    if not NAME_PATTERN.fullmatch(name) or ".." in name:
        raise InvalidError(
            "bad-name",
            f"{what} name {name[:80]!r} is not usable: expected 1 to 63 characters of a-z, 0-9, '.', '_' and '-', "
            "beginning and ending with a letter or digit",
            hint="choose a name such as 'support-7b'",
        )
    return name


def is_variable_name(text: str) -> bool:
    """Whether a variable of a prompt may be called so."""
    return VARIABLE_PATTERN.fullmatch(text) is not None


def name_from(text: str) -> str:
    """The nearest usable name to a file or repository name; empty where nothing usable is left."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    name = re.sub(r"\.{2,}", ".", name)[:63]
    return name.strip("._-")


def check_digest(digest: str) -> str:
    """Returns ``digest`` if it reads ``sha256:`` and 64 lower-case hex digits.

    Raises:
        InvalidError: It does not.
    """
    if not DIGEST_PATTERN.fullmatch(digest):
        raise InvalidError("bad-digest", f"expected 'sha256:' and 64 hex digits, got {digest[:80]!r}")
    return digest


def new_api_key() -> str:
    """A fresh key: ``uc-`` and 43 URL-safe characters, 256 random bits."""
    return "uc-" + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """SHA-256 of a secret of full entropy, as hex. No salt or stretching: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_id(prefix: str) -> str:
    """A random identifier such as ``key_k3v9x0ap2m7q``; 60 bits, lower case."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return prefix + "_" + "".join(secrets.choice(alphabet) for _ in range(12))
