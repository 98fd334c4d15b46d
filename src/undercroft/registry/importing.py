"""From files that lie somewhere to a model with a name: bring in, inspect, hash, place, and only then name."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from undercroft.catalog.licences import together
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.ids import check_name
from undercroft.registry import adapters, entries
from undercroft.registry.entries import Model, ModelFile
from undercroft.registry.facts import UNKNOWN, ModelFacts
from undercroft.registry.inspection.repository import Inspection, inspect_files
from undercroft.registry.progress import Progress, Stage, counted
from undercroft.registry.quarantine import workspace
from undercroft.storage import journal
from undercroft.storage.blobs import (
    BlobStore,
    Fingerprint,
    Method,
    bring_in,
    digest_file,
    explain_disk_full,
    fingerprint,
)
from undercroft.storage.database import Database


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file on its way in.

    Args:
        path: As its source calls it; relative, with ``/``.
        local: Where its bytes are now.
        is_ours: Whether it was downloaded for this import, and may be moved.
        digest: What the source says its content has; None where it does not say.
    """

    path: str
    local: Path
    is_ours: bool = False
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where files come from.

    Args:
        source: For people: the reference, with the commit for a hub.
        lineage: For programs: its parts.
        skipped: Files of the source that no model needs, and that were left there.
        licence: What the source says of it beside the files; None where it says nothing.
    """

    source: str
    lineage: Mapping[str, Any]
    skipped: tuple[str, ...] = ()
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of an import.

    Args:
        model: The entry that has the name now.
        is_new: False where it was there already.
        skipped: Files that were left at the source.
        methods: How files were brought in: ``reflink``, ``hard link``, ``copy``, ``download``.
    """

    model: Model
    is_new: bool
    skipped: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Brought:
    """A file in quarantine, and what it looked like before anything read it."""

    file: IncomingFile
    local: Path
    look: Fingerprint
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A file in quarantine, inspected and hashed.

    Args:
        file: Its path at the source, its digest, its size.
        local: Where it lies.
        look: What it looked like when it was hashed.
        is_ours: Whether nobody else has it.
    """

    file: ModelFile
    local: Path
    look: Fingerprint
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is ready to get its name.

    Args:
        model: The entry.
        held: Its files.
        noted: More for the journal: licence and use.
    """

    model: Model
    held: tuple[Held, ...]
    noted: Mapping[str, Any]


@contextmanager
def explained() -> Iterator[None]:
    """What the operating system and the database refuse on the way, as errors that say what to do.

    Raises:
        UnavailableError: ``disk-full`` or ``file-unusable``.
    """
    try:
        yield
    except OSError as error:
        where = str(error.filename or "a file")
        raise explain_disk_full(error, what=where) or UnavailableError(
            "file-unusable",
            f"cannot read or write {where[-200:]!r}: {error.strerror or error}",
            hint="check who may read the file, and its disk",
        ) from error
    except OperationalError as error:
        if "disk is full" not in str(error.orig):
            raise
        full = OSError(errno.ENOSPC, "disk full")
        raise explain_disk_full(full, what="the database") or error from error


def register(
    database: Database,
    home: Home,
    files: Sequence[IncomingFile],
    origin: Origin,
    *,
    name: str,
    actor: str,
    reason: str | None = None,
    must_copy: bool = False,
    progress: Progress,
    admit: Callable[[ModelFacts], Mapping[str, Any]] = lambda facts: {},
    besides: Callable[[Connection], object] = lambda connection: None,
    base: str | None = None,
) -> Arrival:
    """Makes a model of files, or of nothing where any of them is not fit for one.

    Args:
        files: All of one model.
        origin: Where they come from.
        name: What to call it.
        must_copy: Never share bytes with a local source.
        progress: Told of every piece that is copied or hashed.
        admit: Asked when the files were looked into and before they have a name; what it says goes to the journal and
            to the model's lineage.
        besides: Does more in the transaction that gives the name; what it raises undoes everything.
        base: The registered model that an adapter belongs to, which it is held against; None leaves that open.

    Raises:
        InvalidError: A file is damaged, of an unknown format, or not what its source says; or no adapter of that base.
        NotFoundError: There is no such base.
        RefusedError: A file can carry code, or ``admit`` does not let it in.
        ConflictError: The name belongs to other content, or a source changed while it was read.
        UnavailableError: The disk is full.
    """
    check_name(name, what="model")
    with workspace(home) as folder:
        brought, methods = _bring_all(files, folder, must_copy, progress)

        def noted(inspection: Inspection) -> dict[str, Any]:
            return {**admit(inspection.facts), **_noted_base(database, home, brought, inspection, name, base)}

        candidate = _candidate_of(name, brought, origin, noted, progress)
        try:
            is_new = name_all(database, home, [candidate], actor=actor, reason=reason, besides=besides)[name]
            model = candidate.model
        except IntegrityError as error:
            is_new, model = False, _other_was_first(database, candidate.model, error)
        if not is_new:
            with database.read() as connection:
                model = entries.find(connection, name) or model
    return Arrival(model, is_new, origin.skipped, tuple(sorted(set(methods))))


