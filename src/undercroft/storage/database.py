"""Opens the database: SQLite in the home, brought to today's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.storage.upgrading import Upgrade, forget_old_copies, keep_copy, upgrading_alone

# The newest revision in storage/migrations/versions; a test holds the two together. Known here so that
# opening an up-to-date database does not import Alembic (100 ms).
SCHEMA_REVISION = "0010"


_DISK_IS_FULL = "disk is full"  # in SQLite's own words


class Database:
    """A database that is open.

    Args:
        file: The SQLite file; its folder exists.

    Raises:
        ConflictError: A newer Undercroft wrote it.
        UnavailableError: It cannot be opened or is damaged, or its schema could not be made today's; then it is as it
            was.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.upgraded: Upgrade | None = None  # what opening it has changed
        self.engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 30}, pool_size=5, max_overflow=10)
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin_immediate)
        try:
            self._migrate()
            file.chmod(0o600)
        except DatabaseError as error:
            raise self._unusable(error) from error

    def _migrate(self) -> None:
        if self._revision() == SCHEMA_REVISION:
            return
        with upgrading_alone(self.file):
            revision = self._revision()
            if revision == SCHEMA_REVISION:
                return
            if revision is not None and revision > SCHEMA_REVISION:
                copy = self.file.with_name(f"{self.file.name}.before-{revision}")
                raise ConflictError(
                    "database-newer",
                    f"the database {self.file} has schema {revision}, this Undercroft knows up to {SCHEMA_REVISION}",
                    hint="install the Undercroft version that wrote it, or a newer one"
                    + (f"; or put back {copy}, and lose what was done since" if copy.exists() else ""),
                )
            self._upgrade(revision)

    def _upgrade(self, revision: str | None) -> None:
        from undercroft.storage.migrations import upgrade  # noqa: PLC0415  (Alembic costs 100 ms and is rarely needed)

        if revision is None:
            upgrade(self.engine, None)
            return
        done = Upgrade(revision, SCHEMA_REVISION, keep_copy(self.file, schema=SCHEMA_REVISION))
        try:
            upgrade(self.engine, done)
        except DatabaseError as error:
            raise UnavailableError(
                "upgrade-failed",
                f"the database {self.file} was not brought from schema {revision} to {SCHEMA_REVISION} and is as it "
                f"was: {error.orig}",
                hint="undercroft doctor; the Undercroft version before this one goes on with it",
            ) from error
        self.upgraded = done
        forget_old_copies(self.file)

    def _unusable(self, error: DatabaseError) -> UnavailableError:
        if _DISK_IS_FULL in str(error.orig):
            return UnavailableError(
                "disk-full",
                f"the disk became full while writing the database {self.file}; it is as it was before",
                hint="undercroft model gc, or make room on that disk",
            )
        return UnavailableError(
            "database-unusable",
            f"cannot use the database {self.file}: {error.orig}",
            hint="check that the disk has room and the file is yours; a damaged file is replaced from a backup",
        )

    def _revision(self) -> str | None:
        with self.read() as connection:
            exists = connection.execute(
                text("SELECT 1 FROM sqlite_master WHERE type='table' AND name='alembic_version'")
            ).first()
            if exists is None:
                return None
            row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
            return str(row[0]) if row else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes: all of it happens or none. Writers wait for each other."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise self._unusable(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look."""
        try:
            with self.engine.connect().execution_options(writes=False) as connection:
                yield connection
        except DatabaseError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # FULL: in WAL mode NORMAL may lose an acknowledged commit at power loss.
    # isolation_level None: the driver begins nothing by itself, `_begin_immediate` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that begins by reading and then writes may fail at once however long the time-out is;
    # taking the write lock first waits its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes", True) else "BEGIN")
