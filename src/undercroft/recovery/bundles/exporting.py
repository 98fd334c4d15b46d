"""Makes a bundle: chosen in one look at the database, written in one pass, visible only when it is whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from packaging.utils import canonicalize_name
from sqlalchemy import Connection

import undercroft
from undercroft.catalog.licences import load_licences
from undercroft.core.clock import to_iso
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.files import sync_folder
from undercroft.core.home import Home
from undercroft.core.ids import NAME_PATTERN, check_name
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.layout import END, header, padding_bytes, place
from undercroft.recovery.bundles.licence_texts import texts_of
from undercroft.recovery.bundles.manifests import (
    MANIFEST_LIMIT_BYTES,
    SBOM_PATH,
    BundledModel,
    Entry,
    Manifest,
    sort_entries,
)
from undercroft.recovery.bundles.reading import MANIFEST_PATH, PIECE_BYTES, SIGNATURE_PATH
from undercroft.recovery.bundles.sbom import Package, bill_of_materials
from undercroft.recovery.bundles.signing import Signer
from undercroft.recovery.bundles.wheels import Wheel, whole_set
from undercroft.recovery.creating import origin_of
from undercroft.recovery.manifests import new_backup_id
from undercroft.registry import entries
from undercroft.registry.entries import Model
from undercroft.registry.progress import Progress, Stage, counted, silent
from undercroft.registry.releases import store
from undercroft.registry.releases.files import read_file
from undercroft.registry.releases.references import parse_release
from undercroft.registry.releases.store import Release
from undercroft.storage import journal
from undercroft.storage.blobs import BlobStore, check_room, digest_file, explain_disk_full
from undercroft.storage.database import Database

CheckProbe = Callable[[bytes, Path], object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes into a bundle; all three empty is everything that the home has.

    Args:
        models: Names.
        releases: ``NAME`` for all of a name, ``NAME@7`` or ``NAME:tag`` for one.
        probes: Names.
        wheels: A folder of wheels; None for none.
    """

    models: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    wheels: Path | None = None

    @property
    def is_everything(self) -> bool:
        return not (self.models or self.releases or self.probes)


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was made.

    Args:
        file: Where it is.
        manifest: Of it.
        signer: Who signed it.
        digest: Of the file.
        size_bytes: Of the file.
    """

    file: Path
    manifest: Manifest
    signer: Signer
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What was found in the database."""

    models: tuple[Model, ...]
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the content of an entry is: a file that is streamed, or bytes that are small."""

    entry: Entry
    content: Path | bytes


def export(
    database: Database,
    home: Home,
    out: Path,
    wanted: Wanted,
    *,
    key: Ed25519PrivateKey,
    check_probe: CheckProbe,
    at: datetime,
    actor: str,
    reason: str | None = None,
    progress: Progress = silent,
) -> Exported:
    """Writes a bundle.

    Args:
        out: Must not exist.
        wanted: What goes in. The model of a release always does.
        key: Signs it.
        check_probe: Raises where the content of a probe's file is not usable.
        at: Now.
        progress: Told of every piece of a model that is written.

    Raises:
        NotFoundError: There is no such model, release, probe or folder.
        InvalidError: A wheel or a name is not usable, or wheels are missing.
        ConflictError: The file is there already, or a stored file was changed since it was hashed.
        UnavailableError: It cannot be written.
    """
    if out.exists():
        raise ConflictError("file-exists", f"{out} is there already", hint="give another name, or remove it first")
    with database.read() as connection:
        chosen = _choose(connection, home, wanted)
    bundle_id = new_backup_id(at)
    sources = [*_texts(chosen.models, home), *_probes(home, wanted, check_probe), *_blobs(chosen.models, home)]
    wheels = whole_set(wanted.wheels) if wanted.wheels is not None else []
    packages = [_package(wheel, wheels) for wheel in wheels]
    sources += [_Source(package.entry, wheel.file) for package, wheel in zip(packages, wheels, strict=True)]
    models, releases = tuple(map(_bundled_model, chosen.models)), chosen.releases
    bill = bill_of_materials(
        bundle_id=bundle_id,
        at=to_iso(at),
        version=undercroft.__version__,
        models=models,
        releases=releases,
        probes={Path(one.entry.path).stem: one.entry for one in sources if one.entry.path.startswith("probes/")},
        packages=packages,
    )
    sources.append(_small(SBOM_PATH, bill))
    by_path = {source.entry.path: source for source in sources}
    manifest = Manifest(
        id=bundle_id,
        at=to_iso(at),
        origin=origin_of(home),
        version=undercroft.__version__,
        reason=reason,
        entries=sort_entries([source.entry for source in by_path.values()]),
        models=models,
        releases=releases,
    )
    digest, size_bytes = _write(out, manifest, [by_path[entry.path] for entry in manifest.entries], key, progress)
    exported = Exported(out, manifest, signing.signer_of(key), digest, size_bytes)
    _tell(database, exported, actor, reason)
    return exported


def _choose(connection: Connection, home: Home, wanted: Wanted) -> _Chosen:
    """Releases, and models with those that releases need."""
    releases: dict[str, Release] = {}
    if wanted.is_everything:
        releases = {str(release): release for release in store.list_releases(connection)}
        names = {model.name for model in entries.list_all(connection)}
    else:
        names = set(wanted.models)
        for text in wanted.releases:
            releases.update((str(release), release) for release in _named(connection, text))
    names |= {name for release in releases.values() for name in release.content.model_names}
    models = []
    for name in sorted(names):
        model = entries.find(connection, name)
        if model is None:
            raise NotFoundError("no-such-model", f"there is no model {name[:80]!r}", hint="undercroft model list")
        _check_untouched(connection, home, model)
        models.append(model)
    return _Chosen(tuple(models), tuple(sorted(releases.values(), key=lambda one: (one.name, one.number))))


def _named(connection: Connection, text: str) -> list[Release]:
    reference = parse_release(text)
    if reference.number is not None or reference.tag is not None:
        return [store.resolve(connection, reference)]
    store.resolve(connection, reference)
    return store.list_releases(connection, reference.name)


def _check_untouched(connection: Connection, home: Home, model: Model) -> None:
    blobs = BlobStore(home.blobs)
    for file in model.files:
        if not entries.is_untouched(connection, blobs, file.digest):
            raise _model_changed(model.name, file.path)


def _model_changed(model: str, path: str) -> ConflictError:
    return ConflictError(
        "model-changed",
        f"{model} cannot be exported: its file {path[-80:]!r} was changed or removed since it was checked",
        hint="undercroft model verify, then pull it again",
    )


def _small(path: str, content: bytes) -> _Source:
    return _Source(Entry(path, len(content), f"sha256:{hashlib.sha256(content).hexdigest()}"), content)


def _texts(models: Sequence[Model], home: Home) -> list[_Source]:
    texts = texts_of(models, home, load_licences(home.catalogue))
    return [_small(f"licences/{licence}.txt", text) for licence, text in texts.items()]


def _probes(home: Home, wanted: Wanted, check_probe: CheckProbe) -> list[_Source]:
    there = sorted(path.stem for path in home.probes.glob("*.yaml") if NAME_PATTERN.fullmatch(path.stem))
    names = there if wanted.is_everything else [check_name(name, what="probe") for name in wanted.probes]
    found = []
    for name in dict.fromkeys(names):
        content = read_file(home.probes / f"{name}.yaml")
        check_probe(content, home.probes / f"{name}.yaml")
        found.append(_small(f"probes/{name}.yaml", content))
    return found


def _blobs(models: Sequence[Model], home: Home) -> list[_Source]:
    blobs = BlobStore(home.blobs)
    return [
        _Source(
            Entry(f"blobs/{file.digest.removeprefix('sha256:')}", file.size_bytes, file.digest), blobs.path(file.digest)
        )
        for model in models
        for file in model.files
    ]


def _package(wheel: Wheel, wheels: Sequence[Wheel]) -> Package:
    names = {other.name for other in wheels}
    needed = {str(canonicalize_name(one.name)) for one in wheel.requires}
    path = f"wheels/{wheel.file.name}"
    entry = Entry(path, wheel.file.stat().st_size, digest_file(wheel.file))
    return Package(entry, wheel.name, wheel.version, wheel.licence, tuple(sorted(needed & names)))


def _bundled_model(model: Model) -> BundledModel:
    return BundledModel(
        name=model.name,
        digest=model.digest,
        source=model.source,
        licence=model.facts.licence,
        created_at=model.created_at,
        lineage=model.lineage,
        facts=model.facts.to_dict(),
        files=model.files,
    )


class _Writer:
    """Counts and hashes what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state = hashlib.sha256()
        self.size_bytes = 0

    def write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._state.update(content)
        self.size_bytes += len(content)

    @property
    def digest(self) -> str:
        return f"sha256:{self._state.hexdigest()}"


