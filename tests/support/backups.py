"""A home with a model, and stores of backups beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.ggufs import write_chat_model
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.checks import find
from undercroft.recovery.creating import Created, create
from undercroft.recovery.keys import BackupKey
from undercroft.recovery.objects.contract import Objects
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.restoring import Restored, restore
from undercroft.recovery.store import BackupStore, make_store
from undercroft.registry.models import add_local
from undercroft.storage.database import Database

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
KEY = BackupKey(bytes(range(32)))


@dataclass
class Cellar:
    """A home, its database, and where its backups go.

    Args:
        folder: Everything lies in it.
        key: Of the store; None for a clear one.
        objects: Where the store lies; None for a folder of its own.
    """

    folder: Path
    key: BackupKey | None
    objects: Objects | None = None

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)
        self.store_folder = self.folder / "store"
        self.made = 0
        self.home.config_file.write_text("[registry]\nscrub_days = 3\n", encoding="utf-8")
        self.home.signing_key_file.write_text("00" * 32 + "\n", encoding="ascii")
        (self.home.root / "catalog").mkdir()
        (self.home.root / "catalog" / "รุ่น.yaml").write_text("models: []\n", encoding="utf-8")

    def add_model(self, name: str = "tiny", *, seed: int = 0) -> None:
        """A real model file, registered."""
        source = write_chat_model(self.folder / f"{name}.gguf", seed=seed)
        add_local(self.database, self.home, source, name=name, actor="cli:test", must_copy=True)

    def store(self) -> BackupStore:
        return make_store(self.objects or FolderObjects(self.store_folder), self.key)

    def back_up(self, *, must_write: bool = False) -> Created:
        """A backup, each an hour after the last."""
        self.made += 1
        at = NOW + timedelta(hours=self.made)
        return create(self.home, self.store(), Settings(), at=at, reason=None, must_write=must_write)

    def restore(self, backup_id: str | None = None, *, into: str = "restored") -> Restored:
        store = self.store()
        return restore(store, find(store, backup_id), self.folder / into, actor="cli:test")


def contents(root: Path) -> dict[str, str]:
    """Digest of every file of a home that a backup holds byte by byte."""
    skipped = {"run", "logs", "quarantine", ".backup"}
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.relative_to(root).parts[0] not in skipped
        and not path.name.startswith((".", "undercroft.db"))
    }
