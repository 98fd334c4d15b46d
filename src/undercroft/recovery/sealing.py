"""What lies in a store: sealed with AES-256-GCM, or clear.

A sealed message is 4 bytes ``UCB1``, a salt of 32 random bytes, and the output of AES-256-GCM (NIST SP 800-38D), whose
last 16 bytes are the tag. Its key is derived from the store's key and the salt and used for this one message, so its
nonce is always zero and no nonce can meet a key twice. The associated data say what the message is, so that one cannot
be put in the place of another; which pieces make a file, in which order, says the manifest, which is sealed itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from undercroft.core.ids import check_digest
from undercroft.recovery.keys import BackupKey

_MAGIC = b"UCB1"
_SALT_BYTES = 32
_TAG_BYTES = 16
_NONCE = bytes(12)


class DamagedError(Exception):
    """What lies in a store is not what was put there. The message says how, without saying what it is."""


class Sealing(Protocol):
    """How a store keeps what it is given."""

    @property
    def key_id(self) -> str | None:
        """Of the key; None where there is none."""

    def name_of(self, digest: str) -> str:
        """What an object is called: 64 hex digits.

        Args:
            digest: Of its plain content.
        """

    def seal(self, plain: bytes, what: str) -> bytes:
        """What is written.

        Args:
            plain: The content.
            what: Which thing this is; `open` is given the same.
        """

    def open(self, sealed: bytes, what: str) -> bytes:
        """The content.

        Raises:
            DamagedError: It was changed, cut off, or is another thing.
        """

    def sealed_bytes(self, plain_bytes: int) -> int:
        """How long that many bytes are when they are sealed."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Everything as it is; whoever reads the store reads the backup."""

    @property
    def key_id(self) -> str | None:
        return None

    def name_of(self, digest: str) -> str:
        return check_digest(digest).removeprefix("sha256:")

    def seal(self, plain: bytes, what: str) -> bytes:
        return plain

    def open(self, sealed: bytes, what: str) -> bytes:
        return sealed

    def sealed_bytes(self, plain_bytes: int) -> int:
        return plain_bytes


@dataclass(frozen=True, slots=True)
class Encrypted:
    """AES-256-GCM.

    Args:
        key: Of the store.
    """

    key: BackupKey

    @property
    def key_id(self) -> str | None:
        return self.key.id

    def name_of(self, digest: str) -> str:
        return self.key.name_of(check_digest(digest))

    def seal(self, plain: bytes, what: str) -> bytes:
        salt = os.urandom(_SALT_BYTES)
        return _MAGIC + salt + self._cipher(salt).encrypt(_NONCE, plain, what.encode())

    def open(self, sealed: bytes, what: str) -> bytes:
        begin = len(_MAGIC) + _SALT_BYTES
        if not sealed.startswith(_MAGIC) or len(sealed) < begin + _TAG_BYTES:
            raise DamagedError("it is no sealed message")
        try:
            return self._cipher(sealed[len(_MAGIC) : begin]).decrypt(_NONCE, sealed[begin:], what.encode())
        except InvalidTag as error:
            raise DamagedError("it was changed: its seal does not hold") from error

    def sealed_bytes(self, plain_bytes: int) -> int:
        return plain_bytes + len(_MAGIC) + _SALT_BYTES + _TAG_BYTES

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(self.key.derived("message", salt))
