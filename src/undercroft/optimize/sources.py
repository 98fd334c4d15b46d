"""The models that a job reads: found in the registry, checked against their digests, opened as far as their header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.optimize.lineage import made_here
from undercroft.optimize.quantization.source import read_header
from undercroft.registry import models
from undercroft.registry.adapters import base_of, refuse_alone
from undercroft.registry.entries import Model, weights_of
from undercroft.registry.inspection.gguf import GgufHeader
from undercroft.registry.selection import PEFT_CONFIG

_PLAIN_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}")
# What an adapter is compared in, most precise first.
_COMPARED = ("F32", "BF16", "F16", "Q8_0")


@dataclass(frozen=True, slots=True)
class Source:
    """A model that is read.

    Args:
        model: Its entry.
        path: Its stored file; of a split model the first part, beside which the others lie.
        header: What the file says of itself, all parts together.
    """

    model: Model
    path: Path
    header: GgufHeader


@dataclass(frozen=True, slots=True)
class PublishedSource:
    """A model that is read as its makers published it: settings, safetensors, tokenizer.

    Args:
        model: Its entry.
        files: Path as published → stored file.
    """

    model: Model
    files: Mapping[str, Path]

    @property
    def path(self) -> Path:
        """Its settings, which say what it is."""
        return self.files[PEFT_CONFIG if PEFT_CONFIG in self.files else "config.json"]

    @property
    def bytes_beside_weights(self) -> int:
        """Settings, tokenizer and documents, as they are stored."""
        return sum(file.size_bytes for file in self.model.files if not file.path.endswith(".safetensors"))

    def lay_out(self, folder: Path) -> None:
        """Makes links with the names that its makers gave, in a folder that is made."""
        for name, stored in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(stored)


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter as PEFT writes it, and its base in the two forms that it is run in.

    Args:
        adapter: What is read.
        base: The model that it changes, as it was published.
        gguf: The same model as llama.cpp loads it.
    """

    adapter: PublishedSource
    base: PublishedSource
    gguf: Source


def refuse_rounded(model: Model) -> None:
    """Makes sure that a published model still has the precision that it was trained in.

    Args:
        model: Its entry.

    Raises:
        InvalidError: ``requantizing``: it is rounded already.
    """
    if model.facts.quantization not in ("F32", "F16", "BF16"):
        raise InvalidError(
            "requantizing",
            f"model {model.name!r} is rounded to {model.facts.quantization} already: expected F32, F16 or BF16",
            hint="take the model as it was published first",
        )


def open_source(home: Home, connection: Connection, name: str) -> Source:
    """Looks a model up.

    Raises:
        NotFoundError: There is none of that name.
        InvalidError: It is no GGUF.
        UnavailableError: Its stored file was changed or is gone.
    """
    model = models.get(connection, name)
    if model.format != "gguf":
        raise InvalidError(
            "wrong-format",
            f"model {name!r} cannot be read by this recipe: expected a GGUF, it is {model.format}",
            hint="pull a GGUF of it, in F16 or BF16",
        )
    path = models.model_file(home, connection, model)
    return Source(model, path, replace(read_header(path), name=weights_of(model)[0].path))


def open_published(
    home: Home, connection: Connection, name: str, *, form: Literal["safetensors", "onnx"] = "safetensors"
) -> PublishedSource:
    """Looks a model up that lies as it was published, or as a step left it.

    Args:
        home: Of the models.
        connection: Of its database.
        name: Of the model.
        form: Of its weights.

    Raises:
        NotFoundError: There is none of that name.
        InvalidError: It is no folder of that form, or a file of it has a name that no folder of ours gets.
        UnavailableError: A stored file was changed or is gone.
    """
    model = models.get(connection, name)
    refuse_alone(model, what="read by this recipe")
    if model.format != form and form == "onnx":
        raise InvalidError(
            "wrong-format",
            f"model {name!r} cannot be read by this recipe: expected ONNX, it is {model.format}",
            hint=f"undercroft optimize convert {name} --to onnx",
        )
    if model.format != form:
        raise InvalidError(
            "wrong-format",
            f"model {name!r} cannot be converted: expected safetensors, as models are published, it is {model.format}",
            hint="pull the original: undercroft model pull hf://ORG/NAME",
        )
    return _published(home, connection, model)


