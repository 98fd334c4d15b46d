"""Bundles, good and hostile: a home that makes them, and files that only look like one."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.ggufs import write_chat_model
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import parse_use
from undercroft.core.home import Home
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.exporting import Exported, Wanted, export
from undercroft.recovery.bundles.importing import Imported, take_in
from undercroft.recovery.bundles.layout import header
from undercroft.registry.licences import LicenceGate
from undercroft.registry.models import add_local
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.storage.database import Database
from undercroft.watch.probes.probe_files import parse_probe

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = signing.signer_of(KEY)
PROBE = b"questions:\n  - id: hello\n    text: Say hello.\n    checks:\n      - {kind: contains, text: [hello]}\n"


@dataclass
class BundleHome:
    """A home that makes bundles and takes them in.

    Args:
        folder: Everything lies in it.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = Home(self.folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)

    def fill(self) -> BundleHome:
        """One model, two releases of it, one probe."""
        self.add_model("tiny")
        self.add_release("support", "Answer briefly.")
        self.add_release("support", "Answer at length.")
        self.add_probe("support")
        return self

    def add_model(self, name: str, *, seed: int = 0) -> None:
        source = write_chat_model(self.folder / f"{name}-{seed}.gguf", seed=seed, licence="apache-2.0")
        add_local(self.database, self.home, source, name=name, actor="cli:test", must_copy=True)

    def add_release(self, name: str, system: str, model: str = "tiny") -> None:
        content = check_content({"model": model, "prompt": {"system": system}})
        with self.database.write() as connection:
            store.create(connection, name, content, actor="cli:test", reason="because")

    def add_probe(self, name: str, content: bytes = PROBE) -> None:
        (self.home.probes / f"{name}.yaml").write_bytes(content)

    def export(self, out: Path, **wanted: Any) -> Exported:
        return export(
            self.database,
            self.home,
            out,
            Wanted(**wanted),
            key=KEY,
            check_probe=parse_probe,
            at=NOW,
            actor="cli:test",
            reason="for the cellar",
        )

    def take_in(self, file: Path, *, trusted: str | None = SIGNER.fingerprint, use: str = "internal") -> Imported:
        gate = LicenceGate(self.database, load_licences(), parse_use(use), is_accepted=False, actor="cli:test")
        return take_in(
            self.database,
            self.home,
            file,
            trusted=trusted,
            gate=gate,
            check_probe=parse_probe,
            actor="cli:test",
        )

    def state(self) -> dict[str, Any]:
        """Everything that an import could leave: rows, stored files, quarantine, probes."""
        with self.database.read() as connection:
            counts = {
                table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
                for table in ("models", "model_files", "blobs", "releases", "journal", "licence_acceptances")
            }
        below = (self.home.blobs, self.home.quarantine, self.home.probes)
        files = sorted(str(p) for root in below for p in root.rglob("*") if p.is_file() and not p.name.endswith("lock"))
        return {**counts, "files": files}

    def close(self) -> None:
        self.database.close()


def entries_of(file: Path) -> list[tuple[str, bytes]]:
    """Names and contents of a bundle, in order, as an ordinary tar reader sees them."""
    with tarfile.open(file) as archive:
        found = []
        for member in archive:
            opened = archive.extractfile(member)
            assert opened is not None
            found.append((member.name, opened.read()))
        return found


def resigned(file: Path, out: Path, change: Any, *, added: tuple[tuple[str, bytes], ...] = ()) -> Path:
    """A bundle with another manifest, signed again as whoever has the key could do.

    Args:
        file: A good one.
        out: Where to.
        change: Changes the manifest, given as plain data.
        added: Further files of the archive; the manifest gets an entry for each before it is changed.
    """
    found = dict(entries_of(file))
    manifest = json.loads(found.pop("manifest.json"))
    del found["signature.json"]
    found.update(added)
    manifest["entries"] += [
        [path, len(content), f"sha256:{hashlib.sha256(content).hexdigest()}"] for path, content in added
    ]
    change(manifest)
    raw = json.dumps(manifest, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    contents = [("manifest.json", raw), ("signature.json", signing.sign(KEY, raw))]
    contents += [(entry[0], found.get(entry[0], b"")) for entry in manifest["entries"]]
    out.write_bytes(archive_of(contents))
    return out


def archive_of(contents: list[tuple[str, bytes]]) -> bytes:
    """A file in the form of a bundle."""
    parts = [header(path, len(content)) + content + bytes(-len(content) % 512) for path, content in contents]
    return b"".join(parts) + bytes(1024)


def with_header(file: Path, out: Path, index: int, info: tarfile.TarInfo) -> Path:
    """A bundle in which one entry has another header: a link, a device, a path that leads out.

    Args:
        file: A good one.
        out: Where to.
        index: Of the entry; 0 is the manifest.
        info: What its header says; the size stays.
    """
    content = bytearray(file.read_bytes())
    with tarfile.open(file) as archive:
        found = archive.getmembers()[index]
    info.size = found.size if info.isreg() else 0
    content[found.offset : found.offset + 512] = info.tobuf(tarfile.USTAR_FORMAT)[:512]
    out.write_bytes(content)
    return out
