"""Models: named, immutable sets of content-addressed files. A name exists only when everything is in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.registry import entries
from undercroft.registry.adapters import refuse_alone
from undercroft.registry.entries import Model, ModelFile, weights_of
from undercroft.registry.facts import ModelFacts
from undercroft.registry.importing import Arrival, explained, register
from undercroft.registry.progress import Progress, silent
from undercroft.registry.quarantine import clean_quarantine
from undercroft.registry.references import LocalReference, name_or_suggested
from undercroft.registry.releases import store
from undercroft.registry.sources.local import collect
from undercroft.registry.upkeep import scrub
from undercroft.storage import journal
from undercroft.storage.blobs import BlobStore
from undercroft.storage.database import Database
from undercroft.storage.tables import deployments, jobs, models

__all__ = [
    "Model",
    "ModelFacts",
    "ModelFile",
    "adapter_file",
    "add_local",
    "clean_quarantine",
    "get",
    "list_models",
    "model_file",
    "model_files",
    "remove",
    "scrub",
]

_RELEASES_SHOWN = 8


def get(connection: Connection, name: str) -> Model:
    """One model.

    Raises:
        NotFoundError: There is none of that name.
    """
    found = entries.find(connection, name)
    if found is None:
        raise NotFoundError(
            "no-such-model",
            f"there is no model {name[:80]!r}{_nearest(connection, name)}",
            hint="undercroft model list",
        )
    return found


def _nearest(connection: Connection, name: str) -> str:
    names = connection.execute(select(models.c.name)).scalars().all()
    near = get_close_matches(name[:80], names, n=1)
    return f"; nearest is {near[0]!r}" if near else ""


def list_models(connection: Connection) -> list[Model]:
    """Every model, by name."""
    return entries.list_all(connection)


def add_local(
    database: Database,
    home: Home,
    path: Path,
    *,
    name: str | None = None,
    actor: str,
    reason: str | None = None,
    must_copy: bool = False,
    progress: Progress = silent,
    base: str | None = None,
) -> Model:
    """Registers a file or folder of this machine; gives the model that was there already where it has that content.

    Args:
        base: The registered model that an adapter belongs to; None leaves that open.

    Raises:
        NotFoundError: There is nothing at the path, or no such base.
        InvalidError: A file is damaged or of an unknown format.
        RefusedError: A file can carry code.
        ConflictError: The name belongs to other content.
        UnavailableError: The disk is full.
    """
    return bring_local(
        database,
        home,
        LocalReference(path.absolute()),
        name=name,
        actor=actor,
        reason=reason,
        must_copy=must_copy,
        progress=progress,
        base=base,
    ).model


def bring_local(
    database: Database,
    home: Home,
    reference: LocalReference,
    *,
    name: str | None,
    actor: str,
    reason: str | None,
    must_copy: bool,
    progress: Progress,
    admit: Callable[[ModelFacts], Mapping[str, Any]] = lambda facts: {},
    base: str | None = None,
) -> Arrival:
    """`add_local`, and what came of it.

    Args:
        admit: Asked before the model has a name; see `undercroft.registry.importing.register`.
        base: Of an adapter; see there.
    """
    with explained():
        files, origin = collect(reference.path)
        return register(
            database,
            home,
            files,
            origin,
            name=name_or_suggested(name, reference, [file.path for file in files]),
            actor=actor,
            reason=reason,
            must_copy=must_copy,
            progress=progress,
            admit=admit,
            base=base,
        )


def remove(database: Database, name: str, *, actor: str, reason: str | None = None) -> Model:
    """Forgets a model. Its files stay until ``gc``: other models may share them.

    Raises:
        NotFoundError: There is none of that name.
        ConflictError: A deployment, a release or a job uses it.
    """
    with database.write() as connection:
        model = get(connection, name)
        rows = connection.execute(select(deployments).order_by(deployments.c.name))
        users = [row.name for row in rows if name in (row.model, *row.settings.get("adapters", {}).values())]
        if users:
            what = "deployment " + ", ".join(repr(user) for user in users)
            raise ConflictError(
                "model-in-use",
                f"cannot remove model {name!r}: {what} uses it",
                hint=f"undercroft deployment remove {users[0]}",
            )
        if releases := store.using_model(connection, name):
            shown = ", ".join(releases[:_RELEASES_SHOWN]) + (" and others" if len(releases) > _RELEASES_SHOWN else "")
            raise ConflictError(
                "model-in-use",
                f"cannot remove model {name!r}: release {shown} uses it",
                hint=f"undercroft release remove {releases[0]}",
            )
        if job := _job_reading(connection, name):
            raise ConflictError(
                "model-in-use", f"cannot remove model {name!r}: job {job} reads it", hint=f"undercroft job cancel {job}"
            )
        connection.execute(delete(models).where(models.c.name == name))
        journal.record(
            connection, actor=actor, action="model.remove", subject=name, before=model.to_summary(), reason=reason
        )
    return model


def _job_reading(connection: Connection, name: str) -> str | None:
    """A job that waits or runs, and reads the model."""
    rows = connection.execute(select(jobs.c.id, jobs.c.parents).where(jobs.c.state.in_(("queued", "running"))))
    return next((row.id for row in rows if name in (parent["name"] for parent in row.parents)), None)


def model_file(home: Home, connection: Connection, model: Model) -> Path:
    """The file to hand to an engine, after a look that does not read it: size, time and inode as when it was hashed.

    The parts of a split GGUF find each other by name, so they get a folder of links with such names.

    Raises:
        InvalidError: It is no GGUF, or an adapter.
        UnavailableError: A stored file is gone or was touched since it was hashed.
    """
    refuse_alone(model, what="run")
    weights = weights_of(model)
    if not weights:
        raise InvalidError(
            "not-servable",
            f"model {model.name!r} is {model.format}, expected gguf, which is what the engines of this version run",
            hint="pull a GGUF of it",
        )
    store = BlobStore(home.blobs)
    paths = [_checked(store, connection, model, file) for file in weights]
    if len(paths) == 1:
        return paths[0]
    return _side_by_side(store, model, paths)


def adapter_file(home: Home, connection: Connection, adapter: Model) -> Path:
    """The GGUF of an adapter to hand to an engine beside its base, after the same look.

    Raises:
        UnavailableError: The stored file is gone or was touched since it was hashed.
    """
    return _checked(BlobStore(home.blobs), connection, adapter, weights_of(adapter)[0])


def model_files(home: Home, connection: Connection, model: Model) -> dict[str, Path]:
    """Every file of a model, by its path in the source, after the same look.

    Raises:
        UnavailableError: A stored file is gone or was touched since it was hashed.
    """
    store = BlobStore(home.blobs)
    return {file.path: _checked(store, connection, model, file) for file in model.files}


def _checked(store: BlobStore, connection: Connection, model: Model, file: ModelFile) -> Path:
    if not entries.is_untouched(connection, store, file.digest):
        raise UnavailableError(
            "model-changed",
            f"model {model.name!r} cannot be loaded: its file {file.path[-80:]!r} was changed or removed "
            "since it was checked",
            hint=f"undercroft model verify {model.name}",
        )
    return store.path(file.digest)


def _side_by_side(store: BlobStore, model: Model, paths: list[Path]) -> Path:
    folder = store.parts_folder(model.digest)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    links = []
    for number, path in enumerate(paths, start=1):
        link = folder / f"model-{number:05d}-of-{len(paths):05d}.gguf"
        if not link.exists() or not os.path.samefile(link, path):
            link.unlink(missing_ok=True)
            os.link(path, link)
        links.append(link)
    return links[0]
