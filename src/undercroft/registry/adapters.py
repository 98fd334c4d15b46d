"""Adapters: LoRAs in the registry. Each belongs to a base model and is served beside it; alone it answers nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.registry import entries
from undercroft.registry.entries import Model, weights_of
from undercroft.registry.inspection.gguf import GgufHeader, read_gguf
from undercroft.registry.inspection.gguf_adapter import find_misfit, pairs_of
from undercroft.storage.blobs import BlobStore
from undercroft.storage.tables import models

HALF_PRECISION_WARNING = (
    "it holds F16 matrices, in which large activations overflow and the answers become nonsense; convert it anew with "
    "--outtype f32 or bf16"
)


def refuse_alone(model: Model, *, what: str) -> None:
    """Refuses an adapter where a model is needed.

    Args:
        model: What was named.
        what: What cannot be done with it: ``served``, ``planned``.

    Raises:
        InvalidError: ``adapter-alone``: it is an adapter.
    """
    if model.facts.adapter is None:
        return
    base = base_of(model)
    raise InvalidError(
        "adapter-alone",
        f"model {model.name!r} is a LoRA adapter, which cannot be {what} alone: it changes a base model"
        + (f", {base['name']!r}" if base else ""),
        hint=f"undercroft deployment create {base['name'] if base else 'BASE'} --adapter {model.name}",
    )


def base_of(model: Model) -> Mapping[str, str] | None:
    """Name and digest of the model that an adapter was checked against or made from; None where that is not known."""
    if model.facts.adapter is None:
        return None
    found: Any = model.lineage
    while isinstance(found, Mapping):
        parents = found.get("parents")
        base = found.get("base") or (parents[0] if isinstance(parents, list) and parents else None)
        if isinstance(base, Mapping) and "name" in base and "digest" in base:
            return {"name": str(base["name"]), "digest": str(base["digest"])}
        found = found.get("lineage")
    return None


def find_adapter(connection: Connection, wanted: str) -> Model:
    """An adapter by its name or its digest.

    Args:
        wanted: A name, or ``sha256:`` and at least 8 characters of a digest.

    Raises:
        NotFoundError: There is none.
        InvalidError: It is a model and no adapter, or a digest that several have.
    """
    if wanted.startswith("sha256:") and len(wanted) >= len("sha256:") + 8:
        prefix = models.c.digest.startswith(wanted, autoescape=True)
        names = list(connection.execute(select(models.c.name).where(prefix).order_by(models.c.name)).scalars())
        if len(names) > 1:
            raise InvalidError(
                "several-models", f"several models have the digest {wanted!r}: {', '.join(names)}", hint="give a name"
            )
        wanted = names[0] if names else wanted
    model = entries.find(connection, wanted)
    if model is None:
        raise NotFoundError(
            "no-such-model",
            f"there is no adapter {wanted[:80]!r}",
            hint="undercroft model pull FILE --name NAME --base BASE, for a LoRA in the format GGUF",
        )
    if model.facts.adapter is None:
        raise InvalidError(
            "not-an-adapter",
            f"model {model.name!r} is a whole model, expected a LoRA adapter",
            hint=f"undercroft deployment create {model.name} serves it by itself",
        )
    return model


def check_fits(home: Home, adapter: Model, base: Model) -> None:
    """Refuses an adapter that its base cannot load, tensor by tensor: names and shapes.

    Raises:
        InvalidError: ``adapter-does-not-fit``, or one of them is no GGUF.
    """
    _check(_header(home, adapter), adapter.name, home, base)


def check_base(home: Home, connection: Connection, file: Path, *, name: str, base: str) -> dict[str, dict[str, str]]:
    """Holds the file of an adapter that is on its way in against the base that it is said to belong to.

    Args:
        file: Where it lies; inspected already.
        name: What to call it.
        base: A registered model.

    Returns:
        For the lineage: ``base`` with name and digest.

    Raises:
        NotFoundError: There is no such base.
        InvalidError: It does not fit, it is no adapter, or the base is none.
    """
    model = entries.find(connection, base)
    if model is None:
        raise NotFoundError("no-such-model", f"there is no model {base[:80]!r}", hint="undercroft model list")
    if model.facts.adapter is not None:
        raise InvalidError(
            "not-a-base",
            f"model {base!r} is an adapter itself, expected a whole model as the base of {name!r}",
            hint="undercroft model list",
        )
    _check(read_gguf(file, name), name, home, model)
    return {"base": {"name": model.name, "digest": model.digest}}


def _check(adapter: GgufHeader, name: str, home: Home, base: Model) -> None:
    if base.format != "gguf":
        raise InvalidError(
            "adapter-does-not-fit",
            f"adapter {name!r} needs a base in the format gguf, model {base.name!r} is {base.format}",
            hint="undercroft optimize convert makes a GGUF of it",
        )
    headers = [
        read_gguf(BlobStore(home.blobs).path(file.digest), file.path, with_tokens=False) for file in weights_of(base)
    ]
    misfit = find_misfit(
        pairs_of(adapter),
        architecture=adapter.text("general.architecture") or "",
        base={tensor.name: tensor.shape for header in headers for tensor in header.tensors},
        base_architecture=headers[0].text("general.architecture") or "",
    )
    if misfit is not None:
        raise InvalidError(
            "adapter-does-not-fit",
            f"adapter {name!r} does not belong to model {base.name!r}: {misfit}",
            hint="take the base that it was trained on; undercroft model show names both",
        )


def _header(home: Home, adapter: Model) -> GgufHeader:
    file = weights_of(adapter)[0]
    return read_gguf(BlobStore(home.blobs).path(file.digest), file.path)
