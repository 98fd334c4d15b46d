"""The shape of any model: of the catalogue, of the registry, in files here, or on a hub by its header alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from undercroft.catalog.families import Catalogue, CatalogueModel, load_catalogue
from undercroft.catalog.licences import together
from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.core.settings import RegistrySettings
from undercroft.registry import entries
from undercroft.registry.facts import UNKNOWN
from undercroft.registry.inspection.compressed_weights import name_of
from undercroft.registry.inspection.gguf import GgufHeader, read_gguf
from undercroft.registry.inspection.gguf_model import licence_of_header, quantization_of
from undercroft.registry.inspection.json_files import read_json
from undercroft.registry.inspection.repository import read_documents
from undercroft.registry.inspection.safetensors import StoredTensor, read_safetensors
from undercroft.registry.references import LocalReference, parse_reference
from undercroft.registry.selection import Role, find_parts, role_of, select_files
from undercroft.registry.shapes_config import shape_of_config
from undercroft.registry.shapes_gguf import shape_of_gguf
from undercroft.registry.stored_shapes import stored_shape
from undercroft.storage.database import Database

Origin = Literal["catalogue", "registry", "file", "folder", "hub"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to plan for.

    Args:
        name: What to call it.
        origin: Where its shape was read.
        shape: Its sizes.
        licence: As its source names it; ``unknown`` where it does not.
        languages: As its source names them; empty is not known.
        stored_type: Kind of most weights in its files: ``Q4_K_M``, ``BF16``; empty for a catalogue entry.
        stored_bytes: Of its weights' files; 0 is not known.
        entry: Of the catalogue, where it is one of its models; else None.
    """

    name: str
    origin: Origin
    shape: ModelShape
    licence: str = UNKNOWN
    languages: frozenset[str] = frozenset()
    stored_type: str = ""
    stored_bytes: int = 0
    entry: CatalogueModel | None = None


def shape_of(
    text: str, *, home: Home, settings: RegistrySettings | None = None, database: Database | None = None
) -> ModelShape:
    """The shape of what a text names; see `find_subject`."""
    return find_subject(text, home=home, settings=settings, database=database).shape


def find_subject(
    text: str,
    *,
    home: Home,
    settings: RegistrySettings | None = None,
    database: Database | None = None,
    catalogue: Catalogue | None = None,
) -> Subject:
    """What a text names: ``hf://org/name…``, a model of the registry, a file or folder here, a model of the catalogue.

    They are looked for in this order; of a hub nothing but headers and small files is fetched.

    Args:
        text: As a person wrote it.
        home: Its catalogue folder is read, and its stored files.
        settings: Which hub, and the file of its token; None takes the defaults.
        database: Of the home; None looks at no registry.
        catalogue: Where it is loaded already.

    Raises:
        NotFoundError: There is no such thing.
        InvalidError: A file, a configuration or the reference is not usable.
        RefusedError: The hub does not give it.
        UnavailableError: The hub does not answer.
    """
    if text.startswith("hf://"):
        from undercroft.registry.shape_on_hub import find_on_hub  # noqa: PLC0415  (the hub's client costs 150 ms)

        return find_on_hub(text, settings or RegistrySettings())
    if database is not None and (found := _registered(text, home, database)) is not None:
        return found
    path = Path(text).expanduser()
    is_written_as_path = text.startswith(("/", "./", "../", "~")) or text.lower().endswith((".gguf", ".safetensors"))
    if is_written_as_path or path.exists():
        return _local(text)
    model = (catalogue or load_catalogue(home.catalogue)).find(text)
    return Subject(model.name, "catalogue", model.shape, model.licence, model.official, entry=model)


def _registered(name: str, home: Home, database: Database) -> Subject | None:
    with database.read() as connection:
        model = entries.find(connection, name)
        if model is None:
            return None
        shape = stored_shape(home, connection, model)
    facts = model.facts
    weights_bytes = sum(
        f.size_bytes for f in model.files if f.path.lower().endswith((".gguf", ".safetensors", ".onnx"))
    )
    return Subject(
        name, "registry", shape, facts.licence, frozenset(facts.languages), facts.quantization, weights_bytes
    )


def _local(text: str) -> Subject:
    reference = parse_reference(text)
    path = reference.path if isinstance(reference, LocalReference) else Path(text)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise NotFoundError(
            "no-such-file", f"there is no file or folder {str(path)!r}", hint="undercroft plan models lists names"
        )
    if path.suffix.lower() == ".json":
        return Subject(
            path.parent.name or path.name, "file", shape_of_config(read_json(path, path.name), name=path.name)
        )
    if path.suffix.lower() == ".safetensors":
        return _folder(path.parent)
    return _gguf_files(path.stem, "file", [path.with_name(part) for part in find_parts(path.name) or [path.name]])


def _gguf_files(name: str, origin: Origin, paths: Sequence[Path]) -> Subject:
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InvalidError("bad-parts", f"expected the part {missing.name!r} beside it", hint="put all parts together")
    return gguf_subject(name, origin, [read_gguf(path, path.name, with_tokens=False) for path in paths])


def gguf_subject(name: str, origin: Origin, headers: Sequence[GgufHeader]) -> Subject:
    """A model by the headers of its GGUF, all parts in order."""
    shape = shape_of_gguf(headers)
    return Subject(
        name,
        origin,
        shape,
        licence_of_header(headers[0]),
        stored_type=quantization_of(headers),
        stored_bytes=sum(header.size_bytes for header in headers),
    )


def _folder(folder: Path) -> Subject:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    if "config.json" not in sizes:
        selection = select_files(dict(sizes), source=f"folder {str(folder)!r}")
        if not selection.weights[0].lower().endswith(".gguf"):
            raise InvalidError(
                "no-config", f"folder {str(folder)!r} has no config.json", hint="put it beside the weights"
            )
        found = _gguf_files(folder.name, "folder", [folder / part for part in selection.weights])
        return replace(found, licence=together([found.licence, _documented(folder, sizes)]) or UNKNOWN)
    config = read_json(folder / "config.json", "config.json")
    shape = shape_of_config(config)
    tensors = sorted(name for name in sizes if name.endswith(".safetensors"))
    compressed = name_of(config) or ""
    return Subject(
        folder.resolve().name,
        "folder",
        shape,
        _documented(folder, sizes) or UNKNOWN,
        stored_type=compressed or (main_type(read_safetensors(folder / tensors[0], tensors[0])) if tensors else ""),
        stored_bytes=sum(sizes[name] for name in tensors),
    )


def _documented(folder: Path, names: Iterable[str]) -> str | None:
    return read_documents({name: folder / name for name in names if role_of(name) is Role.DOCUMENT}).licence


def main_type(tensors: Sequence[StoredTensor]) -> str:
    """Kind of most weights: ``BF16``."""
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.dtype] += tensor.elements
    return elements.most_common(1)[0][0]
