"""Where everything of one installation lies. Paths only; `prepare` makes the folders."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.files import make_folder

# A Unix socket's path may have 107 bytes; the longest of ours below `run` is engines/rep_xxxxxxxxxxxx/engine.sock.
_LONGEST_SOCKET_SUFFIX_BYTES = 44
_SOCKET_PATH_LIMIT_BYTES = 107


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds all state of one installation.

    Args:
        root: Its absolute path.
    """

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "config.toml"

    @property
    def catalogue(self) -> Path:
        """A user's own additions to the catalogue of models and licences."""
        return self.root / "catalog"

    @property
    def database_file(self) -> Path:
        return self.root / "undercroft.db"

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.root / "blobs"

    @property
    def quarantine(self) -> Path:
        """Files that came in and have not been inspected."""
        return self.root / "quarantine"

    @property
    def probes(self) -> Path:
        """Standard questions: a YAML file a name, written by people."""
        return self.root / "probes"

    @property
    def actions_file(self) -> Path:
        """Rules of what is done about incidents, written by people."""
        return self.root / "actions.yaml"

    @property
    def reports(self) -> Path:
        """What came of the standard questions: a CSV file a name, and its baseline."""
        return self.root / "reports"

    @property
    def checkpoints(self) -> Path:
        """What the journal was at a moment, signed: a file a day."""
        return self.root / "checkpoints"

    @property
    def signing_key_file(self) -> Path:
        """The private key that signs what leaves this home."""
        return self.root / "signing.key"

    @property
    def jobs(self) -> Path:
        """One folder a job: its log, how far it is, and what it has in hand."""
        return self.root / "jobs"

    @property
    def backup_work(self) -> Path:
        """What a backup or a trial restore has in hand; cleared by the next one."""
        return self.root / ".backup"

    @property
    def environments(self) -> Path:
        """Python environments of their own, a folder a name; made when the first is installed."""
        return self.root / "environments"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What a running server leaves; outside the home where its path is too long for sockets."""
        here = self.root / "run"
        if len(os.fsencode(here)) + _LONGEST_SOCKET_SUFFIX_BYTES <= _SOCKET_PATH_LIMIT_BYTES:
            return here
        tag = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"undercroft-{os.getuid()}-{tag}"

    @property
    def engines(self) -> Path:
        """One folder a replica: socket, key, record."""
        return self.run / "engines"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def doors_socket(self) -> Path:
        """Where doors connect to control for snapshots and leave their events."""
        return self.run / "doors.sock"

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper.sock"

    @property
    def keeper_lock(self) -> Path:
        return self.run / "keeper.lock"

    @property
    def snapshot_file(self) -> Path:
        """The last snapshot that control pushed; a door that starts while control is away reads it."""
        return self.run / "snapshot.json"

    def prepare(self) -> None:
        """Makes the folders, readable by their owner only; power loss takes none of them away again.

        Raises:
            OSError: A folder cannot be made, is a link, belongs to somebody else, or everybody may write to the home.
        """
        make_folder(self.root, mode=0o700)
        if self.root.stat().st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "everybody may write to it; chmod o-w", str(self.root))
        for folder in (
            self.blobs,
            self.quarantine,
            self.checkpoints,
            self.probes,
            self.reports,
            self.jobs,
            self.logs,
            self.run,
            self.engines,
        ):
            make_folder(folder, mode=0o700)
            seen = folder.lstat()
            if stat.S_ISLNK(seen.st_mode):
                raise PermissionError(errno.EPERM, "it is a link; a folder of the home must be a folder", str(folder))
            if seen.st_uid != os.getuid():
                raise PermissionError(errno.EPERM, f"it belongs to user {seen.st_uid}, not {os.getuid()}", str(folder))
            folder.chmod(0o700)
