"""Objects in a repository of an OCI registry: each is a blob, and a manifest of its own with a tag that names it.

The tag keeps the blob from the registry's own cleaning. A registry may send anything: the digest of every blob is
compared here. There is no way to put a tag only where none is; what has the same name here is the same thing, and who
removes is alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from undercroft.core.errors import InvalidError, RefusedError, UnavailableError, UndercroftError
from undercroft.core.ids import DIGEST_PATTERN
from undercroft.recovery.objects.addresses import RepositoryAddress
from undercroft.recovery.objects.credentials import Credentials
from undercroft.recovery.objects.elsewhere import LeasedPlace
from undercroft.recovery.objects.leases import LeaseTimes
from undercroft.recovery.objects.patience import Patience
from undercroft.recovery.objects.registry_client import Answer, RegistryClient
from undercroft.recovery.objects.trust import trusted
from undercroft.recovery.sealing import DamagedError

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFEST_LIMIT_BYTES = 64 * 1024
_TAGS_LIMIT_BYTES = 64 * 1024**2
_TAGS_AT_ONCE = 1000
# https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_KIND = "application/vnd.undercroft.backup.v1"
_NAME_KEY = "undercroft.backup.object"
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class _Held:
    """What a tag names.

    Args:
        manifest_digest: Of its manifest.
        blob_digest: Of the object.
        size_bytes: Of the object.
    """

    manifest_digest: str
    blob_digest: str
    size_bytes: int


class RepositoryObjects(LeasedPlace):
    """Objects of a repository.

    Args:
        client: Of its registry.
        address: Which.
        times: Of leases.
    """

    def __init__(self, client: RegistryClient, address: RepositoryAddress, *, times: LeaseTimes | None = None) -> None:
        super().__init__(address, self, times)
        self._client = client
        self._address = address
        self._base = f"/v2/{address.name}"
        self._has_empty = False

    def prepare(self) -> None:
        """A repository is there when something is put into it."""

    def now(self) -> datetime:
        return self._client.now()

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        held = self._held(name)
        if held is None:
            return None
        if held.size_bytes > limit_bytes:
            raise DamagedError(f"it is longer than {limit_bytes:,} bytes")
        return self._client.steadily(lambda: self._blob(held, limit_bytes))

    def _blob(self, held: _Held, limit_bytes: int) -> bytes:
        target = f"{self._base}/blobs/{held.blob_digest}"
        answer = self._client.ask("GET", target, expected=(200, 404), limit_bytes=limit_bytes)
        if answer.status == 404:
            raise DamagedError("it is gone")
        if _digest(answer.body) != held.blob_digest:
            raise DamagedError("the registry sent something else: its digest does not hold")
        return answer.body

    def size_bytes(self, name: str) -> int | None:
        try:
            held = self._held(name)
        except DamagedError:
            return None
        if held is None:
            return None
        target = f"{self._base}/blobs/{held.blob_digest}"
        answer = self._client.steadily(lambda: self._client.ask("HEAD", target, expected=(200, 404)))
        length = answer.headers.get("content-length", "")
        return int(length) if answer.status == 200 and length.isdecimal() and len(length) < 16 else None

    def add(self, name: str, content: bytes) -> bool:
        if self.size_bytes(name) is not None:
            return False
        self.replace(name, content)
        return True

    def replace(self, name: str, content: bytes) -> None:
        before = self._before(name)
        self._client.steadily(self._put_empty)
        digest = self._client.steadily(lambda: self._put_blob(content))
        manifest = _manifest(name, digest, len(content))
        self._client.steadily(lambda: self._put_manifest(name, manifest))
        if before is not None and before.manifest_digest != _digest(manifest):
            # The tag has left it; a registry that keeps it cleans up by itself.
            with suppress(UndercroftError):
                self._remove(before, keep_blob=before.blob_digest == digest)

    def _before(self, name: str) -> _Held | None:
        try:
            return self._held(name)
        except DamagedError:
            return None

    def _put_empty(self) -> None:
        if self._has_empty:
            return
        target = f"{self._base}/blobs/{_digest(_EMPTY)}"
        if self._client.ask("HEAD", target, expected=(200, 404)).status == 404:
            self._put_blob(_EMPTY)
        self._has_empty = True

    def _put_blob(self, content: bytes) -> str:
        digest = _digest(content)
        begun = self._client.ask("POST", f"{self._base}/blobs/uploads/", expected=(202,))
        location = begun.headers.get("location")
        if location is None:
            raise UnavailableError("store-unusable", f"{self.where} does not say where a blob is to be put")
        target = f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream"}
        self._client.ask("PUT", target, expected=(201,), body=content, headers=headers)
        return digest

    def _put_manifest(self, name: str, manifest: bytes) -> None:
        target = f"{self._base}/manifests/{_tag(name)}"
        self._client.ask("PUT", target, expected=(201,), body=manifest, headers={"Content-Type": _MANIFEST})

    def names(self, folder: str) -> Iterator[str]:
        found: list[str] = []
        target: str | None = f"{self._base}/tags/list?n={_TAGS_AT_ONCE}"
        while target is not None:
            answer = self._client.steadily(lambda at=target: self._tags(at))  # type: ignore[misc]
            tags = _tags_of(answer)
            found += [name for tag in tags if (name := _name(tag)).startswith(f"{folder}/")]
            following = _NEXT.search(answer.headers.get("link", ""))
            target = following[1] if following and tags else None
        return iter(sorted(found))

    def _tags(self, target: str) -> Answer:
        return self._client.ask("GET", target, expected=(200, 404), limit_bytes=_TAGS_LIMIT_BYTES)

    def remove(self, name: str) -> bool:
        held = self._before(name)
        return held is None or self._remove(held)

    def _remove(self, held: _Held, *, keep_blob: bool = False) -> bool:
        answer = self._deleted(f"manifests/{held.manifest_digest}")
        if answer.status in (400, 405):
            raise RefusedError(
                "removal-refused",
                f"the registry of {self.where} lets nobody remove things: it answered {answer.status}",
                hint="allow it in the registry's own settings (REGISTRY_STORAGE_DELETE_ENABLED=true), or let it grow",
            )
        if keep_blob or held.blob_digest == _digest(_EMPTY):
            return True
        return self._deleted(f"blobs/{held.blob_digest}").status in (202, 404)

    def _deleted(self, what: str) -> Answer:
        target = f"{self._base}/{what}"
        return self._client.steadily(lambda: self._client.ask("DELETE", target, expected=(202, 400, 404, 405)))

    def sweep(self) -> None:
        """What was half uploaded is the registry's own to clean up."""

    def _held(self, name: str) -> _Held | None:
        target = f"{self._base}/manifests/{_tag(name)}"
        answer = self._client.steadily(
            lambda: self._client.ask(
                "GET", target, expected=(200, 404), headers={"Accept": _MANIFEST}, limit_bytes=_MANIFEST_LIMIT_BYTES
            )
        )
        return None if answer.status == 404 else _parse(answer, name)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _tag(name: str) -> str:
    return name.replace("/", ".")


