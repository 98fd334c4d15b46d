"""Content-addressed files: brought in, hashed, placed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.storage.blobs import (
    BlobStore,
    bring_in,
    check_room,
    digest_file,
    explain_disk_full,
    fingerprint,
)

CONTENT = os.urandom(3 * 1024 * 1024 + 17)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    return path


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    root = tmp_path / "blobs"
    root.mkdir()
    return BlobStore(root)


def test_digest(source: Path) -> None:
    """The digest is the content's SHA-256, and all bytes are told of."""
    counts: list[int] = []
    assert digest_file(source, done=counts.append) == DIGEST
    assert sum(counts) == len(CONTENT)
    assert digest_file(Path(os.devnull)) == "sha256:" + hashlib.sha256().hexdigest()


@pytest.mark.parametrize("must_copy", [False, True])
def test_bring_in(source: Path, tmp_path: Path, must_copy: bool) -> None:
    """A file arrives with its content; shared where that is allowed, apart where a copy is asked for."""
    target = tmp_path / "target"
    counts: list[int] = []
    method = bring_in(source, target, must_copy=must_copy, done=counts.append)
    assert target.read_bytes() == CONTENT
    is_same_file = target.stat().st_ino == source.stat().st_ino
    assert is_same_file == (method == "hard link")
    if must_copy:
        assert method == "copy"
        assert sum(counts) == len(CONTENT)


def test_bring_in_from_another_disk(tmp_path: Path) -> None:
    """Where source and store are on different disks the file is copied."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system that may be written")
    source = other / f"undercroft-test-{os.getpid()}"
    try:
        source.write_bytes(CONTENT)
        assert bring_in(source, tmp_path / "target") == "copy"
        assert (tmp_path / "target").read_bytes() == CONTENT
    finally:
        source.unlink()


def test_place(store: BlobStore, source: Path, tmp_path: Path) -> None:
    """A file of ours becomes read-only under its digest; nothing is left where it was."""
    incoming = tmp_path / "incoming"
    bring_in(source, incoming, must_copy=True)
    path = store.place(incoming, DIGEST, is_ours=True)
    assert path == store.path(DIGEST)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert not incoming.exists()
    assert list(store.digests()) == [(DIGEST, path)]


def test_place_of_a_link(store: BlobStore, source: Path, tmp_path: Path) -> None:
    """The mode of a user's own file stays; a second link to the same file leaves no leftover."""
    for name in ("one", "two"):
        incoming = tmp_path / name
        os.link(source, incoming)
        path = store.place(incoming, DIGEST, is_ours=False)
        assert not incoming.exists()
    assert stat.S_IMODE(source.stat().st_mode) == 0o644
    assert path.stat().st_nlink == 2


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:" + "g" * 64,
        "sha256:" + "A" * 64,
        "../../etc/passwd",
        "sha256:../" + "a" * 61,
        "md5:" + "a" * 64,
    ],
)
def test_hostile_digests_never_become_a_path(store: BlobStore, digest: str) -> None:
    """What is no digest is refused before a path is made of it."""
    with pytest.raises(InvalidError) as caught:
        store.path(digest)
    assert caught.value.code == "bad-digest"
    with pytest.raises(InvalidError):
        store.parts_folder(digest)


def test_strange_files_in_the_store_are_not_blobs(store: BlobStore) -> None:
    """A file that somebody put there under another name is not taken for one of ours."""
    folder = store.root / "sha256" / "ab"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    assert list(store.digests()) == []


def test_room(tmp_path: Path) -> None:
    """A disk without room is said so before anything is written, with both numbers."""
    check_room(tmp_path, 1, what="m")
    with pytest.raises(UnavailableError, match=r"no room for m: needs 8\.0 EiB|needs .* PiB") as caught:
        check_room(tmp_path, 2**63, what="m")
    assert caught.value.code == "disk-full"


def test_disk_that_became_full() -> None:
    """A disk that is full on the way is told from other failures."""
    error = explain_disk_full(OSError(errno.ENOSPC, "full"), what="m")
    assert error is not None
    assert error.code == "disk-full"
    assert explain_disk_full(OSError(errno.EIO, "broken"), what="m") is None


def test_fingerprint(source: Path, tmp_path: Path) -> None:
    """Writing to a file, or putting another in its place, changes what it looks like; a link is not followed."""
    before = fingerprint(source)
    assert fingerprint(source) == before
    os.utime(source, ns=(1, 1))
    assert fingerprint(source) != before
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(OSError, match="not an ordinary file"):
        fingerprint(link)
