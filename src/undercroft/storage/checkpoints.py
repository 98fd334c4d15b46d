"""Checkpoints of the journal: what its last entry was at a moment, signed, to be kept where nobody here can write.

A chain of hashes shows an edit, but whoever may write to the database can compute a new chain. A checkpoint that is
kept elsewhere shows that, too: no other chain has its hash. Signatures are Ed25519 (RFC 8032) over the checkpoint's
JSON without the signature, keys sorted, no spaces.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, select

from undercroft.core.clock import from_iso, to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError, UndercroftError
from undercroft.core.files import sync_folder, write_atomically
from undercroft.core.home import Home
from undercroft.storage.tables import journal

_KIND = "undercroft-journal-checkpoint"
_LIMIT_BYTES = 4096
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The journal at a moment.

    Args:
        seq: Number of its last entry.
        hash: Of that entry: SHA-256, hex.
        at: When this was made; ISO 8601, UTC.
        public_key: That the signature is checked with; 32 bytes, hex.
        signature: 64 bytes, hex.
    """

    seq: int
    hash: str
    at: str
    public_key: str
    signature: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for its file."""
        return {"kind": _KIND, **asdict(self)}


def signing_key(home: Home) -> Ed25519PrivateKey:
    """The home's own key, made where there is none.

    Raises:
        UnavailableError: Its file cannot be read or written.
        InvalidError: Its file holds something else.
    """
    path = home.signing_key_file
    try:
        _make_key(path)
        seed = bytes.fromhex(path.read_text(encoding="ascii").strip())
        return Ed25519PrivateKey.from_private_bytes(seed)
    except OSError as error:
        raise UnavailableError("no-signing-key", f"cannot use the key {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidError(
            "bad-signing-key",
            f"the key {path} is damaged: expected {_SEED_BYTES} bytes in hex",
            hint="bring it back from a backup; without it new checkpoints are signed by another key",
        ) from error


def _make_key(path: Path) -> None:
    """A key appears whole or not at all, and of two processes that make one the first one's stays."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(new, f"{os.urandom(_SEED_BYTES).hex()}\n".encode())
    try:
        os.link(new, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)


def public_key(key: Ed25519PrivateKey) -> str:
    """Its public half; 32 bytes, hex."""
    return key.public_key().public_bytes_raw().hex()


def make(connection: Connection, key: Ed25519PrivateKey, *, at: datetime | None = None) -> Checkpoint | None:
    """A checkpoint of the journal as it is; None where it has no entry.

    Args:
        connection: Of the database.
        key: The home's.
        at: Now.
    """
    last = connection.execute(select(journal.c.seq, journal.c.hash).order_by(journal.c.seq.desc()).limit(1)).first()
    if last is None:
        return None
    unsigned = Checkpoint(last.seq, last.hash, to_iso(at or utc_now()), public_key(key), "")
    signature = key.sign(_signed_bytes(unsigned)).hex()
    return Checkpoint(unsigned.seq, unsigned.hash, unsigned.at, unsigned.public_key, signature)


def make_due(
    connection: Connection, key: Ed25519PrivateKey, folder: Path, *, every: timedelta, now: datetime | None = None
) -> Checkpoint | None:
    """A checkpoint where the last one of a folder is old enough and the journal went on since; else None.

    Args:
        connection: Of the database.
        key: The home's.
        folder: Of the checkpoints so far.
        every: How old the last one has to be.
        now: The time.
    """
    moment = now or utc_now()
    earlier = files_in(folder)
    if earlier:
        last = read(earlier[-1])
        if moment - from_iso(last.at) < every:
            return None
        made = make(connection, key, at=moment)
        return made if made is not None and made.seq > last.seq else None
    return make(connection, key, at=moment)


def copy_missing(own: Path, elsewhere: Path) -> None:
    """Brings a folder the checkpoints that it does not have; what is there stays as it is.

    Raises:
        OSError: A folder cannot be read or written.
    """
    for file in files_in(own):
        _copy(file, elsewhere)


