"""The texts of licences that go with a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from undercroft.catalog.licences import UNKNOWN, Licences, licence_key, licence_of_text, licences_in
from undercroft.core.home import Home
from undercroft.core.ids import name_from
from undercroft.registry.entries import Model
from undercroft.registry.releases.files import read_file
from undercroft.registry.selection import Role, role_of
from undercroft.storage.blobs import BlobStore

_PACKAGED = Path(__file__).parents[2] / "catalog" / "texts"
_TEXT_LIMIT_BYTES = 1024 * 1024


def licences_of(models: Iterable[Model], licences: Licences) -> list[str]:
    """Ids of all licences that models name, sorted; those that name none are not among them."""
    written = {licence_key(one) for model in models for one in licences_in(model.facts.licence)}
    known = {key: licences.get(key) for key in written - {UNKNOWN, ""}}
    # What a model writes becomes a name of a file only after it was made harmless.
    found = {name_from(entry.id if entry is not None else key) for key, entry in known.items()}
    return sorted(found - {""})


def texts_of(models: Iterable[Model], home: Home, licences: Licences) -> dict[str, bytes]:
    """A text for each licence, by id.

    It is the user's own (``catalog/texts/ID.txt`` in the home), else the one of this package, else the one that a model
    brings; where there is none, a note says where it stands, with what the catalogue knows of it.

    Args:
        models: That go into the bundle.
        home: Theirs.
        licences: What is known of licences.
    """
    chosen = list(models)
    brought = _brought(chosen, home, licences)
    texts: dict[str, bytes] = {}
    for licence in licences_of(chosen, licences):
        own, packaged = home.catalogue / "texts" / f"{licence}.txt", _PACKAGED / f"{licence}.txt"
        if own.is_file():
            texts[licence] = read_file(own)
        elif packaged.is_file():
            texts[licence] = packaged.read_bytes()
        else:
            texts[licence] = brought.get(licence) or _note(licence, licences)
    return texts


def _brought(models: Iterable[Model], home: Home, licences: Licences) -> dict[str, bytes]:
    store = BlobStore(home.blobs)
    found: dict[str, bytes] = {}
    for model in models:
        for file in model.files:
            if role_of(file.path) is not Role.DOCUMENT or file.size_bytes > _TEXT_LIMIT_BYTES:
                continue
            content = store.path(file.digest).read_bytes()
            licence = licence_of_text(content.decode("utf-8", "replace"))
            if licence is not None and not file.path.lower().endswith("readme.md"):
                found.setdefault(licence, content)
    return found


def _note(licence: str, licences: Licences) -> bytes:
    known = licences.get(licence)
    if known is None:
        return f"{licence}\n\nIts text is not in this bundle, and the catalogue does not know it.\n".encode()
    facts = [*map(str, known.limits), *map(str, known.duties)]
    lines = [known.name, f"Version {known.version}", "", f"Its text is not in this bundle: {known.url}", "", *facts]
    return "\n".join([*lines, ""]).encode()
