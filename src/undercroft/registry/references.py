"""What people write to say which model they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from undercroft.core.errors import InvalidError
from undercroft.core.ids import check_name, name_from

_HUB = "hf://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# As the hub itself allows: letters, digits, '-', '_', '.', no '--' or '..'; the whole at most 96 characters.
_REPOSITORY = re.compile(r"(?=.{3,96}\Z)[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
_WANTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+ ()\[\]-]{0,254}")
_PART = re.compile(r"-\d{5}-of-\d{5}$")
FORMS = "a GGUF file, a folder, or hf://org/name[:file or quant][@revision]"


@dataclass(frozen=True, slots=True)
class LocalReference:
    """A file or folder of this machine.

    Args:
        path: Absolute.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of a hub.

    Args:
        repository: ``org/name``.
        wanted: A file, or a quantization such as ``Q4_K_M``; None takes what there is, where that is clear.
        revision: Branch, tag or commit; None is the hub's default.
    """

    repository: str
    wanted: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        wanted = f":{self.wanted}" if self.wanted else ""
        return f"{_HUB}{self.repository}{wanted}" + (f"@{self.revision}" if self.revision else "")


def parse_reference(text: str) -> LocalReference | HubReference:
    """Reads a reference.

    Raises:
        InvalidError: It has a form that is not known, or a hub reference is not well formed.
    """
    if not text or "\0" in text:
        raise InvalidError("bad-reference", f"{text[:80]!r} is no reference: expected {FORMS}")
    if text.startswith(_HUB):
        return _parse_hub(text)
    if match := _SCHEME.match(text):
        raise InvalidError(
            "bad-reference",
            f"references of the form {match[1]}:// are not known, expected {FORMS}",
            hint="undercroft model pull hf://org/name:Q4_K_M",
        )
    return LocalReference(Path(text).expanduser().absolute())


def _parse_hub(text: str) -> HubReference:
    rest = text.removeprefix(_HUB)
    rest, at, revision = rest.partition("@")
    repository, colon, wanted = rest.partition(":")
    problem = None
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        problem = f"expected org/name, got {repository[:120]!r}"
    elif colon and (not _WANTED.fullmatch(wanted) or ".." in wanted):
        problem = f"expected a file or a quantization after ':', got {wanted[:120]!r}"
    elif at and (not _REVISION.fullmatch(revision) or ".." in revision):
        problem = f"expected a branch, tag or commit after '@', got {revision[:120]!r}"
    if problem is not None:
        raise InvalidError(
            "bad-reference",
            f"{text[:160]!r} is not a hub reference: {problem}",
            hint="undercroft model pull hf://org/name:Q4_K_M@main",
        )
    return HubReference(repository, wanted or None, revision or None)


def name_or_suggested(name: str | None, reference: LocalReference | HubReference, paths: Sequence[str]) -> str:
    """The name that was given, else one made of the reference.

    Args:
        name: As given; None for none.
        reference: Where the model comes from.
        paths: Its files: where a GGUF was chosen among several, its name says more than the repository's.

    Raises:
        InvalidError: The given name cannot be used, or none can be made.
    """
    if name is not None:
        return check_name(name, what="model")
    weights = [path for path in paths if path.lower().endswith(".gguf")]
    if isinstance(reference, HubReference):
        text = _stem(weights[0]) if weights else reference.repository.split("/")[1]
    elif reference.path.is_dir():
        text = reference.path.resolve().name
    else:
        text = _stem(reference.path.name)
    suggested = name_from(text)
    if not suggested:
        raise InvalidError("bad-name", f"no name can be made of {text[:80]!r}", hint="give one with --name")
    return check_name(suggested, what="model")


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix.lower() not in {"gguf", "bin", "safetensors", "onnx"}:
        stem = name
    return _PART.sub("", stem)
