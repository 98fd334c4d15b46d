"""What an engine is started with: the file of a GGUF, or a folder in which a model's files have their own names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.registry.adapters import refuse_alone
from undercroft.registry.entries import Model
from undercroft.registry.models import adapter_file, model_file, model_files
from undercroft.registry.selection import Role, role_of
from undercroft.storage.blobs import BlobStore

# What may become a name in the file system; `undercroft.registry.selection` lets more in, for people to read.
_FILE_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,2}[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def model_path(home: Home, connection: Connection, model: Model) -> Path:
    """The path to give to an engine, after a look at its files that does not read them.

    Weights, configuration and tokenizer of a published model find each other by name, so they get a folder of links
    with such names; its documents are not among them.

    Raises:
        InvalidError: It is an adapter, or a file has a name that no engine needs.
        UnavailableError: A stored file is gone or was touched since it was hashed.
    """
    if model.format == "gguf":
        return model_file(home, connection, model)
    refuse_alone(model, what="run")
    return _folder(home, connection, model)


def adapter_path(home: Home, connection: Connection, adapter: Model) -> Path:
    """The path of an adapter to give to an engine beside its base: a GGUF, or PEFT's folder as links.

    Raises:
        UnavailableError: A stored file is gone or was touched since it was hashed.
    """
    if adapter.format == "gguf":
        return adapter_file(home, connection, adapter)
    return _folder(home, connection, adapter)


def _folder(home: Home, connection: Connection, model: Model) -> Path:
    wanted = {
        name: path for name, path in model_files(home, connection, model).items() if role_of(name) is not Role.DOCUMENT
    }
    for name in wanted:
        if not _FILE_NAME.fullmatch(name):
            raise InvalidError(
                "hostile-name",
                f"model {model.name!r} has a file {name[-80:]!r}, expected letters, digits, '.', '_' and '-'",
                hint="rename it where it comes from, and pull the model again",
            )
    folder = BlobStore(home.blobs).parts_folder(model.digest)
    _link(folder, wanted)
    return folder


def _link(folder: Path, files: Mapping[str, Path]) -> None:
    """Makes the folder hold a hard link to each file; what is there already stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, path in files.items():
        link = folder / name
        link.parent.mkdir(mode=0o700, exist_ok=True)
        if not link.exists() or not os.path.samefile(link, path):
            link.unlink(missing_ok=True)
            os.link(path, link)