def keep(checkpoint: Checkpoint, folder: Path) -> Path:
    """Writes it into a folder, under the number of its entry; returns the file.

    A file is never replaced: one that says the same is returned; beside one that says something else, or was signed by
    another key, the new one gets a name with a number, because the difference is what an auditor looks for.

    Raises:
        OSError: The folder cannot be written.
    """
    content = json.dumps(checkpoint.to_dict(), indent=2).encode() + b"\n"
    return _add(folder, f"journal-{checkpoint.seq:010d}", content, lambda path: _says(path, checkpoint))


def _add(folder: Path, name: str, content: bytes, is_same: Callable[[Path], bool]) -> Path:
    names = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(1)))
    for path in (folder / f"{each}.json" for each in names):
        if not path.exists():
            write_atomically(path, content)
            return path
        if is_same(path):
            return path
    raise AssertionError("names do not end")


def _copy(file: Path, folder: Path) -> None:
    content = file.read_bytes()
    _add(folder, file.stem, content, lambda path: path.read_bytes() == content)


def _says(path: Path, checkpoint: Checkpoint) -> bool:
    try:
        found = read(path)
    except UndercroftError:
        return False
    return (found.seq, found.hash, found.public_key) == (checkpoint.seq, checkpoint.hash, checkpoint.public_key)


def read(path: Path) -> Checkpoint:
    """Reads one and checks its signature.

    Raises:
        InvalidError: ``bad-checkpoint``: it is none, or its signature does not hold.
        UnavailableError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise UnavailableError("no-checkpoint", f"cannot read {path}: {error.strerror}") from error
    try:
        found = _parse(content)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.public_key))
        key.verify(bytes.fromhex(found.signature), _signed_bytes(found))
    except InvalidSignature as error:
        raise InvalidError("bad-checkpoint", f"{path} was changed: its signature does not hold") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidError("bad-checkpoint", f"{path} is no checkpoint of a journal") from error
    return found


def _parse(content: bytes) -> Checkpoint:
    if len(content) > _LIMIT_BYTES:
        raise ValueError("too long")
    values = json.loads(content)
    found = Checkpoint(values["seq"], values["hash"], values["at"], values["public_key"], values["signature"])
    hexes = ((found.hash, 32), (found.public_key, 32), (found.signature, 64))
    is_whole = type(found.seq) is int and found.seq > 0 and all(_is_hex(*one) for one in hexes)
    if not is_whole or values["kind"] != _KIND:
        raise ValueError("not of the right form")
    from_iso(found.at)
    return found


def _is_hex(text: object, size_bytes: int) -> bool:
    return isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{2 * size_bytes}}}", text) is not None


def _signed_bytes(checkpoint: Checkpoint) -> bytes:
    values = checkpoint.to_dict()
    del values["signature"]
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def files_in(place: Path) -> list[Path]:
    """The checkpoints of a folder, oldest entry first; a file is itself."""
    return sorted(place.glob("journal-*.json")) if place.is_dir() else [place]


def gather(places: Sequence[Path], *, own_key: str) -> dict[int, str]:
    """What checkpoints say: number of an entry → its hash.

    Args:
        places: Files, or folders of them.
        own_key: The home's public key, that has to have signed them.

    Raises:
        InvalidError: One is damaged, or no checkpoint.
        ConflictError: One was signed by another key, or two contradict each other.
        UnavailableError: One cannot be read.
    """
    known: dict[int, str] = {}
    for path in (file for place in places for file in files_in(place)):
        found = read(path)
        if found.public_key != own_key:
            raise ConflictError(
                "other-signing-key",
                f"{path} was signed by key {found.public_key[:16]}…, this home's is {own_key[:16]}…",
                hint="it is of another home, or the key of this one was replaced",
            )
        if known.setdefault(found.seq, found.hash) != found.hash:
            raise ConflictError("checkpoints-differ", f"{path}: another checkpoint saw another entry {found.seq}")
    return known