@dataclass(frozen=True, slots=True)
class Incoming:
    """One of several models that come in together.

    Args:
        name: What to call it.
        files: All of it.
        origin: Where they come from.
        noted: For the journal and the model's lineage.
    """

    name: str
    files: Sequence[IncomingFile]
    origin: Origin
    noted: Mapping[str, Any]


def register_together(
    database: Database,
    home: Home,
    incoming: Sequence[Incoming],
    *,
    actor: str,
    reason: str | None = None,
    progress: Progress,
    besides: Callable[[Connection], object] = lambda connection: None,
) -> None:
    """Makes models of files that have their names in one transaction: all of them, or none.

    Args:
        incoming: The models, each with another name.
        actor: Who.
        reason: Why, in the actor's words.
        progress: Told of every piece that is copied or hashed.
        besides: Does more in that transaction, after the models are there; what it raises undoes everything.

    Raises:
        InvalidError: A file is damaged, or of an unknown format.
        RefusedError: A file can carry code.
        ConflictError: A name belongs to other content.
        UnavailableError: The disk is full.
    """
    with workspace(home) as folder:
        candidates = []
        for number, one in enumerate(incoming):
            check_name(one.name, what="model")
            own = folder / f"model-{number}"
            own.mkdir()
            brought, _ = _bring_all(one.files, own, False, progress)
            candidates.append(_candidate_of(one.name, brought, one.origin, partial(_given, one.noted), progress))
        try:
            name_all(database, home, candidates, actor=actor, reason=reason, besides=besides)
        except IntegrityError:  # a name was given meanwhile: to the same content, or this says that it is taken
            name_all(database, home, candidates, actor=actor, reason=reason, besides=besides)


def _given(noted: Mapping[str, Any], _: Inspection) -> Mapping[str, Any]:
    return noted


def _candidate_of(
    name: str,
    brought: Sequence[_Brought],
    origin: Origin,
    noted: Callable[[Inspection], Mapping[str, Any]],
    progress: Progress,
) -> Candidate:
    """Looks into files, asks what is noted of them, and hashes them."""
    inspection = with_licence(inspect_files({item.file.path: item.local for item in brought}), origin)
    more = noted(inspection)
    return make_candidate(name, [_hash(item, progress) for item in brought], inspection, origin, more)


def _noted_base(
    database: Database, home: Home, brought: Sequence[_Brought], inspection: Inspection, name: str, base: str | None
) -> dict[str, dict[str, str]]:
    if base is None:
        return {}
    if inspection.facts.adapter is None:
        raise InvalidError(
            "not-an-adapter",
            f"{name!r} is a whole model, expected a LoRA adapter of the base {base!r}",
            hint="leave --base out",
        )
    with database.read() as connection:
        files = {item.file.path: item.local for item in brought}
        return adapters.check_base(home, connection, files, name=name, base=base)


def with_licence(inspection: Inspection, origin: Origin) -> Inspection:
    """What the files say, and the licence that their source names besides."""
    licence = together([inspection.facts.licence, origin.licence]) or UNKNOWN
    return replace(inspection, facts=replace(inspection.facts, licence=licence))


def name_taken(name: str, found: Model) -> ConflictError:
    """The error where a name is wanted for other content than it has."""
    return ConflictError(
        "model-exists",
        f"the name {name!r} belongs to another model already: from {found.source}, {found.digest[:19]}…",
        hint="give another name with --name",
    )


def _bring_all(
    files: Sequence[IncomingFile], folder: Path, must_copy: bool, progress: Progress
) -> tuple[list[_Brought], list[str]]:
    brought, methods = [], []
    for number, file in enumerate(files):
        # The source's own name never becomes one of ours.
        local = folder / str(number)
        if file.is_ours:
            file.local.rename(local)
            brought.append(_Brought(file, local, fingerprint(local), True))
            methods.append("download")
            continue
        before = fingerprint(file.local)
        done = counted(progress, Stage.COPY, file.path, before.size_bytes)
        method: Method = bring_in(file.local, local, must_copy=must_copy, done=done)
        if fingerprint(file.local) != before:
            raise _source_changed(file)
        brought.append(_Brought(file, local, fingerprint(local), method != "hard link"))
        methods.append(method)
    return brought, methods


