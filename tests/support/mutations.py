"""Damages files on purpose: a seeded generator of mutants of a sound file."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HOSTILE_U64 = (
    *(0, 1, 2, 3, 7, 8, 31, 63, 64, 255, 256, 4095, 65_535, 65_536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1),
)
_HOSTILE_U32 = tuple(value for value in _HOSTILE_U64 if value < 2**32)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged file.

    Args:
        what: How it was damaged, for the message of a test that fails.
        content: Its bytes.
    """

    what: str
    content: bytes


def mutants(sound: bytes, *, count: int, seed: int, header_bytes: int) -> Iterator[Mutant]:
    """Damaged copies of a file, the same for the same seed.

    Args:
        sound: A file that is in order.
        count: How many.
        seed: Of the random choices.
        header_bytes: Most of the damage is done before this offset: weights may hold anything.
    """
    chance = random.Random(seed)
    kinds = (_flip, _flip, _overwrite_u32, _overwrite_u64, _overwrite_u64, _truncate, _insert, _delete, _copy, _noise)
    for number in range(count):
        kind = chance.choice(kinds)
        content = bytearray(sound)
        what = "; ".join(kind(content, chance, header_bytes) for _ in range(chance.choice((1, 1, 1, 2, 4))))
        yield Mutant(f"mutant {number} of seed {seed}: {what}", bytes(content))


def _flip(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    at = chance.randrange(_end(content, header_bytes))
    bit = chance.randrange(8)
    content[at] ^= 1 << bit
    return f"bit {bit} of byte {at} flipped"


def _overwrite_u32(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    value = chance.choice(_HOSTILE_U32)
    at = chance.randrange(max(1, _end(content, header_bytes) - 4))
    content[at : at + 4] = struct.pack("<I", value)
    return f"u32 {value} at byte {at}"


def _overwrite_u64(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    value = chance.choice(_HOSTILE_U64)
    at = chance.randrange(max(1, _end(content, header_bytes) - 8))
    content[at : at + 8] = struct.pack("<Q", value)
    return f"u64 {value} at byte {at}"


def _truncate(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    at = chance.randrange(len(content) or 1) if chance.random() < 0.5 else chance.randrange(_end(content, header_bytes))
    del content[at:]
    return f"cut off at byte {at}"


def _insert(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    at, size = chance.randrange(_end(content, header_bytes)), chance.choice((1, 4, 8, 32))
    content[at:at] = chance.randbytes(size)
    return f"{size} bytes put in at byte {at}"


def _delete(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    at, size = chance.randrange(_end(content, header_bytes)), chance.choice((1, 4, 8, 32))
    del content[at : at + size]
    return f"{size} bytes taken out at byte {at}"


def _copy(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    end = _end(content, header_bytes)
    source, target, size = chance.randrange(end), chance.randrange(end), chance.choice((4, 8, 16, 64))
    content[target : target + size] = content[source : source + size]
    return f"{size} bytes of byte {source} copied to byte {target}"


def _noise(content: bytearray, chance: random.Random, header_bytes: int) -> str:
    at, size = chance.randrange(_end(content, header_bytes)), chance.choice((2, 8, 64, 512))
    content[at : at + size] = chance.randbytes(min(size, len(content) - at))
    return f"{size} random bytes at byte {at}"


def _end(content: bytearray, header_bytes: int) -> int:
    return max(1, min(len(content), header_bytes))
