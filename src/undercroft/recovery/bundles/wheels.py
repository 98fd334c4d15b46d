"""Wheels that install Undercroft where there is no index: a folder of them, checked to be whole.

They are taken from a folder that pip filled (``pip download`` or ``pip wheel``) and not rebuilt from what is installed
here: only a published wheel has a digest that somebody else can compare.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from undercroft.core.errors import InvalidError, NotFoundError

PACKAGE = "undercroft"
_METADATA_LIMIT_BYTES = 4 * 1024 * 1024
_HINT = "fill the folder with: pip download --dest FOLDER undercroft, or pip wheel --wheel-dir FOLDER ."


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel.

    Args:
        file: Where it lies.
        name: Of its project, in its canonical form.
        version: Of its project.
        licence: As its metadata say; empty where they do not.
        requires: What it needs, as its metadata say.
    """

    file: Path
    name: str
    version: str
    licence: str
    requires: tuple[Requirement, ...]


def wheels_in(folder: Path) -> list[Wheel]:
    """The wheels of a folder, by name.

    Raises:
        NotFoundError: There is no such folder, or no wheel in it.
        InvalidError: ``bad-wheel``: one of them is none.
    """
    found = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not found:
        raise NotFoundError("no-wheels", f"there is no folder of wheels {folder}", hint=_HINT)
    return [_read(path) for path in found]


def _read(path: Path) -> Wheel:
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            inner = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1]
            if len(inner) != 1:
                raise ValueError("it has no METADATA")
            with archive.open(inner[0]) as file:
                metadata = BytesParser().parsebytes(file.read(_METADATA_LIMIT_BYTES), headersonly=True)
        requires = tuple(Requirement(text) for text in metadata.get_all("Requires-Dist", ()))
    except (OSError, ValueError, zipfile.BadZipFile, InvalidWheelFilename, InvalidRequirement) as error:
        raise InvalidError("bad-wheel", f"{path.name[:120]!r} is no wheel: {error}", hint=_HINT) from error
    return Wheel(path, str(name), str(version), _licence(metadata), requires)


def _licence(metadata: Message) -> str:
    """An expression where there is one, else what stands there, if it is a name and not a text."""
    written = str(metadata.get("License-Expression") or metadata.get("License") or "").strip()
    return written if len(written) <= 64 and "\n" not in written and written.upper() != "UNKNOWN" else ""


def missing_from(wheels: Sequence[Wheel]) -> list[str]:
    """What an installation of this package here would need and does not find, sorted. Pure but for this Python's own
    markers.

    Args:
        wheels: All that there are.
    """
    by_name = {wheel.name: wheel for wheel in wheels}
    environment = {name: str(value) for name, value in default_environment().items()}
    lacking: set[str] = set()
    asked: set[tuple[str, str]] = set()
    waiting = [(Requirement(PACKAGE), "")]
    while waiting:
        wanted, extra = waiting.pop()
        name = str(canonicalize_name(wanted.name))
        wheel = by_name.get(name)
        if wheel is None or not wanted.specifier.contains(wheel.version, prereleases=True):
            lacking.add(f"{name}{wanted.specifier}")
            continue
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        waiting += [
            (needed, inner)
            for needed in wheel.requires
            if _holds(needed, environment, extra)
            for inner in ("", *needed.extras)
        ]
    return sorted(lacking)


def _holds(needed: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    return needed.marker is None or needed.marker.evaluate({**environment, "extra": extra})


def whole_set(folder: Path) -> list[Wheel]:
    """The wheels of a folder, where they install this package without an index.

    Raises:
        NotFoundError: There is no such folder, or no wheel in it.
        InvalidError: ``bad-wheel``; ``wheels-missing``: some are not there.
    """
    wheels = wheels_in(folder)
    lacking = missing_from(wheels)
    if lacking:
        shown = ", ".join(lacking[:12]) + (f" and {len(lacking) - 12} more" if len(lacking) > 12 else "")
        raise InvalidError("wheels-missing", f"the wheels in {folder} do not install Undercroft: {shown}", hint=_HINT)
    return wheels