def _name(tag: str) -> str:
    return tag.replace(".", "/")


def _manifest(name: str, digest: str, size_bytes: int) -> bytes:
    """The name in it makes it another one for each tag, so that removing one takes no other tag with it."""
    empty: dict[str, Any] = {"mediaType": _EMPTY_TYPE, "digest": _digest(_EMPTY), "size": len(_EMPTY)}
    values = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "artifactType": _KIND,
        "config": empty,
        "layers": [{"mediaType": "application/octet-stream", "digest": digest, "size": size_bytes}],
        "annotations": {_NAME_KEY: name},
    }
    return json.dumps(values, sort_keys=True).encode()


def _parse(answer: Answer, name: str) -> _Held:
    digest = _digest(answer.body)
    if answer.headers.get("docker-content-digest", digest) != digest:
        raise DamagedError("the registry sent another manifest: its digest does not hold")
    try:
        values = json.loads(answer.body)
        layers, annotations = values["layers"], values["annotations"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DamagedError("what its tag names is no manifest of ours") from error
    match layers:
        case [{"digest": str(blob), "size": int(size)}] if DIGEST_PATTERN.fullmatch(blob) and size >= 0:
            if isinstance(annotations, dict) and annotations.get(_NAME_KEY) == name:
                return _Held(digest, blob, size)
    raise DamagedError("what its tag names is another thing")


def _tags_of(answer: Answer) -> list[str]:
    if answer.status == 404:
        return []  # nothing was ever put there
    try:
        tags = json.loads(answer.body)["tags"] or []
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError("store-unusable", f"{answer.url[:200]} lists its tags in an unknown form") from error
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def open_repository(
    address: RepositoryAddress,
    *,
    endpoint: str | None,
    credentials: Credentials | None,
    ca_file: Path | None,
    patience: Patience | None = None,
) -> RepositoryObjects:
    """A repository; nothing is asked yet.

    Args:
        address: Which.
        endpoint: URL of the registry; None is ``https://HOST``.
        credentials: Who this machine is; None for nobody.
        ca_file: Certificates that it is trusted by; None is the system's.
        patience: With what fails.

    Raises:
        InvalidError: The endpoint is none.
        RefusedError: ``plain-password``: a password would leave this machine unencrypted.
        UnavailableError: ``bad-ca-file``.
    """
    url = (endpoint or f"https://{address.host}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.username:
        raise InvalidError("bad-endpoint", f"backup.endpoint: expected https://HOST[:PORT], got {url[:120]!r}")
    if parts.scheme == "http" and credentials is not None and not _is_this_machine(parts.hostname):
        raise RefusedError(
            "plain-password",
            f"{url} would be told the password without TLS, for everybody on the way to read",
            hint="give the registry a certificate, and its issuer in backup.ca_file",
        )
    tls = trusted(ca_file) if parts.scheme == "https" else None
    client = RegistryClient(url, credentials=credentials, tls=tls, patience=patience or Patience())
    return RepositoryObjects(client, address)


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
