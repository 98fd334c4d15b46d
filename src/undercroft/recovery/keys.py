"""The key of a backup store: 256 random bits in a file of their own, and what is derived from them."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.files import write_new

_KEY_BYTES = 32
_LIMIT_BYTES = 1024
_LINE = re.compile(r"undercroft-backup-key-1:([0-9a-f]{64}):([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class BackupKey:
    """What opens the backups of a store.

    Args:
        master: 32 random bytes; never used for a cipher themselves.
    """

    master: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Tells this key from others and says nothing of it; 16 hex digits."""
        return self.derived("id")[:8].hex()

    def derived(self, purpose: str, salt: bytes = b"") -> bytes:
        """Another key for a purpose: HKDF with SHA-256 (RFC 5869); 32 bytes.

        Args:
            purpose: Keys for two purposes say nothing of each other.
            salt: Makes as many keys for one purpose as there are salts.
        """
        information = f"undercroft backup {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=information).derive(self.master)

    def name_of(self, digest: str) -> str:
        """What an object with that content is called: HMAC-SHA256, hex, so that names tell nobody what is stored."""
        return hmac.new(self.derived("names"), digest.encode(), hashlib.sha256).hexdigest()


def make_key_file(path: Path) -> BackupKey:
    """Writes a new key, readable by its owner only; it is there whole or not at all.

    Raises:
        ConflictError: Something is there: a key that is overwritten closes every backup made with it.
        UnavailableError: It cannot be written.
    """
    master = os.urandom(_KEY_BYTES)
    line = f"undercroft-backup-key-1:{master.hex()}:{_check_of(master)}\n"
    try:
        write_new(path, line.encode())
    except FileExistsError as error:
        raise ConflictError(
            "key-exists", f"{path} is there already, and a key is never overwritten", hint="choose another file name"
        ) from error
    except OSError as error:
        raise UnavailableError("cannot-write", f"cannot write the key {path}: {error.strerror}") from error
    return BackupKey(master)


def read_key_file(path: Path) -> BackupKey:
    """Reads what `make_key_file` wrote, or somebody typed from paper.

    Raises:
        NotFoundError: There is no such file.
        InvalidError: It holds something else, or a letter of it is wrong.
        UnavailableError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise NotFoundError(
            "no-backup-key", f"there is no key {path}", hint="give the file that 'undercroft backup key FILE' made"
        ) from error
    except OSError as error:
        raise UnavailableError("no-backup-key", f"cannot read the key {path}: {error.strerror}") from error
    match = _LINE.fullmatch(content.decode("ascii", "replace").strip().lower())
    if match is None:
        raise InvalidError(
            "bad-backup-key",
            f"{path} is no key of backups: expected one line 'undercroft-backup-key-1:', 64 hex digits, ':' and 8 more",
            hint="undercroft backup key FILE makes one",
        )
    master = bytes.fromhex(match[1])
    if _check_of(master) != match[2]:
        raise InvalidError("bad-backup-key", f"the key {path} has a wrong digit: its last 8 do not fit those before")
    return BackupKey(master)


def _check_of(master: bytes) -> str:
    """So that a wrong digit is called a wrong digit, and not a damaged backup."""
    return hashlib.sha256(b"undercroft backup key" + master).hexdigest()[:8]
