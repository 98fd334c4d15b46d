"""Who made a bundle: Ed25519 (RFC 8032) over its manifest, and whether this home trusts that key."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from undercroft.core.errors import InvalidError, NotFoundError, RefusedError, UnavailableError
from undercroft.core.ids import DIGEST_PATTERN
from undercroft.recovery.bundles.problems import bad_bundle

# Nothing else that such a key signs begins like this.
_SIGNED_AS = b"undercroft-bundle 1\n"
_KEY_FILE_LIMIT_BYTES = 4096
_HEX_KEY = re.compile(r"[0-9a-f]{64}")
_SIGNATURE_TEXT = re.compile(rb'\{"public_key":"([0-9a-f]{64})","signature":"([0-9a-f]{128})"\}\n')
SIGNATURE_BYTES = len('{"public_key":"","signature":""}\n') + 64 + 128


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    Args:
        public_key: 32 bytes, hex.
    """

    public_key: str

    @property
    def fingerprint(self) -> str:
        """``sha256:<hex>`` of the public key's 32 bytes: what people compare over the telephone."""
        return f"sha256:{hashlib.sha256(bytes.fromhex(self.public_key)).hexdigest()}"


def signer_of(key: Ed25519PrivateKey) -> Signer:
    """Whom a private key makes."""
    return Signer(key.public_key().public_bytes_raw().hex())


def sign(key: Ed25519PrivateKey, manifest: bytes) -> bytes:
    """The content of ``signature.json``, always `SIGNATURE_BYTES` long."""
    signature = key.sign(_SIGNED_AS + manifest).hex()
    return f'{{"public_key":"{signer_of(key).public_key}","signature":"{signature}"}}\n'.encode()


def check(manifest: bytes, signature: bytes) -> Signer:
    """Who signed a manifest.

    Args:
        manifest: As it lies in the bundle.
        signature: The content of ``signature.json``.

    Raises:
        InvalidError: ``bad-bundle``: nobody did, or it was changed since.
    """
    match = _SIGNATURE_TEXT.fullmatch(signature)
    if match is None:
        raise bad_bundle("its signature is not of the right form")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(match[1].decode()))
        key.verify(bytes.fromhex(match[2].decode()), _SIGNED_AS + manifest)
    except (InvalidSignature, ValueError) as error:
        raise bad_bundle("its signature does not hold: the manifest was changed after it was signed") from error
    return Signer(match[1].decode())


def is_trusted(signer: Signer, *, own: Signer | None, trusted: str | None) -> bool:
    """Whether somebody vouches for a signer: this home's own key, or what the command names.

    Args:
        signer: Of the bundle.
        own: Of this home; None where it has no key.
        trusted: A fingerprint, a public key in hex, or a file that holds one.

    Raises:
        InvalidError: ``bad-trust``: ``trusted`` is none of them.
        NotFoundError: It reads like a file and there is none.
    """
    if trusted is None:
        return signer == own
    if DIGEST_PATTERN.fullmatch(trusted):
        return signer.fingerprint == trusted
    return signer.public_key == (trusted if _HEX_KEY.fullmatch(trusted) else _read_public_key(Path(trusted)))


def not_trusted(signer: Signer, trusted: str | None) -> RefusedError:
    """The error where nobody vouches for a signer."""
    said = "the command trusts another key" if trusted else "this home does not know that key"
    return RefusedError(
        "untrusted-bundle",
        f"the bundle is whole, and signed by {signer.fingerprint}, but {said}",
        hint="ask whoever made it, on a way of its own, which key undercroft bundle export printed; if it is the same: "
        f"--trust {signer.fingerprint}",
    )


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """A key that signs: 32 bytes in hex, as ``signing.key`` of a home, or PEM as OpenSSL writes it.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-signing-key``.
    """
    content = _read(path)
    try:
        if content.startswith(b"-----BEGIN"):
            key = load_pem_private_key(content, password=None)
            if isinstance(key, Ed25519PrivateKey):
                return key
        else:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.decode("ascii").strip()))
    except (ValueError, TypeError):
        pass
    raise InvalidError(
        "bad-signing-key",
        f"{path} holds no Ed25519 key: expected 32 bytes in hex, or PEM without a password",
        hint=f"openssl genpkey -algorithm ed25519 -out {path}",
    )


def _read_public_key(path: Path) -> str:
    content = _read(path)
    text = content.decode("ascii", "replace").strip()
    if _HEX_KEY.fullmatch(text):
        return text
    try:
        key = load_pem_public_key(content)
    except ValueError:
        key = None
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw().hex()
    raise InvalidError(
        "bad-trust",
        f"{path} holds no public key: expected 32 bytes in hex, or PEM of an Ed25519 key",
        hint="give the fingerprint that undercroft bundle export printed: --trust sha256:…",
    )


def _read(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_KEY_FILE_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError("no-such-file", f"there is no file {path}") from error
    except OSError as error:
        raise UnavailableError("file-unreadable", f"cannot read {path}: {error.strerror}") from error
    return content[:_KEY_FILE_LIMIT_BYTES]
