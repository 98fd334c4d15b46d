"""Models that lie on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from undercroft.core.errors import InvalidError, NotFoundError, RefusedError
from undercroft.registry.importing import IncomingFile, Origin
from undercroft.registry.inspection.formats import Format, require_format
from undercroft.registry.inspection.json_files import read_json, refuse_auto_map
from undercroft.registry.selection import check_listing, config_files, find_parts, select_files

_FILES_LIMIT = 20_000
_DEPTH_LIMIT = 4


def collect(path: Path) -> tuple[list[IncomingFile], Origin]:
    """The files of a model, and what to say of where it comes from.

    Args:
        path: Absolute.

    Raises:
        NotFoundError: There is nothing.
        InvalidError: It is neither a file nor a folder, or holds no model.
        RefusedError: It can carry code, or reaches out of its folder.
    """
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise NotFoundError("no-such-file", f"there is no file or folder {str(path)!r}") from error
    if stat.S_ISDIR(mode):
        return _collect_folder(path, real)
    if not stat.S_ISREG(mode):
        raise InvalidError("not-a-file", f"{str(path)!r} is neither a file nor a folder")
    return _collect_file(path, real)


def _collect_file(path: Path, real: Path) -> tuple[list[IncomingFile], Origin]:
    check_listing([path.name], source="the reference")
    origin = Origin(str(path), {"kind": "file", "path": str(path)})
    parts = find_parts(path.name)
    if parts is None:
        # Only the name tells a reader of the registry what a file is, so a GGUF is always called one.
        is_unnamed = require_format(real, path.name) is Format.GGUF and path.suffix.lower() != ".gguf"
        return [IncomingFile(path.name + (".gguf" if is_unnamed else ""), real)], origin
    missing = [part for part in parts if not path.with_name(part).is_file()]
    if missing:
        raise InvalidError(
            "bad-parts",
            f"{path.name!r} is one of {len(parts)} parts, expected {missing[0]!r} beside it"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            hint="put all parts into one folder",
        )
    return [IncomingFile(part, path.with_name(part).resolve()) for part in parts], origin


def _collect_folder(path: Path, real: Path) -> tuple[list[IncomingFile], Origin]:
    source = f"folder {str(path)!r}"
    files = dict(_walk(real, real, source, 0))
    check_listing(list(files), source=source)
    for name in config_files(list(files)):
        refuse_auto_map(read_json(files[name], name), name)
    selection = select_files({name: file.stat().st_size for name, file in files.items()}, source=source)
    origin = Origin(str(path), {"kind": "folder", "path": str(path)}, selection.skipped)
    return [IncomingFile(name, files[name]) for name in (*selection.weights, *selection.others)], origin


def _walk(root: Path, folder: Path, source: str, depth: int) -> Iterator[tuple[str, Path]]:
    """Ordinary files below a folder: relative name → where its content lies."""
    if depth > _DEPTH_LIMIT:
        return
    count = 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        count += 1
        if count > _FILES_LIMIT:
            raise InvalidError("too-many-files", f"{source} holds more than {_FILES_LIMIT:,} files")
        if entry.name in (".git", ".cache"):
            continue  # what git and the hub's client keep for themselves
        path = Path(entry.path)
        if entry.is_symlink():
            target = _followed(root, path, source)
            if target is not None:
                yield path.relative_to(root).as_posix(), target
        elif entry.is_dir():
            yield from _walk(root, path, source, depth + 1)
        elif entry.is_file():
            yield path.relative_to(root).as_posix(), path


def _followed(root: Path, link: Path, source: str) -> Path | None:
    """The file that a symbolic link means.

    The hub's cache keeps ``snapshots/COMMIT/file`` as links to ``blobs/``; no other link may lead out of its folder,
    or a downloaded folder could make us take a file of the user's own.
    """
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    cache_blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else None
    if not target.is_relative_to(root) and target.parent != cache_blobs:
        raise RefusedError(
            "hostile-name",
            f"{source} holds a link {link.name[:120]!r} that leads out of it",
            hint="copy the file into the folder, if it belongs there",
        )
    return target if target.is_file() else None
