"""Manifests: what they say comes back, and what would write beside its folder is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from undercroft.recovery import manifests
from undercroft.recovery.documents import from_document, to_document
from undercroft.recovery.manifests import Manifest, Piece, StoredFile, check_paths, parse
from undercroft.recovery.sealing import DamagedError

DIGEST = "sha256:" + "a" * 64
ID = "20261120T090000000Z-abcdef"
MANIFEST = Manifest(
    id=ID,
    at="2026-11-20T09:00:00.000Z",
    origin="box:/home/anna/.undercroft",
    version="0.1.0",
    schema="0003",
    reason="ก่อนย้าย",
    is_encrypted=True,
    files=(StoredFile("catalog/รุ่น.yaml", DIGEST, (Piece(DIGEST, 7), Piece(DIGEST, 9))), StoredFile("e", DIGEST, ())),
    missing=("model a, file b: it is gone",),
    left_out=("run: a link",),
)


def changed(**values: Any) -> bytes:
    """The manifest with other values, and a digest that holds: as somebody with the key may write it."""
    return to_document({**from_document(MANIFEST.to_bytes(), kind="undercroft-backup"), **values})


def test_a_manifest_comes_back() -> None:
    """Names of every language, order of pieces, empty files."""
    assert parse(MANIFEST.to_bytes(), expected_id=ID) == MANIFEST


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "a/../x", "/etc/passwd", "a//b", "", ".", "a/.", "a/", "..", "a\\b", "a\nb", "a\0b", "\u202egpj.x"),
        *("x" * 256, "/".join(["abcdefg"] * 200), "\ud800"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    """Upwards, absolute, empty parts, other separators, control and direction letters, too long."""
    with pytest.raises(DamagedError, match="may not be written"):
        check_paths([path])


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]])
def test_paths_that_meet_each_other_are_refused(paths: list[str]) -> None:
    """The same twice, and a file where another needs a folder."""
    with pytest.raises(DamagedError, match=r"twice|a file and a folder"):
        check_paths(paths)


@pytest.mark.parametrize(
    "values",
    [
        {"files": [["a", DIGEST, [[DIGEST, 17 * 1024**2]]]]},
        {"files": [["a", DIGEST, [[DIGEST, 0]]]]},
        {"files": [["a", DIGEST, [[DIGEST, -5]]]]},
        {"files": [["a", DIGEST, [[DIGEST, 5.0]]]]},
        {"files": [["a", DIGEST, [["sha256:../../x", 5]]]]},
        {"files": [["a", "md5:" + "a" * 64, []]]},
        {"files": [["a", DIGEST]]},
        {"files": {"a": 1}},
        {"files": [["../a", DIGEST, []]]},
        {"at": "yesterday"},
        {"at": "9999-12-31T23:59:59-23:59"},
        {"origin": 5},
        {"origin": "x" * 5000},
        {"missing": [5]},
        {"id": "20261120T090000000Z-bbbbbb"},
        {"format": 2},
        {"kind": "undercroft-backup-check"},
        {"more": 1},
    ],
)
def test_values_of_another_form_are_refused(values: dict[str, Any]) -> None:
    """Each as somebody may write it who has the key."""
    with pytest.raises(DamagedError):
        parse(changed(**values), expected_id=ID)


def test_huge_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than the limit end the reading before any is looked at."""
    monkeypatch.setattr(manifests, "FILES_LIMIT", 3)
    with pytest.raises(DamagedError, match="at most 3 files"):
        parse(changed(files=[["a", DIGEST, []]] * 4), expected_id=ID)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"kind": "x", "kind": "x"}', b"\xff", b"5"])
def test_deep_and_double_json_is_refused(body: bytes) -> None:
    """Nesting that would end the reader, and a key that two readers may read differently."""
    line = hashlib.sha256(body).hexdigest().encode() + b"\n"
    with pytest.raises(DamagedError, match=r"not JSON|is no x"):
        from_document(line + body, kind="x")


def test_every_flipped_bit_of_a_clear_manifest_is_found() -> None:
    """All of them, one after the other."""
    whole = MANIFEST.to_bytes()
    for position in range(8 * len(whole)):
        raw = bytearray(whole)
        raw[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedError):
            parse(bytes(raw), expected_id=ID)


def test_size_is_that_of_the_pieces() -> None:
    """Counted once for each time that a piece is needed."""
    assert MANIFEST.size_bytes == 16
    assert set(MANIFEST.pieces()) == {DIGEST}
    assert replace(MANIFEST, files=()).size_bytes == 0
