"""Standard questions that come with a bundle get into place with its database entry, or not at all.

They are files, and a file cannot be part of a transaction. So they are written to a hidden folder beside their place
first; the transaction names that folder in the journal; and then they are moved. Where an import was cut off, the next
look knows by the journal whether they belong here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from undercroft.core.errors import ConflictError
from undercroft.core.files import sync_folder, write_atomically
from undercroft.core.home import Home
from undercroft.core.ids import new_id
from undercroft.storage import journal
from undercroft.storage.journal import Search

IMPORT_ACTION = "bundle.import"
_STAGED = ".import_"


@contextmanager
def importing_alone(home: Home) -> Iterator[None]:
    """Held while one bundle is imported.

    Raises:
        ConflictError: ``import-running``.
    """
    descriptor = os.open(home.probes / ".import.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "import-running", "another bundle is imported just now", hint="wait until it has ended"
            ) from error
        yield
    finally:
        os.close(descriptor)


def stage(home: Home, probes: Mapping[str, bytes]) -> Path:
    """Writes probes where nothing reads them, durable.

    Args:
        home: Held by `importing_alone`.
        probes: Content by name.
    """
    folder = home.probes / new_id(_STAGED.rstrip("_"))
    folder.mkdir(mode=0o700)
    for name, content in probes.items():
        write_atomically(folder / f"{name}.yaml", content)
    sync_folder(home.probes)
    return folder


def finish(home: Home, connection: Connection) -> None:
    """Moves what committed imports have staged into place, and removes what others have left.

    Args:
        home: Held by `importing_alone`.
        connection: Of its database.
    """
    for folder in sorted(home.probes.glob(f"{_STAGED}*")):
        if _is_committed(connection, folder.name):
            _move(folder, home.probes)
        shutil.rmtree(folder, ignore_errors=True)


def finish_if_idle(home: Home, connection: Connection) -> None:
    """As `finish`, where no bundle is imported just now."""
    with contextlib.suppress(ConflictError), importing_alone(home):
        finish(home, connection)


def _is_committed(connection: Connection, name: str) -> bool:
    found = journal.find(connection, Search(action=IMPORT_ACTION))
    return any((entry.after or {}).get("staged") == name for entry, _ in found)


def _move(staged: Path, probes: Path) -> None:
    for path in sorted(staged.glob("*.yaml")):
        # What somebody wrote there meanwhile stays.
        with contextlib.suppress(FileExistsError):
            os.link(path, probes / path.name)
    sync_folder(probes)
