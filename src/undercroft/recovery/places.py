"""Which store is meant, and which key: options first, then settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.core.settings import BackupSettings
from undercroft.recovery.keys import BackupKey, read_key_file
from undercroft.recovery.objects.addresses import Address, BucketAddress, RepositoryAddress, parse_address
from undercroft.recovery.objects.bucket import open_bucket
from undercroft.recovery.objects.contract import Objects
from undercroft.recovery.objects.credentials import read_credentials
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.objects.repository import open_repository
from undercroft.recovery.store import BackupStore, make_store, open_store


@dataclass(frozen=True, slots=True)
class Place:
    """Where backups are.

    Args:
        address: Of the store.
        key_file: That opens it; None for a clear one.
        settings: How another machine is reached.
    """

    address: Address
    key_file: Path | None
    settings: BackupSettings

    @property
    def where(self) -> str:
        """As a person names it."""
        return str(self.address)

    def open(self) -> BackupStore:
        """The store, which is there.

        Raises:
            UndercroftError: It is not, or the key does not open it.
        """
        return open_store(self._objects(), self._key())

    def make(self) -> BackupStore:
        """The store, made where there is none.

        Raises:
            UndercroftError: It cannot be made, or the key does not open it.
        """
        return make_store(self._objects(), self._key())

    def _key(self) -> BackupKey | None:
        return None if self.key_file is None else read_key_file(self.key_file)

    def _objects(self) -> Objects:
        if isinstance(self.address, Path):
            return FolderObjects(self.address)
        file = self.settings.credentials_file
        credentials = None if file is None else read_credentials(file.expanduser())
        endpoint, ca_file = self.settings.endpoint, self.settings.ca_file
        if isinstance(self.address, BucketAddress):
            return open_bucket(
                self.address,
                endpoint=endpoint,
                region=self.settings.region,
                credentials=credentials,
                ca_file=ca_file,
            )
        return open_repository(self.address, endpoint=endpoint, credentials=credentials, ca_file=ca_file)


def place_of(
    settings: BackupSettings,
    *,
    where: str | None = None,
    key_file: Path | None = None,
    is_unencrypted: bool = False,
    is_new: bool = False,
) -> Place:
    """Decides.

    Args:
        settings: For what no option says.
        where: The store is, as an option says.
        key_file: As an option says.
        is_unencrypted: An option says that there is no key.
        is_new: Something may be written there, so that no key has to be said.

    Raises:
        InvalidError: No place is known, or no key and nobody said that it may be so, or both.
    """
    said = where or settings.where
    if said is None:
        raise InvalidError(
            "no-backup-place",
            "no place for backups is known: expected an option or backup.place in the settings",
            hint="undercroft backup create --to FOLDER --key-file FILE",
        )
    if key_file is not None and is_unencrypted:
        raise InvalidError("key-and-unencrypted", "a backup has a key or is unencrypted: expected one of both options")
    address = parse_address(said)
    key = None if is_unencrypted else key_file or settings.key_file
    is_elsewhere = isinstance(address, BucketAddress | RepositoryAddress)
    if is_new and key is None and (is_elsewhere or not (is_unencrypted or settings.unencrypted)):
        or_clear = "" if is_elsewhere else ", or --unencrypted to say that whoever has the folder may read it"
        raise InvalidError(
            "needs-key",
            "a backup usually leaves the house, and the journal and the settings with it: expected --key-file"
            + or_clear,
            hint="undercroft backup key FILE; keep a copy of it on paper, far from the backups",
        )
    return Place(address, None if key is None else key.expanduser().absolute(), settings)
