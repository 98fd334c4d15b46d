"""Keys in every form that people have them, and who is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support.bundles import KEY, SIGNER
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.recovery.bundles import signing

OTHER = signing.signer_of(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_signature_names_its_maker() -> None:
    """It holds for this manifest and no other."""
    signature = signing.sign(KEY, b"manifest")
    assert len(signature) == signing.SIGNATURE_BYTES
    assert signing.check(b"manifest", signature) == SIGNER
    with pytest.raises(InvalidError, match="does not hold"):
        signing.check(b"manifesto", signature)


def test_a_signature_for_something_else_does_not_count() -> None:
    """The home's key signs checkpoints of the journal with the same key: what it signs there is no bundle."""
    raw = f'{{"public_key":"{SIGNER.public_key}","signature":"{KEY.sign(b"manifest").hex()}"}}\n'.encode()
    with pytest.raises(InvalidError, match="does not hold"):
        signing.check(b"manifest", raw)


def test_private_keys_are_read_in_hex_and_pem(tmp_path: Path) -> None:
    """As a home has it, and as OpenSSL writes it."""
    file = tmp_path / "key"
    for content in (bytes(range(32)).hex().encode() + b"\n", pem(KEY)):
        file.write_bytes(content)
        assert signing.signer_of(signing.read_private_key(file)) == SIGNER


@pytest.mark.parametrize("content", [b"", b"00", b"-----BEGIN x", b"\xff" * 40, pem(X25519PrivateKey.generate())])
def test_what_is_no_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Also one for another purpose."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InvalidError, match="bad-signing-key"):
        signing.read_private_key(tmp_path / "key")


def test_trust_is_a_fingerprint_a_key_or_a_file(tmp_path: Path) -> None:
    """Each of them names one key; nothing given is this home's own."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "a.pem").write_bytes(public)
    (tmp_path / "b.hex").write_text(SIGNER.public_key + "\n")
    for trusted in (SIGNER.fingerprint, SIGNER.public_key, str(tmp_path / "a.pem"), str(tmp_path / "b.hex")):
        assert signing.is_trusted(SIGNER, own=None, trusted=trusted)
        assert not signing.is_trusted(OTHER, own=OTHER, trusted=trusted)
    assert signing.is_trusted(SIGNER, own=SIGNER, trusted=None)
    assert not signing.is_trusted(SIGNER, own=None, trusted=None)


def test_what_names_no_key_is_refused(tmp_path: Path) -> None:
    """Half a fingerprint is a file that is not there; a file without a key is said to be one."""
    with pytest.raises(NotFoundError, match="no-such-file"):
        signing.is_trusted(SIGNER, own=SIGNER, trusted=SIGNER.fingerprint[:20])
    (tmp_path / "x").write_text("hello")
    with pytest.raises(InvalidError, match="bad-trust"):
        signing.is_trusted(SIGNER, own=SIGNER, trusted=str(tmp_path / "x"))