def _write(
    out: Path, manifest: Manifest, sources: Sequence[_Source], key: Ed25519PrivateKey, progress: Progress
) -> tuple[str, int]:
    """Digest and size of the file."""
    raw = manifest.to_bytes()
    if len(raw) > MANIFEST_LIMIT_BYTES:
        raise InvalidError(
            "bundle-too-large", f"the manifest would have {len(raw):,} bytes", hint="choose fewer models"
        )
    head = [(MANIFEST_PATH, raw), (SIGNATURE_PATH, signing.sign(key, raw))]
    sizes = [*((path, len(content)) for path, content in head), *((s.entry.path, s.entry.size_bytes) for s in sources)]
    try:
        check_room(out.absolute().parent, place(sizes)[1] + len(END), what=str(out))
        with _appearing(out) as file:
            writer = _Writer(file)
            for path, content in head:
                _frame(writer, path, [content], len(content))
            for source in sources:
                _frame(writer, source.entry.path, _pieces(source, progress), source.entry.size_bytes)
            writer.write(END)
    except OSError as error:
        raise explain_disk_full(error, what=str(out)) or UnavailableError(
            "file-unusable", f"cannot write {out}: {error.strerror or error}", hint="check its folder and its disk"
        ) from error
    return writer.digest, writer.size_bytes


