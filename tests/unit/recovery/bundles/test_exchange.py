"""From one home to another: what goes in, what comes out, what is there already."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.adapters import write_adapter
from tests.support.bundles import PROBE, SIGNER, BundleHome, entries_of, resigned
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from undercroft.recovery.bundles import probes
from undercroft.recovery.bundles.reading import open_bundle, verify
from undercroft.registry import entries
from undercroft.registry.adapters import base_of
from undercroft.registry.models import add_local
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.storage import journal
from undercroft.storage.journal import Search


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BundleHome]:
    """A home with a model, two releases and a probe."""
    made = BundleHome(tmp_path / "source").fill()
    yield made
    made.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[BundleHome]:
    """An empty home."""
    made = BundleHome(tmp_path / "target")
    yield made
    made.close()


def test_everything_arrives(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Model, releases and probe are what they were; lineage, journal and reasons say where they came from."""
    exported = source.export(tmp_path / "x.bundle")
    imported = target.take_in(tmp_path / "x.bundle")
    assert (imported.models, imported.probes, imported.there) == (("tiny",), ("support",), ())
    assert imported.releases == {"support@1": "support@1", "support@2": "support@2"}
    with source.database.read() as connection:
        there = entries.find(connection, "tiny")
        releases = store.list_releases(connection)
    with target.database.read() as connection:
        here = entries.find(connection, "tiny")
        assert [one.digest for one in store.list_releases(connection)] == [one.digest for one in releases]
        reason = store.get(connection, "support", 2).reason
        actions = [entry.action for entry, _ in journal.find(connection, Search())]
        assert journal.find_damage(connection) is None
    assert there is not None
    assert here is not None
    assert (here.digest, here.facts, here.source) == (there.digest, there.facts, there.source)
    assert here.lineage["bundle"] == exported.manifest.id
    assert here.lineage["signer"] == SIGNER.fingerprint
    assert here.lineage["lineage"] == there.lineage
    assert (here.lineage["licence"], here.lineage["use"]) == ("apache-2.0", "internal")
    assert reason is not None
    assert reason.endswith("support@2 there, made by cli:test: because")
    assert actions == ["model.add", "release.create", "release.create", "bundle.import"]
    assert (target.home.probes / "support.yaml").read_bytes() == PROBE
    assert [path.name for path in target.home.probes.iterdir() if path.name.startswith(".import_")] == []


