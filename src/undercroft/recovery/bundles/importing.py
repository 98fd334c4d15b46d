"""Takes a bundle in: everything in quarantine first, then all of it at once, or nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from undercroft.core.errors import ConflictError, RefusedError
from undercroft.core.home import Home
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.manifests import BundledModel, Entry, Manifest
from undercroft.recovery.bundles.probes import IMPORT_ACTION, finish, importing_alone, stage
from undercroft.recovery.bundles.problems import bad_bundle
from undercroft.recovery.bundles.reading import OpenBundle, open_bundle, own_signer
from undercroft.recovery.bundles.signing import Signer
from undercroft.registry import entries
from undercroft.registry.entries import ModelFile
from undercroft.registry.importing import Candidate, Held, Origin, explained, make_candidate, name_all, with_licence
from undercroft.registry.inspection.repository import inspect_files
from undercroft.registry.licences import LicenceGate
from undercroft.registry.progress import Progress, Stage, counted, silent
from undercroft.registry.quarantine import clean_quarantine, workspace
from undercroft.registry.releases import store
from undercroft.registry.releases.store import Release
from undercroft.storage import journal
from undercroft.storage.blobs import BlobStore, check_room, fingerprint
from undercroft.storage.database import Database


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import.

    Args:
        manifest: Of the bundle.
        signer: Who signed it.
        models: Names that are new.
        releases: Number that each new one got, by what it was called in the bundle: ``support@3``.
        probes: Names that are new.
        there: What was there already, with the same content.
    """

    manifest: Manifest
    signer: Signer
    models: tuple[str, ...]
    releases: Mapping[str, str]
    probes: tuple[str, ...]
    there: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _There:
    """What of a bundle the home has.

    Args:
        models: Name → digest of its content, of the names that the bundle wants.
        whole: Digests of files that are stored and untouched.
        releases: ``(name, digest)`` of every release.
        probes: Name → digest of its file.
    """

    models: Mapping[str, str]
    whole: frozenset[str]
    releases: frozenset[tuple[str, str]]
    probes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Work:
    """What has to be done.

    Args:
        models: That are not there, or not whole.
        releases: That are not there.
        probes: That are not there.
        there: The rest, for people.
    """

    models: tuple[BundledModel, ...]
    releases: tuple[Release, ...]
    probes: Mapping[str, Entry]
    there: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        return not (self.models or self.releases or self.probes)


def take_in(
    database: Database,
    home: Home,
    path: Path,
    *,
    trusted: str | None,
    gate: LicenceGate,
    check_probe: Callable[[bytes, Path], object],
    actor: str,
    reason: str | None = None,
    progress: Progress = silent,
) -> Imported:
    """Imports a bundle.

    Args:
        path: Of its file.
        trusted: A fingerprint, a public key or a file with one; None trusts this home's own key only.
        gate: Asked of the licence of each model that is new.
        check_probe: Raises where the content of a probe's file is not usable.
        progress: Told of every piece that is copied.

    Raises:
        NotFoundError: There is no such file.
        InvalidError: ``bad-bundle``, or a model or a probe in it is not usable.
        RefusedError: Nobody vouches for who signed it, a model can carry code, or its licence does not cover the use.
        ConflictError: A name belongs to other content here, or another import runs.
        UnavailableError: The disk is full.
    """
    with explained(), open_bundle(path) as bundle:
        if not signing.is_trusted(bundle.signer, own=own_signer(home), trusted=trusted):
            raise signing.not_trusted(bundle.signer, trusted)
        with importing_alone(home):
            clean_quarantine(home)
            with database.read() as connection:
                finish(home, connection)
                there = _look(connection, home, bundle.manifest)
            work = decide(bundle.manifest, there)
            given = _do(database, home, bundle, work, gate, check_probe, actor, reason, progress)
    return Imported(
        bundle.manifest,
        bundle.signer,
        tuple(model.name for model in work.models if model.name not in there.models),
        given,
        tuple(work.probes),
        work.there,
    )


def _look(connection: Connection, home: Home, manifest: Manifest) -> _There:
    blobs = BlobStore(home.blobs)
    found = {model.name: entries.find(connection, model.name) for model in manifest.models}
    probes = {name: home.probes / f"{name}.yaml" for name in manifest.probes()}
    return _There(
        {name: model.digest for name, model in found.items() if model is not None},
        frozenset(digest for digest in manifest.blobs() if entries.is_untouched(connection, blobs, digest)),
        frozenset((release.name, release.digest) for release in store.list_releases(connection)),
        {name: _digest_of(path) for name, path in probes.items() if path.exists()},
    )


def _digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def decide(manifest: Manifest, there: _There) -> _Work:
    """What is new and what is there already. Pure.

    Raises:
        ConflictError: ``bundle-conflicts``: a name belongs to other content here; all of them are named.
    """
    taken = [
        *(f"model {m.name}" for m in manifest.models if there.models.get(m.name, m.digest) != m.digest),
        *(
            f"probe {name}"
            for name, one in manifest.probes().items()
            if there.probes.get(name, one.digest) != one.digest
        ),
    ]
    if taken:
        raise ConflictError(
            "bundle-conflicts",
            f"nothing was imported: this home has other content under the same name: {', '.join(taken)[:600]}",
            hint="remove or rename what is here, or have a bundle made without it",
        )
    models = [
        model
        for model in manifest.models
        if model.name not in there.models or any(file.digest not in there.whole for file in model.files)
    ]
    releases = [one for one in manifest.releases if (one.name, one.digest) not in there.releases]
    probes = {name: entry for name, entry in manifest.probes().items() if name not in there.probes}
    same = [
        *(f"model {model.name}" for model in manifest.models if model not in models),
        *(f"release {one}" for one in manifest.releases if one not in releases),
        *(f"probe {name}" for name in manifest.probes() if name not in probes),
    ]
    return _Work(tuple(models), tuple(releases), probes, tuple(same))


