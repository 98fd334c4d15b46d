"""Sealed messages and the key that opens them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.backups import KEY
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.recovery.keys import BackupKey, make_key_file, read_key_file
from undercroft.recovery.sealing import DamagedError, Encrypted


def test_a_message_is_what_the_format_says() -> None:
    """Opened here by hand from magic, salt and key, with a zero nonce."""
    sealed = Encrypted(KEY).seal(b"hello", "object x")
    assert sealed[:4] == b"UCB1"
    cipher = AESGCM(KEY.derived("message", sealed[4:36]))
    assert cipher.decrypt(bytes(12), sealed[36:], b"object x") == b"hello"
    assert len(sealed) == Encrypted(KEY).sealed_bytes(5)


def test_no_two_messages_share_a_salt() -> None:
    """The same content twice gives two messages with nothing in common but the magic."""
    many = {Encrypted(KEY).seal(b"the same", "x")[4:36] for _ in range(200)}
    assert len(many) == 200


def test_changes_truncation_and_swaps_are_found() -> None:
    """Every single bit, every length below the whole, more at the end, and the place of another message."""
    sealing = Encrypted(KEY)
    sealed = sealing.seal(b"a small secret", "object a")
    assert sealing.open(sealed, "object a") == b"a small secret"
    damaged = [sealed[:length] for length in range(len(sealed))] + [sealed + b"x"]
    for position in range(8 * len(sealed)):
        raw = bytearray(sealed)
        raw[position // 8] ^= 1 << position % 8
        damaged.append(bytes(raw))
    for one in damaged:
        with pytest.raises(DamagedError):
            sealing.open(one, "object a")
    with pytest.raises(DamagedError):
        sealing.open(sealed, "object b")
    with pytest.raises(DamagedError):
        Encrypted(BackupKey(b"1" * 32)).open(sealed, "object a")


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    """Also typed in capitals from paper; its owner alone may read it, and its text never shows it."""
    made = make_key_file(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_key_file(tmp_path / "key") == made
    typed = (tmp_path / "key").read_text().upper() + "\n"
    (tmp_path / "typed").write_text(typed)
    assert read_key_file(tmp_path / "typed") == made
    assert made.master.hex() not in f"{made!r} {made.id}"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """Whatever is there stays as it is."""
    (tmp_path / "key").write_text("mine")
    with pytest.raises(ConflictError, match="key-exists"):
        make_key_file(tmp_path / "key")
    assert (tmp_path / "key").read_text() == "mine"
    with pytest.raises(UnavailableError, match="cannot write"):
        make_key_file(tmp_path / "nowhere" / "key")


def test_a_wrong_digit_is_called_so(tmp_path: Path) -> None:
    """Each of the 64, changed to another one; and files that are no key at all."""
    line = "undercroft-backup-key-1:"
    make_key_file(tmp_path / "key")
    good = (tmp_path / "key").read_text()
    for position in range(len(line), len(line) + 64):
        other = "0" if good[position] != "0" else "1"
        (tmp_path / "typo").write_text(good[:position] + other + good[position + 1 :])
        with pytest.raises(InvalidError, match="wrong digit"):
            read_key_file(tmp_path / "typo")
    for content in (b"", b"\xff" * 50, b"x" * 100_000, good[:-2].encode()):
        (tmp_path / "none").write_bytes(content)
        with pytest.raises(InvalidError, match="is no key of backups"):
            read_key_file(tmp_path / "none")
    with pytest.raises(NotFoundError, match="there is no key"):
        read_key_file(tmp_path / "absent")
    with pytest.raises(UnavailableError, match="cannot read"):
        read_key_file(tmp_path)