def test_what_is_there_is_not_read_again(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """A second import changes nothing, not even a damaged content of the bundle is looked at."""
    file = tmp_path / "x.bundle"
    source.export(file)
    target.take_in(file)
    before = target.state()
    content = bytearray(file.read_bytes())
    content[-5000] ^= 1
    file.write_bytes(content)
    again = target.take_in(file)
    assert (again.models, dict(again.releases), again.probes) == ((), {}, ())
    assert again.there == ("model tiny", "release support@1", "release support@2", "probe support")
    assert target.state() == before


def test_a_stored_file_that_was_touched_is_mended(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """The name is there, its file was changed: the bundle's takes its place."""
    file = tmp_path / "x.bundle"
    source.export(file)
    target.take_in(file)
    (blob,) = (path for path in (target.home.blobs / "sha256").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert target.take_in(file).models == ()
    assert blob.read_bytes() == whole


def test_a_release_gets_the_next_number(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Numbers of this home are not touched; a release of the same content is not made twice."""
    source.export(tmp_path / "x.bundle", releases=("support@2",))
    target.add_model("tiny")
    target.add_release("support", "Something else.")
    assert target.take_in(tmp_path / "x.bundle").releases == {"support@2": "support@2"}
    source.export(tmp_path / "y.bundle", releases=("support",))
    assert target.take_in(tmp_path / "y.bundle").releases == {"support@1": "support@3"}


def test_what_was_chosen_goes_in(source: BundleHome, tmp_path: Path) -> None:
    """A release brings its model; a model or a probe alone bring nothing else."""
    source.add_model("spare", seed=1)
    release = source.export(tmp_path / "a", releases=("support@1",)).manifest
    assert ([m.name for m in release.models], [str(r) for r in release.releases]) == (["tiny"], ["support@1"])
    model = source.export(tmp_path / "b", models=("spare",)).manifest
    assert ([m.name for m in model.models], model.releases, model.probes()) == (["spare"], (), {})
    probe = source.export(tmp_path / "c", probes=("support",)).manifest
    assert (probe.models, list(probe.probes())) == ((), ["support"])
    everything = source.export(tmp_path / "d").manifest
    assert [m.name for m in everything.models] == ["spare", "tiny"]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"models": ("none",)}, "no-such-model"),
        ({"releases": ("support@9",)}, "no-such-release"),
        ({"releases": ("none",)}, "no-such-release"),
        ({"probes": ("none",)}, "no-such-file"),
        ({"wheels": Path("/nonexistent")}, "no-wheels"),
    ],
)
def test_what_is_not_there_is_named(source: BundleHome, tmp_path: Path, wanted: dict[str, object], code: str) -> None:
    """Nothing is written then."""
    with pytest.raises(NotFoundError, match=code):
        source.export(tmp_path / "x.bundle", **wanted)
    assert not (tmp_path / "x.bundle").exists()


def test_an_export_replaces_nothing(source: BundleHome, tmp_path: Path) -> None:
    """A file that is there stays."""
    (tmp_path / "x.bundle").write_text("mine")
    with pytest.raises(ConflictError, match="file-exists"):
        source.export(tmp_path / "x.bundle")
    assert (tmp_path / "x.bundle").read_text() == "mine"


def test_a_damaged_model_is_not_exported(source: BundleHome, tmp_path: Path) -> None:
    """Touched, or changed without a trace: refused, and no half file stays."""
    (blob,) = (path for path in (source.home.blobs / "sha256").rglob("*") if path.is_file())
    content, look = bytearray(blob.read_bytes()), blob.stat()
    content[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(content)
    with pytest.raises(ConflictError, match="model-changed"):
        source.export(tmp_path / "x.bundle")
    with source.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE blobs SET modified_ns = {blob.stat().st_mtime_ns}, inode = {look.st_ino}")
    with pytest.raises(ConflictError, match="model-changed"):
        source.export(tmp_path / "x.bundle")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_nobody_is_trusted_unasked(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Without --trust only this home's own key counts; the error shows whose the bundle is."""
    file = tmp_path / "x.bundle"
    source.export(file)
    before = target.state()
    with pytest.raises(RefusedError, match=f"untrusted-bundle: .*{SIGNER.fingerprint}"):
        target.take_in(file, trusted=None)
    with pytest.raises(RefusedError, match="the command trusts another key"):
        target.take_in(file, trusted="sha256:" + "0" * 64)
    assert target.state() == before
    target.home.signing_key_file.write_text(bytes(range(32)).hex() + "\n")
    assert target.take_in(file, trusted=None).models == ("tiny",)


def test_other_content_under_a_name_stops_everything(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Every clash is named, and nothing else of the bundle comes in."""
    source.export(tmp_path / "x.bundle")
    target.add_model("tiny", seed=7)
    target.add_probe("support", PROBE + b"\n")
    before = target.state()
    with pytest.raises(ConflictError, match=r"bundle-conflicts: .*model tiny, probe support"):
        target.take_in(tmp_path / "x.bundle")
    assert target.state() == before


def test_a_licence_that_does_not_cover_the_use_stops_everything(target: BundleHome, tmp_path: Path) -> None:
    """The gate is the one of model pull, asked before anything has a name."""
    source = BundleHome(tmp_path / "source")
    source.add_model("tiny")
    with source.database.write() as connection:
        connection.exec_driver_sql("""UPDATE models SET facts = json_set(facts, '$.licence', 'cc-by-nc-4.0')""")
    source.export(tmp_path / "x.bundle")
    source.close()
    before = target.state()
    with pytest.raises(RefusedError, match="licence-refuses-use"):
        target.take_in(tmp_path / "x.bundle", use="commercial")
    assert target.state() == before


def test_a_probe_that_is_none_stops_everything(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """A bundle of another maker may hold any text under probes/."""
    source.export(tmp_path / "x.bundle", models=("tiny",))
    bad = resigned(
        tmp_path / "x.bundle", tmp_path / "y.bundle", sort_by_rank, added=(("probes/bad.yaml", b"questions: 1\n"),)
    )
    before = target.state()
    with pytest.raises(InvalidError, match="bad-probe"):
        target.take_in(bad)
    assert target.state() == before


def sort_by_rank(manifest: dict[str, list[list[str]]]) -> None:
    order = ["sbom", "licences", "probes", "wheels", "blobs"]
    manifest["entries"].sort(key=lambda entry: (order.index(entry[0].split("/")[0].split(".")[0]), entry[0]))


def test_a_cut_off_import_is_finished_or_forgotten(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Probes that a committed import had staged get their place; those of one that never was are removed."""
    committed = probes.stage(target.home, {"kept": PROBE})
    probes.stage(target.home, {"lost": PROBE})
    with target.database.write() as connection:
        after = {"staged": committed.name}
        journal.record(connection, actor="cli:test", action="bundle.import", subject="b", after=after)
    with target.database.read() as connection, probes.importing_alone(target.home):
        probes.finish_if_idle(target.home, connection)
        assert not (target.home.probes / "kept.yaml").exists()
    with target.database.read() as connection:
        probes.finish_if_idle(target.home, connection)
    assert sorted(path.name for path in target.home.probes.glob("*")) == [".import.lock", "kept.yaml"]


def test_two_imports_do_not_meet(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """The second is told to wait."""
    source.export(tmp_path / "x.bundle")
    with probes.importing_alone(target.home), pytest.raises(ConflictError, match="import-running"):
        target.take_in(tmp_path / "x.bundle")


def test_any_tar_reads_it(source: BundleHome, tmp_path: Path) -> None:
    """Plain files, the manifest first, the weights last, and nothing that would not be there again next time."""
    source.export(tmp_path / "x.bundle")
    with tarfile.open(tmp_path / "x.bundle") as archive:
        members = archive.getmembers()
    assert all(one.isreg() and one.mtime == 0 and one.uid == 0 for one in members)
    names = [one.name.split("/")[0] for one in members]
    assert names == ["manifest.json", "signature.json", "sbom.cdx.json", "licences", "probes", "blobs"]
    texts = dict(entries_of(tmp_path / "x.bundle"))
    assert b"Apache License" in texts["licences/apache-2.0.txt"]


def test_verify_reads_everything(source: BundleHome, tmp_path: Path) -> None:
    """Every byte of every entry, each once."""
    source.export(tmp_path / "x.bundle")
    read: dict[str, int] = {}

    def done(entry: object, count: int) -> None:
        path = entry.path  # type: ignore[attr-defined]
        read[path] = read.get(path, 0) + count

    with open_bundle(tmp_path / "x.bundle") as bundle:
        verify(bundle, done=done)
        assert read == {entry.path: entry.size_bytes for entry in bundle.manifest.entries}


def test_a_release_brings_its_adapters(source: BundleHome, target: BundleHome, tmp_path: Path) -> None:
    """Who asks for one release gets its base and its adapters with it, and the adapter still knows its base."""
    file = write_adapter(tmp_path / "polite.gguf", licence="apache-2.0")
    add_local(source.database, source.home, file, name="polite", actor="cli:test", must_copy=True, base="tiny")
    content = check_content({"model": "tiny", "adapters": {"kind": "polite"}})
    with source.database.write() as connection:
        release = store.create(connection, "kindly", content, actor="cli:test", reason=None)
    source.export(tmp_path / "x.bundle", releases=("kindly@1",))
    assert target.take_in(tmp_path / "x.bundle").models == ("polite", "tiny")
    with target.database.read() as connection:
        here = store.get(connection, "kindly", 1)
        adapter = entries.find(connection, "polite")
    assert (here.digest, here.content) == (release.digest, release.content)
    assert adapter is not None
    assert adapter.facts.kind == "adapter"
    base = base_of(adapter)
    assert base is not None
    assert base["name"] == "tiny"