def _source_changed(file: IncomingFile) -> ConflictError:
    return ConflictError(
        "source-changed",
        f"{file.path[-120:]!r} was written while it was read",
        hint="wait until it is complete, then pull again",
    )


def _hash(item: _Brought, progress: Progress) -> Held:
    file, size = item.file, item.look.size_bytes
    digest = digest_file(item.local, done=counted(progress, Stage.CHECK, file.path, size))
    if fingerprint(item.local) != item.look:
        raise _source_changed(file)
    if file.digest is not None and digest != file.digest:
        raise InvalidError(
            "wrong-digest",
            f"{file.path[-120:]!r} is not what its source says: expected {file.digest}, got {digest}",
            hint="pull again; if it stays so, the source is damaged or somebody changes it on the way",
        )
    return Held(ModelFile(file.path, digest, size), item.local, item.look, item.is_ours)


def make_candidate(
    name: str, held: Sequence[Held], inspection: Inspection, origin: Origin, noted: Mapping[str, Any]
) -> Candidate:
    """A model of files that were inspected and hashed.

    Args:
        name: What to call it.
        held: Its files.
        inspection: What they say.
        origin: Where they come from.
        noted: For its lineage and the journal.
    """
    files = tuple(sorted((one.file for one in held), key=lambda file: file.path))
    model = Model(
        name=name,
        digest=entries.manifest_digest(files),
        source=origin.source,
        format=inspection.format,
        size_bytes=sum(file.size_bytes for file in files),
        facts=inspection.facts,
        lineage={**origin.lineage, **noted},
        created_at=to_iso(utc_now()),
        files=files,
    )
    return Candidate(model, tuple(held), noted)


def name_all(
    database: Database,
    home: Home,
    candidates: Sequence[Candidate],
    *,
    actor: str,
    reason: str | None = None,
    besides: Callable[[Connection], object] = lambda connection: None,
) -> dict[str, bool]:
    """Places the files of models and gives all of them their names in one transaction.

    Args:
        candidates: Each with another name.
        actor: Who.
        reason: Why, in the actor's words.
        besides: Does more in that transaction, after the models are there; what it raises undoes everything.

    Returns:
        Name → whether it was given now; one that had this content already is left as it is.

    Raises:
        ConflictError: A name belongs to other content.
        IntegrityError: Somebody else gave one of the names meanwhile.
    """
    blob_store = BlobStore(home.blobs)
    every = {held.file.digest: held for one in candidates for held in one.held}
    with blob_store.adding():
        with database.read() as connection:
            found = {one.model.name: entries.find(connection, one.model.name) for one in candidates}
            kept = {digest: entries.fingerprint_of(connection, digest) for digest in every}
        for one in candidates:
            there = found[one.model.name]
            if there is not None and there.digest != one.model.digest:
                raise name_taken(one.model.name, there)
        seen = {digest: _place(blob_store, held, kept[digest]) for digest, held in every.items()}
        with database.write() as connection:
            for digest, look in seen.items():
                entries.write_fingerprint(connection, digest, look, verified_at=to_iso(utc_now()))
            for one in candidates:
                if found[one.model.name] is None:
                    _add(
                        connection, one, {held.file.digest: seen[held.file.digest] for held in one.held}, actor, reason
                    )
            besides(connection)
    return {name: there is None for name, there in found.items()}


def _add(
    connection: Connection, one: Candidate, seen: Mapping[str, Fingerprint], actor: str, reason: str | None
) -> None:
    entries.add(connection, one.model, seen)
    journal.record(
        connection,
        actor=actor,
        action="model.add",
        subject=one.model.name,
        after={**one.model.to_summary(), **one.noted},
        reason=reason,
    )


def _place(store: BlobStore, held: Held, kept: Fingerprint | None) -> Fingerprint:
    """What the stored file looks like: the one that is there where it is untouched, else the one that came in."""
    path = store.path(held.file.digest)
    if kept is not None and path.exists() and fingerprint(path) == kept:
        return kept
    store.place(held.local, held.file.digest, is_ours=held.is_ours)
    return fingerprint(path)


def _other_was_first(database: Database, model: Model, error: IntegrityError) -> Model:
    with database.read() as connection:
        found = entries.find(connection, model.name)
    if found is None:
        raise error
    if found.digest != model.digest:
        raise name_taken(model.name, found) from error
    return found