def _frame(writer: _Writer, path: str, content: Iterator[bytes | memoryview] | list[bytes], size_bytes: int) -> None:
    writer.write(header(path, size_bytes))
    for piece in content:
        writer.write(piece)
    writer.write(bytes(padding_bytes(size_bytes)))


def _pieces(source: _Source, progress: Progress) -> Iterator[bytes | memoryview]:
    """A content as it is written, compared with its digest on the way."""
    if isinstance(source.content, bytes):
        yield source.content
        return
    entry, state, left = source.entry, hashlib.sha256(), source.entry.size_bytes
    done = counted(progress, Stage.COPY, entry.path, entry.size_bytes)
    buffer = memoryview(bytearray(PIECE_BYTES))
    with source.content.open("rb", buffering=0) as file:
        while left and (count := file.readinto(buffer[: min(left, PIECE_BYTES)])):
            state.update(buffer[:count])
            left -= count
            yield buffer[:count]
            done(count)
    if left or f"sha256:{state.hexdigest()}" != entry.digest:
        raise _model_changed(entry.path, entry.path)


@contextmanager
def _appearing(out: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when everything was written and is durable, and is gone where something failed.

    Raises:
        ConflictError: ``file-exists``: somebody made one of that name meanwhile.
    """
    descriptor, temporary = tempfile.mkstemp(dir=out.absolute().parent, prefix=f".{out.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # A stick knows no hard links, which alone would refuse a name that was given meanwhile.
        if out.exists():
            raise ConflictError("file-exists", f"{out} was made meanwhile", hint="give another name")
        os.rename(temporary, out)
    finally:
        Path(temporary).unlink(missing_ok=True)
    sync_folder(out.absolute().parent)


def _tell(database: Database, exported: Exported, actor: str, reason: str | None) -> None:
    manifest = exported.manifest
    after = {
        "digest": exported.digest,
        "signer": exported.signer.fingerprint,
        "models": [model.name for model in manifest.models],
        "releases": [str(release) for release in manifest.releases],
        "probes": sorted(manifest.probes()),
        "wheels": len(manifest.below("wheels")),
    }
    with database.write() as connection:
        journal.record(connection, actor=actor, action="bundle.export", subject=manifest.id, after=after, reason=reason)
