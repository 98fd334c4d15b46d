"""Bundles of somebody who wants harm, or that were damaged on the way: refused, and nothing is left of them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bundles import KEY, BundleHome, archive_of, resigned, with_header
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError, UndercroftError
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.layout import header
from undercroft.recovery.bundles.manifests import Manifest
from undercroft.recovery.bundles.reading import open_bundle, verify

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a model, two releases and a probe."""
    folder = tmp_path_factory.mktemp("good")
    home = BundleHome(folder / "source").fill()
    home.export(folder / "x.bundle")
    home.close()
    return folder / "x.bundle"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[BundleHome]:
    """An empty home."""
    made = BundleHome(tmp_path / "target")
    yield made
    made.close()


def assert_refused(target: BundleHome, file: Path, match: str) -> None:
    """The import fails with a sentence, and the home is as it was."""
    before = target.state()
    with pytest.raises(UndercroftError, match=match):
        target.take_in(file)
    assert target.state() == before


def info(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mode = 0o644
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (info("blobs/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "holds a link, 'blobs/x'"),
        (info("blobs/x", type=tarfile.LNKTYPE, linkname="../../x"), "holds a hard link"),
        (info("blobs/x", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "holds a device"),
        (info("blobs/x", type=tarfile.BLKTYPE), "holds a device"),
        (info("blobs/x", type=tarfile.FIFOTYPE), "holds a pipe"),
        (info("blobs", type=tarfile.DIRTYPE), "holds a folder"),
        (info("../../.bashrc"), "holds '../../.bashrc' where 'blobs/"),
        (info("/etc/cron.d/x"), "holds '/etc/cron.d/x' where"),
        (info("probes/support.yaml"), "holds 'probes/support.yaml' where"),
    ],
)
def test_hostile_headers_are_refused(
    good: Path, target: BundleHome, tmp_path: Path, said: tarfile.TarInfo, match: str
) -> None:
    """Links, devices, pipes, folders, paths that lead out or stand twice: the last entry is not what was signed."""
    assert_refused(target, with_header(good, tmp_path / "bad", -1, said), match)


def test_links_are_refused_as_the_manifest_too(good: Path, target: BundleHome, tmp_path: Path) -> None:
    """Before there is anything signed to compare with."""
    bad = with_header(good, tmp_path / "bad", 0, info("manifest.json", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    assert_refused(target, bad, "it does not begin with a manifest")


def add_entry(path: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["entries"].insert(0, [path, 0, EMPTY])

    return change


def double_entry(manifest: dict[str, Any]) -> None:
    manifest["entries"].append(manifest["entries"][-1])


def wheels_that_differ_in_case(manifest: dict[str, Any]) -> None:
    at = len(manifest["entries"]) - 1
    manifest["entries"][at:at] = [["wheels/A-1.whl", 0, EMPTY], ["wheels/a-1.whl", 0, EMPTY]]


def lacking_blob(manifest: dict[str, Any]) -> None:
    manifest["entries"].pop()


def unnamed_blob(manifest: dict[str, Any]) -> None:
    manifest["models"], manifest["releases"] = [], []


def other_size(manifest: dict[str, Any]) -> None:
    manifest["models"][0]["files"][0][2] += 1


def bomb(manifest: dict[str, Any]) -> None:
    manifest["entries"][-1][1] = manifest["models"][0]["files"][0][2] = 2**49


def too_many(manifest: dict[str, Any]) -> None:
    manifest["entries"] = [["sbom.cdx.json", 0, EMPTY]] * 100_001


def too_deep(manifest: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"x": nested}
    manifest["models"][0]["lineage"] = nested


def hostile_model_path(path: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["models"][0]["files"][0][0] = path

    return change


def colliding_model_paths(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        _, digest, size_bytes = manifest["models"][0]["files"][0]
        manifest["models"][0]["files"] = [[first, digest, size_bytes], [second, digest, size_bytes]]

    return change


def set_field(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: Any) -> None:
        for step in place[:-1]:
            manifest = manifest[step]
        manifest[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (add_entry("../x"), "names a file that no bundle has: '../x'"),
        (add_entry("/etc/passwd"), "names a file that no bundle has"),
        (add_entry("blobs/../../x"), "names a file that no bundle has"),
        (add_entry("probes/../config.toml"), "names a file that no bundle has"),
        (add_entry("probes/a..b.yaml"), "names a file that no bundle has"),
        (add_entry("probes/รุ่น.yaml"), "names a file that no bundle has"),
        (add_entry("probes/Support.yaml"), "names a file that no bundle has"),
        (add_entry("wheels/x\u200b-1.whl"), "names a file that no bundle has"),
        (add_entry("wheels/x-1.whl\x00.txt"), "names a file that no bundle has"),
        (add_entry("config.toml"), "names a file that no bundle has"),
        (add_entry("blobs/" + "0" * 64), "do not stand in their order"),
        (double_entry, "is there twice"),
        (wheels_that_differ_in_case, "differs from another name only in case"),
        (lacking_blob, "which its manifest names"),
        (unnamed_blob, "no model has the file"),
        (other_size, "which its manifest names"),
        (bomb, "was cut off"),
        (too_many, "at most 100,000"),
        (too_deep, "at most 16 levels"),
        (hostile_model_path("../x.gguf"), "hostile-name"),
        (hostile_model_path("/x.gguf"), "hostile-name"),
        (colliding_model_paths("Model.gguf", "model.gguf"), "hostile-name"),
        (colliding_model_paths("caf\u00e9.gguf", "cafe\u0301.gguf"), "hostile-name"),
        (hostile_model_path("modeling.py"), "carries-code"),
        (set_field("models", 0, "name", value="../tiny"), "is not usable"),
        (set_field("models", 0, "digest", value=EMPTY), "are not those of its digest"),
        (set_field("models", 0, "lineage", value={"x": "\ud800"}), "not of the right form"),
        (set_field("releases", 0, "digest", value=EMPTY), "is not what its digest says"),
        (set_field("releases", 0, "model_digest", value=EMPTY), "lacks the model of release support@1"),
        (set_field("releases", 0, "content", value={"model": "tiny", "run": "rm"}), "there is no such field"),
        (set_field("releases", 0, "number", value=True), "expected a number"),
        (set_field("releases", 1, "number", value=1), "is there twice|not what its digest"),
        (set_field("format", value=2), "it has format 2, this Undercroft knows format 1"),
        (set_field("kind", value="undercroft-backup"), "not of the right form"),
        (set_field("at", value="yesterday"), "not of the right form"),
        (set_field("entries", value={}), "not of the right form"),
        (set_field("models", value={}), "not of the right form"),
    ],
)
def test_hostile_manifests_are_refused(
    good: Path, target: BundleHome, tmp_path: Path, change: Callable[[dict[str, Any]], None], match: str
) -> None:
    """Signed by a key that is trusted, and still up to something."""

    def changed(manifest: dict[str, Any]) -> None:
        change(manifest)
        if isinstance(manifest["entries"], list) and len(manifest["entries"]) > 1000:
            manifest["models"], manifest["releases"] = [], []

    bad = tmp_path / "bad"
    try:
        resigned(good, bad, changed)
    except UnicodeEncodeError:
        bad.write_bytes(with_escaped_surrogate(good))
    assert_refused(target, bad, match)


def with_escaped_surrogate(good: Path) -> bytes:
    """What JSON can say and UTF-8 cannot."""
    with open_bundle(good) as bundle:
        raw = bundle.manifest.to_bytes().replace(b'"lineage":{', b'"lineage":{"x":"\\ud800",', 1)
    return archive_of([("manifest.json", raw), ("signature.json", signing.sign(KEY, raw))])


def test_an_error_says_nothing_to_the_terminal(good: Path, target: BundleHome, tmp_path: Path) -> None:
    """What a hostile manifest is quoted with has no control characters, whatever key signed it."""
    hostile = {"model": "tiny", "\x1b]0;owned\x07\n": 1}
    bad = resigned(good, tmp_path / "bad", set_field("releases", 0, "content", value=hostile))
    with pytest.raises(InvalidError) as caught:
        target.take_in(bad)
    assert "owned" in caught.value.message
    assert caught.value.message.isprintable()


def test_a_manifest_that_is_too_large_is_not_read(target: BundleHome, tmp_path: Path) -> None:
    """Its header alone says so."""
    (tmp_path / "bad").write_bytes(header("manifest.json", 2**33 - 1) + bytes(4096))
    assert_refused(target, tmp_path / "bad", "expected at most")


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 512, b"PK\x03\x04" + b"\0" * 2000])
def test_what_is_no_bundle_is_refused(target: BundleHome, tmp_path: Path, content: bytes) -> None:
    """Empty, short, zeros, another format."""
    (tmp_path / "bad").write_bytes(content)
    assert_refused(target, tmp_path / "bad", "bad-bundle")


def test_what_is_no_file_is_refused(target: BundleHome, tmp_path: Path) -> None:
    """Nothing, a folder, a device; none of them is waited for."""
    with pytest.raises(NotFoundError):
        target.take_in(tmp_path / "none")
    with pytest.raises(InvalidError, match="no-plain-file"):
        target.take_in(tmp_path)
    with pytest.raises(InvalidError, match="no-plain-file"):
        target.take_in(Path("/dev/zero"))


def test_another_signature_is_refused(good: Path, target: BundleHome, tmp_path: Path) -> None:
    """Taken from another bundle, or made of zeros."""
    content = good.read_bytes()
    with open_bundle(good) as bundle:
        raw = bundle.manifest.to_bytes()
    other = signing.sign(KEY, Manifest("a", "2026-01-01T00:00:00.000Z", "b", "c", None, ()).to_bytes())
    own = signing.sign(KEY, raw)
    (tmp_path / "bad").write_bytes(content.replace(own, other))
    assert_refused(target, tmp_path / "bad", "its signature does not hold")
    (tmp_path / "bad").write_bytes(content.replace(own, b"0" * len(own)))
    assert_refused(target, tmp_path / "bad", "its signature is not of the right form")


def test_a_longer_or_shorter_file_is_refused(good: Path, target: BundleHome, tmp_path: Path) -> None:
    """Cut off anywhere, or with anything behind its end."""
    content = good.read_bytes()
    for length in (100, 512, 600, 3000, len(content) - 1024, len(content) - 512, len(content) - 1):
        (tmp_path / "bad").write_bytes(content[:length])
        assert_refused(target, tmp_path / "bad", "bad-bundle")
    for more in (b"\0", b"\0" * 512, b"#!/bin/sh\n"):
        (tmp_path / "bad").write_bytes(content + more)
        assert_refused(target, tmp_path / "bad", "has something behind its end")


def read_all(file: Path) -> None:
    with open_bundle(file) as bundle:
        verify(bundle)


@pytest.mark.long
def test_any_changed_bit_is_found(good: Path, tmp_path: Path, is_full: bool) -> None:
    """One bit anywhere, in the frames as often as in the contents: refused."""
    content = good.read_bytes()
    bad = tmp_path / "bad"
    read_all(good)

    @settings(max_examples=3000 if is_full else 60)
    @given(st.one_of(st.integers(0, 30_000), st.integers(0, len(content) - 1)), st.integers(0, 7))
    def flip(at: int, bit: int) -> None:
        at %= len(content)
        bad.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        with pytest.raises((InvalidError, RefusedError)):
            read_all(bad)

    flip()


@pytest.mark.long
def test_any_bytes_are_refused_or_the_same(good: Path, tmp_path: Path, is_full: bool) -> None:
    """Pieces overwritten, put in, cut out: an error of ours, or the bundle that was signed."""
    content = good.read_bytes()
    bad = tmp_path / "bad"

    @settings(max_examples=2000 if is_full else 40)
    @given(st.integers(0, len(content)), st.integers(0, 2000), st.binary(max_size=600))
    def change(at: int, cut: int, put: bytes) -> None:
        changed = content[:at] + put + content[at + cut :]
        bad.write_bytes(changed)
        if changed == content:
            read_all(bad)
        else:
            with pytest.raises((InvalidError, RefusedError)):
                read_all(bad)

    change()
