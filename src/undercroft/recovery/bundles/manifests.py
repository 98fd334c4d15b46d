"""The manifest of a bundle: every entry with digest and size, and what the entries are. Pure.

It may come from somebody who wants harm: it is bounded, read strictly, and names nothing twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from undercroft.core.clock import from_iso
from undercroft.core.errors import UndercroftError
from undercroft.core.ids import DIGEST_PATTERN, NAME_PATTERN, check_name
from undercroft.recovery.bundles.layout import can_be_placed
from undercroft.recovery.bundles.problems import bad_bundle
from undercroft.recovery.documents import read_object
from undercroft.recovery.sealing import DamagedError
from undercroft.registry.entries import ModelFile, manifest_digest
from undercroft.registry.releases.content import ReleaseContent, check_content, content_digest
from undercroft.registry.releases.store import Release
from undercroft.registry.selection import check_listing

MANIFEST_LIMIT_BYTES = 64 * 1024**2
ENTRIES_LIMIT = 100_000
SMALL_LIMIT_BYTES = 16 * 1024**2
_CONTENT_LIMIT_BYTES = 2**50
_TEXT_LIMIT = 4096
_DEPTH_LIMIT = 16
_KIND = "undercroft-bundle"
_FORMAT = 1
SBOM_PATH = "sbom.cdx.json"
# Small ones first: whoever looks into a bundle has not to read past the weights.
_PATHS = (
    re.compile(re.escape(SBOM_PATH)),
    re.compile(r"licences/[a-z0-9][a-z0-9.-]{0,63}\.txt"),
    re.compile(rf"probes/(?P<probe>{NAME_PATTERN.pattern})\.yaml"),
    re.compile(r"wheels/[A-Za-z0-9_.]{1,64}-[A-Za-z0-9_.+!-]{1,90}\.whl"),
    re.compile(r"blobs/(?P<blob>[0-9a-f]{64})"),
)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the bundle.

    Args:
        path: ``blobs/<hex>``, ``probes/NAME.yaml``, ``wheels/NAME.whl``, ``licences/ID.txt`` or ``sbom.cdx.json``.
        size_bytes: Of its content.
        digest: Of its content.
    """

    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model; its files are entries.

    Args:
        name: What it is called.
        digest: Of its files.
        source: Where it was pulled from.
        licence: As its files and its source name it.
        created_at: When it came into the home that it is from; ISO 8601, UTC.
        lineage: Where exactly it came from.
        facts: Read from its files there; read anew where it is imported.
        files: Sorted by path.
    """

    name: str
    digest: str
    source: str
    licence: str
    created_at: str
    lineage: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: tuple[ModelFile, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One bundle.

    Args:
        id: Its moment and six random letters.
        at: When it was made; ISO 8601, UTC.
        origin: Machine and home that it is of.
        version: Of the Undercroft that made it.
        reason: Why, in the actor's words.
        entries: In the order of the file.
        models: By name.
        releases: By name and number.
    """

    id: str
    at: str
    origin: str
    version: str
    reason: str | None
    entries: tuple[Entry, ...]
    models: tuple[BundledModel, ...] = ()
    releases: tuple[Release, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)

    def below(self, folder: str) -> list[Entry]:
        """Entries of ``probes``, ``wheels``, ``licences`` or ``blobs``."""
        return [entry for entry in self.entries if entry.path.startswith(f"{folder}/")]

    def probes(self) -> dict[str, Entry]:
        """Standard questions by name."""
        return {entry.path.removeprefix("probes/").removesuffix(".yaml"): entry for entry in self.below("probes")}

    def blobs(self) -> dict[str, Entry]:
        """Files of models by digest."""
        return {entry.digest: entry for entry in self.below("blobs")}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": _KIND,
            "format": _FORMAT,
            "id": self.id,
            "at": self.at,
            "origin": self.origin,
            "version": self.version,
            "reason": self.reason,
            "entries": [[entry.path, entry.size_bytes, entry.digest] for entry in self.entries],
            "models": [
                {**_fields(model), "files": [[file.path, file.digest, file.size_bytes] for file in model.files]}
                for model in self.models
            ],
            "releases": [{**_fields(one), "content": one.content.to_dict()} for one in self.releases],
        }

    def to_bytes(self) -> bytes:
        """As it lies in the file and is signed."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _fields(item: BundledModel | Release) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__slots__ if name not in {"files", "content"}}


def sort_entries(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """In the order in which they have to stand.

    Raises:
        InvalidError: ``bad-bundle``: a path cannot be in a bundle.
    """
    return tuple(sorted(entries, key=lambda entry: (_rank(entry.path), entry.path)))


def _rank(path: str) -> int:
    for number, pattern in enumerate(_PATHS):
        if pattern.fullmatch(path) and can_be_placed(path) and ".." not in path:
            return number
    raise bad_bundle(f"it names a file that no bundle has: {path[:80]!r}")


def parse(content: bytes) -> Manifest:
    """Reads a manifest.

    Args:
        content: At most `MANIFEST_LIMIT_BYTES`, its signature checked.

    Raises:
        InvalidError: ``bad-bundle``: it is not one, or another version's.
        RefusedError: A model's file has a name that is up to something.
    """
    try:
        values = read_object(content, kind=_KIND)
        json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair can be read and never be written
        if values.get("format") != _FORMAT:
            got = str(values.get("format"))[:20]
            raise bad_bundle(f"it has format {got}, this Undercroft knows format {_FORMAT}")
        found = Manifest(
            id=_text(values["id"]),
            at=_moment(values["at"]),
            origin=_text(values["origin"]),
            version=_text(values["version"]),
            reason=_optional(values["reason"]),
            entries=_each(values["entries"], _entry),
            models=_each(values["models"], _model),
            releases=_each(values["releases"], _release),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, DamagedError) as error:
        raise bad_bundle(f"its manifest is not of the right form: {str(error)[:120]}") from error
    _check_entries(found)
    _check_models(found)
    _check_releases(found)
    return found


def _each(rows: Any, read: Callable[[Any], _Item]) -> tuple[_Item, ...]:
    if not isinstance(rows, list) or len(rows) > ENTRIES_LIMIT:
        raise ValueError(f"expected a list of at most {ENTRIES_LIMIT:,}")
    return tuple(read(row) for row in rows)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise ValueError("expected a short text")
    value.encode()
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _moment(value: Any) -> str:
    from_iso(_text(value))
    return _text(value)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not DIGEST_PATTERN.fullmatch(value):
        raise ValueError("expected a digest")
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _CONTENT_LIMIT_BYTES:
        raise ValueError("expected a size")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not _is_shallow(value, _DEPTH_LIMIT):
        raise ValueError(f"expected an object of at most {_DEPTH_LIMIT} levels")
    return value


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _entry(row: Any) -> Entry:
    path, size_bytes, digest = row
    return Entry(_text(path), _size(size_bytes), _digest(digest))


def _model_file(row: Any) -> ModelFile:
    path, digest, size_bytes = row
    return ModelFile(_text(path), _digest(digest), _size(size_bytes))


def _model(row: Any) -> BundledModel:
    values = _mapping(row)
    return BundledModel(
        name=_text(values["name"]),
        digest=_digest(values["digest"]),
        source=_text(values["source"]),
        licence=_text(values["licence"]),
        created_at=_moment(values["created_at"]),
        lineage=_mapping(values["lineage"]),
        facts=_mapping(values["facts"]),
        files=_each(values["files"], _model_file),
    )


def _release(row: Any) -> Release:
    values = _mapping(row)
    if type(values["number"]) is not int or values["number"] < 1:
        raise ValueError("expected a number from 1")
    return Release(
        name=_text(values["name"]),
        number=values["number"],
        content=_content(values["content"]),
        digest=_digest(values["digest"]),
        model_digest=None if values["model_digest"] is None else _digest(values["model_digest"]),
        created_at=_moment(values["created_at"]),
        actor=_text(values["actor"]),
        reason=_optional(values["reason"]),
    )


def _content(values: Any) -> ReleaseContent:
    try:
        return check_content(values)
    except UndercroftError as error:
        raise bad_bundle(error.message) from error


def _check_entries(manifest: Manifest) -> None:
    if sort_entries(manifest.entries) != manifest.entries:
        raise bad_bundle("its entries do not stand in their order")
    seen: set[str] = set()
    for entry in manifest.entries:
        if entry.path.casefold() in seen:
            raise bad_bundle(f"{entry.path[:80]!r} is there twice, or differs from another name only in case")
        seen.add(entry.path.casefold())
        if entry.path.startswith("blobs/") and entry.digest != f"sha256:{entry.path.removeprefix('blobs/')}":
            raise bad_bundle(f"{entry.path!r} is called by another digest than its own")
        if entry.path.startswith(("licences/", "probes/", "sbom")) and entry.size_bytes > SMALL_LIMIT_BYTES:
            raise bad_bundle(f"{entry.path[:80]!r} is larger than {SMALL_LIMIT_BYTES:,} bytes")


def _check_models(manifest: Manifest) -> None:
    blobs = manifest.blobs()
    _check_once([model.name for model in manifest.models], "model")
    for model in manifest.models:
        _check_usable_name(model.name)
        check_listing([file.path for file in model.files], source=f"model {model.name!r}")
        if not model.files or manifest_digest(model.files) != model.digest:
            raise bad_bundle(f"the files of model {model.name!r} are not those of its digest")
        for file in model.files:
            if file.digest not in blobs or blobs[file.digest].size_bytes != file.size_bytes:
                raise bad_bundle(f"it lacks {file.path[:80]!r} of model {model.name!r}, which its manifest names")
    unnamed = set(blobs) - {file.digest for model in manifest.models for file in model.files}
    if unnamed:
        raise bad_bundle(f"no model has the file {min(unnamed)[:19]}…")


def _check_releases(manifest: Manifest) -> None:
    models = {model.name: model.digest for model in manifest.models}
    _check_once([str(release) for release in manifest.releases], "release")
    for release in manifest.releases:
        _check_usable_name(release.name)
        if release.model_digest != models.get(release.content.model or ""):
            raise bad_bundle(f"it lacks the model of release {release}")
        if any(models.get(adapter.model) != adapter.digest for adapter in release.content.adapters.values()):
            raise bad_bundle(f"it lacks an adapter of release {release}")
        if release.digest != content_digest(release.content, release.model_digest):
            raise bad_bundle(f"release {release} is not what its digest says")


def _check_once(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise bad_bundle(f"{what} {twice[0][:80]!r} is there twice")


def _check_usable_name(name: str) -> None:
    try:
        check_name(name, what="bundled")
    except UndercroftError as error:
        raise bad_bundle(error.message) from error


def entry_dict(entry: Entry) -> dict[str, Any]:
    """Plain data for JSON."""
    return asdict(entry)
