"""The shape of a registered model, read again from its stored files. Imports nothing of hubs: control uses it."""

from __future__ import annotations

from sqlalchemy import Connection

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.registry.adapters import refuse_alone
from undercroft.registry.entries import Model
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.json_files import read_json
from undercroft.registry.models import model_file
from undercroft.registry.selection import find_parts
from undercroft.registry.shapes_config import shape_of_config
from undercroft.registry.shapes_gguf import shape_of_gguf
from undercroft.storage.blobs import BlobStore


def stored_shape(home: Home, connection: Connection, model: Model) -> ModelShape:
    """Reads the headers of a GGUF, or the ``config.json`` of other formats.

    Raises:
        InvalidError: It is an adapter, or there is no ``config.json``, or it says too little.
        UnavailableError: The stored files changed or are gone.
    """
    refuse_alone(model, what="planned")
    if model.format != "gguf":
        return _of_config(home, model)
    path = model_file(home, connection, model)
    parts = find_parts(path.name)
    paths = [path] if parts is None else [path.with_name(part) for part in parts]
    return shape_of_gguf([read_gguf(part, part.name, with_tokens=False) for part in paths])


def _of_config(home: Home, model: Model) -> ModelShape:
    digest = next((file.digest for file in model.files if file.path == "config.json"), None)
    if digest is None:
        raise InvalidError(
            "no-config",
            f"model {model.name!r} has no config.json, so its shape cannot be read",
            hint="pull it from where its config.json is, or pull a GGUF of it",
        )
    return shape_of_config(read_json(BlobStore(home.blobs).path(digest), "config.json"))
