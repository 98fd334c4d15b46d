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
from undercroft.registry.inspection.json_files import read_json
from undercroft.registry.inspection.peft_adapter import find_peft_misfit, matrices_of, peft_pairs, uneven_scale
from undercroft.registry.inspection.safetensors import read_safetensors
from undercroft.registry.selection import PEFT_CONFIG, PEFT_WEIGHTS
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
        base = found.get("base") or _last_step(found).get("base") or _first_parent(found)
        if isinstance(base, Mapping) and "name" in base and "digest" in base:
            return {"name": str(base["name"]), "digest": str(base["digest"])}
        found = found.get("lineage")
    return None


def _last_step(lineage: Mapping[str, Any]) -> Mapping[str, Any]:
    steps = lineage.get("steps")
    last = steps[-1] if isinstance(steps, list) and steps else None
    return last if isinstance(last, Mapping) else {}


def _first_parent(lineage: Mapping[str, Any]) -> Any:
    parents = lineage.get("parents")
    return parents[0] if isinstance(parents, list) and parents else None


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
            hint="undercroft model pull PATH --name NAME --base BASE, for a GGUF of a LoRA or PEFT's folder of one",
        )
    if model.facts.adapter is None:
        raise InvalidError(
            "not-an-adapter",
            f"model {model.name!r} is a whole model, expected a LoRA adapter",
            hint=f"undercroft deployment create {model.name} serves it by itself",
        )
    return model


def check_fits(home: Home, adapter: Model, base: Model) -> None:
    """Refuses an adapter that its base cannot be served with: names and shapes tensor by tensor, and its scale.

    Raises:
        InvalidError: ``adapter-does-not-fit``, they are of different formats, or ``uneven-scale``.
    """
    blobs = BlobStore(home.blobs)
    files = {file.path: blobs.path(file.digest) for file in adapter.files}
    _check(files, adapter.name, blobs, base)
    odd = uneven_scale(read_json(files[PEFT_CONFIG], PEFT_CONFIG)) if PEFT_CONFIG in files else None
    if odd is not None:
        raise InvalidError(
            "uneven-scale",
            f"adapter {adapter.name!r} says {odd}, so that its layers are scaled differently: vLLM scales all by one "
            "number and would answer otherwise than it was taught",
            hint="merge it into its base (PEFT's merge_and_unload) and serve the whole model"
            + (f", or make a GGUF of it: undercroft optimize convert {adapter.name}" if odd == "rank_pattern" else ""),
        )


def check_base(
    home: Home, connection: Connection, files: Mapping[str, Path], *, name: str, base: str
) -> dict[str, dict[str, str]]:
    """Holds the files of an adapter that is on its way in against the base that it is said to belong to.

    Args:
        files: Where each lies, by what its source calls it; inspected already.
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
    _check(files, name, BlobStore(home.blobs), model)
    return {"base": {"name": model.name, "digest": model.digest}}


def _check(files: Mapping[str, Path], name: str, blobs: BlobStore, base: Model) -> None:
    is_peft = PEFT_WEIGHTS in files
    if base.format != ("safetensors" if is_peft else "gguf"):
        raise _other_format(name, base, is_peft=is_peft)
    if is_peft:
        misfit = _misfit_of_peft(files[PEFT_WEIGHTS], blobs, base)
    else:
        path = next(path for path in files if path.lower().endswith(".gguf"))
        misfit = _misfit_of_gguf(read_gguf(files[path], path), blobs, base)
    if misfit is not None:
        raise InvalidError(
            "adapter-does-not-fit",
            f"adapter {name!r} does not belong to model {base.name!r}: {misfit}",
            hint="take the base that it was trained on; undercroft model show names both",
        )


def _other_format(name: str, base: Model, *, is_peft: bool) -> InvalidError:
    if is_peft:
        form, wanted = "a folder of PEFT's, which vLLM loads", "safetensors"
        hint = (
            "pull the base as it is published (safetensors), and the adapter with --base BASE; then serve both, or "
            "make a GGUF of the adapter: undercroft optimize convert ADAPTER"
        )
    else:
        form, wanted = "a GGUF, which llama.cpp loads", "gguf"
        hint = "pull PEFT's folder of it (`optimize finetune` leaves it as peft/ of its report), or serve a GGUF base"
    return InvalidError(
        "adapter-does-not-fit",
        f"adapter {name!r} is {form}: it needs a base in the format {wanted}, model {base.name!r} is {base.format}",
        hint=hint,
    )


def _misfit_of_gguf(adapter: GgufHeader, blobs: BlobStore, base: Model) -> str | None:
    headers = [read_gguf(blobs.path(file.digest), file.path, with_tokens=False) for file in weights_of(base)]
    return find_misfit(
        pairs_of(adapter),
        architecture=adapter.text("general.architecture") or "",
        base={tensor.name: tensor.shape for header in headers for tensor in header.tensors},
        base_architecture=headers[0].text("general.architecture") or "",
    )


def _misfit_of_peft(weights: Path, blobs: BlobStore, base: Model) -> str | None:
    stored = [file for file in base.files if file.path.lower().endswith(".safetensors")]
    tensors = [tensor for file in stored for tensor in read_safetensors(blobs.path(file.digest), file.path)]
    return find_peft_misfit(peft_pairs(read_safetensors(weights, PEFT_WEIGHTS)), matrices_of(tensors))