def _do(
    database: Database,
    home: Home,
    bundle: OpenBundle,
    work: _Work,
    gate: LicenceGate,
    check_probe: Callable[[bytes, Path], object],
    actor: str,
    reason: str | None,
    progress: Progress,
) -> dict[str, str]:
    """The releases' new names, by their old ones."""
    if work.is_nothing:
        return {}
    probes = {name: bundle.content(entry) for name, entry in work.probes.items()}
    for name, content in probes.items():
        check_probe(content, Path(f"probes/{name}.yaml of the bundle"))
    given: dict[str, str] = {}
    with workspace(home) as folder:
        files = _bring(bundle, work.models, folder, progress)
        candidates = [_candidate(bundle, model, files, gate) for model in work.models]
        staged = stage(home, probes) if probes else None

        def besides(connection: Connection) -> None:
            given.update(_add_releases(connection, bundle, work.releases, actor))
            after = {**_summary(bundle, work, given), "staged": staged.name if staged is not None else None}
            journal.record(
                connection, actor=actor, action=IMPORT_ACTION, subject=bundle.manifest.id, after=after, reason=reason
            )

        try:
            name_all(database, home, candidates, actor=actor, reason=reason, besides=besides)
        except IntegrityError as error:
            raise ConflictError(
                "bundle-conflicts",
                "nothing was imported: a name of the bundle was given to something else meanwhile",
                hint="give the same command again",
            ) from error
        finally:
            with database.read() as connection:
                finish(home, connection)
    return given


def _bring(
    bundle: OpenBundle, models: Sequence[BundledModel], folder: Path, progress: Progress
) -> dict[str, tuple[Path, ModelFile]]:
    """Copies the files of models into quarantine, comparing every digest: digest → where it lies."""
    wanted = {file.digest: file for model in models for file in model.files}
    check_room(folder, sum(file.size_bytes for file in wanted.values()), what="the models of the bundle")
    brought: dict[str, tuple[Path, ModelFile]] = {}
    for number, (digest, file) in enumerate(wanted.items()):
        local = folder / str(number)  # a name of our own
        done = counted(progress, Stage.COPY, file.path, file.size_bytes)
        descriptor = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as out:

            def take(piece: bytes) -> None:
                view = memoryview(piece)
                while view:
                    view = view[out.write(view) :]
                done(len(piece))  # noqa: B023

            bundle.copy(bundle.manifest.blobs()[digest], take)
        brought[digest] = (local, file)
    return brought


def _candidate(
    bundle: OpenBundle, model: BundledModel, files: Mapping[str, tuple[Path, ModelFile]], gate: LicenceGate
) -> Candidate:
    """A model of which every file was inspected here, whatever the bundle says of it."""
    origin = Origin(
        source=model.source,
        lineage={
            "kind": "bundle",
            "bundle": bundle.manifest.id,
            "signer": bundle.signer.fingerprint,
            "from": bundle.manifest.origin,
            "lineage": dict(model.lineage),
        },
        licence=model.licence,
    )
    inspection = with_licence(inspect_files({file.path: files[file.digest][0] for file in model.files}), origin)
    verdict = gate.check(inspection.facts.licence, model=f"model {model.name!r} of the bundle")
    held = [
        Held(file, local, fingerprint(local), True)
        for file, local in ((file, files[file.digest][0]) for file in model.files)
    ]
    made = make_candidate(model.name, held, inspection, origin, {"licence": verdict.licence, "use": str(gate.use)})
    if made.model.digest != model.digest:
        raise bad_bundle(f"the files of model {model.name!r} are not those of its digest")
    return made


def _add_releases(
    connection: Connection, bundle: OpenBundle, releases: Sequence[Release], actor: str
) -> dict[str, str]:
    """Each gets the next number of its name."""
    given = {}
    for release in releases:
        note = (
            f"imported from bundle {bundle.manifest.id}, signed by {bundle.signer.fingerprint[:23]}…: {release} there"
        )
        made = store.create(
            connection,
            release.name,
            release.content,
            actor=actor,
            reason=f"{note}, made by {release.actor}" + (f": {release.reason}" if release.reason else ""),
        )
        if made.digest != release.digest:
            raise RefusedError(
                "release-differs",
                f"release {release} would not be here what it is there",
                hint="import its model first",
            )
        given[str(release)] = str(made)
    return given


def _summary(bundle: OpenBundle, work: _Work, given: Mapping[str, str]) -> dict[str, Any]:
    return {
        "signer": bundle.signer.fingerprint,
        "from": bundle.manifest.origin,
        "models": [model.name for model in work.models],
        "releases": dict(given),
        "probes": list(work.probes),
    }