def _published(home: Home, connection: Connection, model: Model) -> PublishedSource:
    files = models.model_files(home, connection, model)
    odd = [path for path in files if not _PLAIN_PATH.fullmatch(path)]
    if odd:
        raise InvalidError(
            "odd-file-name",
            f"model {model.name!r} has a file whose name a converter should not be given: {odd[0][-120:]!r}",
            hint="rename it at its source and pull again",
        )
    return PublishedSource(model, files)


def open_adapter(home: Home, connection: Connection, name: str, gguf: str | None) -> AdapterSource:
    """Looks an adapter up that is to be converted, and its base in both forms.

    Args:
        home: Of the models.
        connection: Of its database.
        name: Of the adapter.
        gguf: Its base as a GGUF; None takes the most precise that was converted from the published one.

    Raises:
        NotFoundError: There is none of a name, or the base is not here in a form that is needed.
        InvalidError: It is a GGUF already, or the base is in a form that nothing can be compared in.
        UnavailableError: A stored file was changed or is gone.
    """
    model = models.get(connection, name)
    if model.format != "safetensors":
        raise InvalidError(
            "wrong-format",
            f"adapter {name!r} cannot be converted: expected PEFT's folder, it is {model.format}",
            hint=f"it is served as it is: undercroft deployment create BASE --adapter {name}",
        )
    said = base_of(model)
    known = [one for one in models.list_models(connection) if said is not None and one.digest == said["digest"]]
    if said is None or not known:
        lacking = f"its base {said['name']!r}, which is not here any more" if said else "a base, and it names none"
        raise NotFoundError(
            "no-base",
            f"adapter {name!r} cannot be converted: it is compared with {lacking}",
            hint="pull the published base, then: undercroft model pull FOLDER --name NEW-NAME --base BASE",
        )
    base = open_published(home, connection, known[0].name)
    model_of = open_source(home, connection, gguf or _converted(connection, base.model))
    if model_of.model.facts.quantization not in _COMPARED:
        raise InvalidError(
            "base-too-rounded",
            f"model {model_of.model.name!r} is kept in {model_of.model.facts.quantization}: an adapter is compared "
            f"with its source beside a base in {', '.join(_COMPARED)}",
            hint=f"undercroft optimize convert {base.model.name} --to gguf; smaller ones take the adapter, too",
        )
    return AdapterSource(_published(home, connection, model), base, model_of)


def _converted(connection: Connection, base: Model) -> str:
    """Name of the most precise GGUF that was made of a published model."""
    found = [
        model
        for model in models.list_models(connection)
        if model.format == "gguf"
        and model.facts.quantization in _COMPARED
        and [parent.get("digest") for parent in (made_here(model.lineage) or {}).get("parents", ())] == [base.digest]
    ]
    if not found:
        raise NotFoundError(
            "no-base",
            f"no GGUF here was converted from model {base.name!r}, beside which the adapter is to be tried",
            hint=f"undercroft optimize convert {base.name} --to gguf, or name one that is here: --base NAME",
        )
    return min(found, key=lambda model: _COMPARED.index(model.facts.quantization)).name


def check_unchanged(
    sources: Sequence[Source | PublishedSource], wanted: Sequence[tuple[str, str]], *, job: str
) -> None:
    """Makes sure that a job reads what it was asked to read, however long it waited.

    Args:
        sources: As the registry has them now.
        wanted: Name and digest of each when the job was asked for.
        job: Its id.

    Raises:
        ConflictError: ``parent-changed``.
    """
    now = {source.model.name: source.model.digest for source in sources}
    for name, digest in wanted:
        if now.get(name) != digest:
            raise ConflictError(
                "parent-changed",
                f"job {job} was to read model {name!r} as {digest[:19]}…, which has another content now",
                hint="ask for it anew: undercroft optimize",
            )
