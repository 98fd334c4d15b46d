"""Which store is meant, and which key: options first, then settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.core.settings import BackupSettings
from undercroft.recovery.keys import BackupKey, read_key_file
from undercroft.recovery.store import FolderStore, make_store, open_store


@dataclass(frozen=True, slots=True)
class Place:
    """Where backups are.

    Args:
        folder: Of the store.
        key_file: That opens it; None for a clear one.
    """

    folder: Path
    key_file: Path | None

    def open(self) -> FolderStore:
        """The store, which is there.

        Raises:
            UndercroftError: It is not, or the key does not open it.
        """
        return open_store(self.folder, self._key())

    def make(self) -> FolderStore:
        """The store, made where there is none.

        Raises:
            UndercroftError: It cannot be made, or the key does not open it.
        """
        return make_store(self.folder, self._key())

    def _key(self) -> BackupKey | None:
        return None if self.key_file is None else read_key_file(self.key_file)


def place_of(
    settings: BackupSettings,
    *,
    folder: Path | None = None,
    key_file: Path | None = None,
    is_unencrypted: bool = False,
    is_new: bool = False,
) -> Place:
    """Decides.

    Args:
        settings: For what no option says.
        folder: Of the store, as an option says.
        key_file: As an option says.
        is_unencrypted: An option says that there is no key.
        is_new: Something may be written there, so that no key has to be said.

    Raises:
        InvalidError: No folder is known, or no key and nobody said that it may be so, or both.
    """
    where = folder or settings.folder
    if where is None:
        raise InvalidError(
            "no-backup-folder",
            "no folder for backups is known: expected an option or backup.folder in the settings",
            hint="undercroft backup create --to FOLDER --key-file FILE",
        )
    if key_file is not None and is_unencrypted:
        raise InvalidError("key-and-unencrypted", "a backup has a key or is unencrypted: expected one of both options")
    key = None if is_unencrypted else key_file or settings.key_file
    if is_new and key is None and not (is_unencrypted or settings.unencrypted):
        raise InvalidError(
            "needs-key",
            "a backup usually leaves the house, and the journal and the settings with it: expected --key-file, or "
            "--unencrypted to say that whoever has the folder may read it",
            hint="undercroft backup key FILE; keep a copy of it on paper, far from the backups",
        )
    return Place(where.expanduser().absolute(), None if key is None else key.expanduser().absolute())
