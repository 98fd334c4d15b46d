"""Every kind of place that keeps backups, each with a way to look at it from behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import buckets, registries
from tests.support.buckets import Bucket, running_bucket
from tests.support.registries import Registry, running_registry
from tests.support.troubled import CERTIFICATE, Remote
from undercroft.recovery.objects.addresses import BucketAddress, RepositoryAddress
from undercroft.recovery.objects.bucket import BucketObjects, open_bucket
from undercroft.recovery.objects.contract import Objects
from undercroft.recovery.objects.credentials import Credentials
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.objects.patience import Patience
from undercroft.recovery.objects.repository import RepositoryObjects, open_repository

KINDS = ("folder", "bucket", "repository")
REMOTE_KINDS = ("bucket", "repository")
# Nothing is waited for where nothing gets better by waiting.
HASTY = Patience(attempts=3, first_pause_seconds=0.0, timeout_seconds=20.0)


@dataclass
class Kept:
    """A place, and what is behind it.

    Args:
        objects: As the product sees it.
        remote: The server; None for a folder.
    """

    objects: Objects
    remote: Remote | None

    @property
    def server(self) -> Remote:
        assert self.remote is not None
        return self.remote

    def contents(self) -> dict[str, bytes]:
        """All that is kept, by the name that somebody sees who looks there."""
        if self.objects.folder is not None:
            root = self.objects.folder
            return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        if isinstance(self.remote, Bucket):
            return dict(self.remote.objects)
        assert isinstance(self.remote, Registry)
        return {tag: self.remote.blobs[self.blob_of(tag)] for tag in self.remote.tags}

    def blob_of(self, tag: str) -> str:
        """Digest of the blob that a tag of a registry leads to."""
        assert isinstance(self.remote, Registry)
        layers = json.loads(self.remote.manifests[self.remote.tags[tag]])["layers"]
        return str(layers[0]["digest"])

    def flip(self, name: str) -> None:
        """Changes one bit in the middle of an object, behind everybody's back."""
        if isinstance(self.objects, FolderObjects):
            path = self.objects.root / name
            path.write_bytes(flipped(path.read_bytes()))
        elif isinstance(self.remote, Bucket):
            key = f"cellar/{name}"
            self.remote.objects[key] = flipped(self.remote.objects[key])
        else:
            assert isinstance(self.remote, Registry)
            digest = self.blob_of(name.replace("/", "."))
            self.remote.blobs[digest] = flipped(self.remote.blobs[digest])


def flipped(content: bytes) -> bytes:
    """With one bit changed."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 4
    return bytes(changed)


@contextmanager
def kept(kind: str, folder: Path) -> Iterator[Kept]:
    """A place of a kind, prepared, until the block ends."""
    if kind == "bucket":
        with running_bucket() as bucket:
            yield Kept(in_bucket(bucket), bucket)
    elif kind == "repository":
        with running_registry() as registry:
            yield Kept(in_repository(registry), registry)
    else:
        objects = FolderObjects(folder / "kept")
        objects.prepare()
        yield Kept(objects, None)


def in_bucket(bucket: Bucket, *, secret: str = buckets.SECRET, is_trusting: bool = True) -> BucketObjects:
    """What a machine sees of it."""
    return open_bucket(
        BucketAddress(buckets.BUCKET, "cellar/"),
        endpoint=bucket.url,
        region="eu-west-2",
        credentials=Credentials(buckets.ACCESS_KEY, secret),
        ca_file=CERTIFICATE if is_trusting else None,
        patience=HASTY,
    )


def in_repository(registry: Registry, *, secret: str | None = None, is_trusting: bool = True) -> RepositoryObjects:
    """What a machine sees of it."""
    return open_repository(
        RepositoryAddress("registry.example", registries.REPOSITORY),
        endpoint=registry.url,
        credentials=None if secret is None else Credentials(registries.USER, secret),
        ca_file=CERTIFICATE if is_trusting else None,
        patience=HASTY,
    )
