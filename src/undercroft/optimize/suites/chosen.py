"""Which suites a model is asked: their names, and the folder where their task files and data are at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.environments.installed import Environment
from undercroft.storage.blobs import digest_file

ENVIRONMENT = "lm-eval"
_MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class SuiteSet:
    """Suites of a folder.

    Args:
        folder: With task files of one's own, and the data sets of all, each below ``ORG/NAME``.
        digest: Of all that lies in it, ``sha256:`` and 64 hex digits.
        names: Of suites, groups or tags; at least one.
        most_items: Of each suite; None is all.
        shots: Examples before each question; None is what the suite says.
        environment: Where `lm-eval` is installed.
    """

    folder: Path
    digest: str
    names: tuple[str, ...]
    most_items: int | None
    shots: int | None
    environment: Environment

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name


def load_suites(
    folder: Path,
    names: Sequence[str],
    environment: Environment,
    *,
    most_items: int | None = None,
    shots: int | None = None,
) -> SuiteSet:
    """Takes suites up by their names; whether they are there is seen by `lm-eval`, which is asked next.

    Args:
        folder: With task files and data.
        names: Of suites.
        environment: Where `lm-eval` is installed.
        most_items: Of each suite; None is all.
        shots: Examples before each question; None is what the suite says.

    Raises:
        InvalidError: ``no-such-folder``, or a name twice.
        UnavailableError: ``file-unreadable``.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise InvalidError("bad-suites", f"suite {twice!r} is named twice", hint="name it once")
    whole = folder.expanduser().absolute()
    return SuiteSet(whole, digest_folder(whole), tuple(names), most_items, shots, environment)


def digest_folder(folder: Path) -> str:
    """Digest of the names and contents of all files of a folder.

    Raises:
        InvalidError: ``no-such-folder``, or too many files to be one of suites.
        UnavailableError: ``file-unreadable``.
    """
    if not folder.is_dir():
        raise InvalidError(
            "no-such-folder", f"there is no folder {str(folder)!r}", hint="give the one with task files and data"
        )
    total = hashlib.sha256()
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if len(files) > _MOST_FILES:
            raise InvalidError(
                "bad-suites",
                f"expected a folder of task files and data, {str(folder)!r} holds {len(files):,} files",
                hint="put what the suites need into a folder of its own",
            )
        for path in files:
            total.update(f"{path.relative_to(folder).as_posix()}\0{digest_file(path)}\n".encode())
    except OSError as error:
        raise UnavailableError(
            "file-unreadable",
            f"cannot read {str(error.filename or folder)[-200:]!r}: {error.strerror or error}",
            hint="give a folder that you may read",
        ) from error
    return f"sha256:{total.hexdigest()}"
