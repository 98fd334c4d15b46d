"""Models that lie on this machine."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.registry.importing import IncomingFile, Origin
from undercroft.registry.inspection.formats import Format, require_format

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_PARTS_LIMIT = 1000


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
    if not stat.S_ISREG(mode):
        raise InvalidError("not-a-file", f"{str(path)!r} is neither a file nor a folder")
    return _collect_file(path, real)


def _collect_file(path: Path, real: Path) -> tuple[list[IncomingFile], Origin]:
    origin = Origin(str(path), {"kind": "file", "path": str(path)})
    match = _PART.fullmatch(path.name)
    if match is None:
        # Only the name tells a reader of the registry what a file is, so a GGUF is always called one.
        is_unnamed = require_format(real, path.name) is Format.GGUF and path.suffix.lower() != ".gguf"
        return [IncomingFile(path.name + (".gguf" if is_unnamed else ""), real)], origin
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count <= _PARTS_LIMIT:
        raise InvalidError("bad-parts", f"{path.name!r} names a part outside 1 to {_PARTS_LIMIT}")
    parts = [path.with_name(f"{match['stem']}-{n:05d}-of-{count:05d}{path.suffix}") for n in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise InvalidError(
            "bad-parts",
            f"{path.name!r} is one of {count} parts, expected {missing[0]!r} beside it"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            hint="put all parts into one folder",
        )
    return [IncomingFile(part.name, part.resolve()) for part in parts], origin
