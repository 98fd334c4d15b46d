"""A small OCI registry on the loopback, as the distribution specification has it; it can ask for credentials.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.troubled import Remote, RemoteHandler, serving

USER, PASSWORD, TOKEN = "cellar", "not a secret", "a token"
REPOSITORY = "team/cellar"
_TARGET = re.compile(rf"/v2/{REPOSITORY}/(?P<what>manifests|blobs|tags)/(?P<which>.*)")


@dataclass
class Registry(Remote):
    """What it holds.

    Args:
        blobs: By digest.
        manifests: By digest.
        tags: Digest of a manifest by tag.
        asks: How it asks for credentials.
        can_remove: Which things may be removed.
        page_tags: Most tags of one listing.
        limit_bytes: Of all blobs together.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asks: Literal["nothing", "basic", "bearer"] = "nothing"
    can_remove: frozenset[str] = frozenset({"manifests", "blobs"})
    page_tags: int = 1000
    limit_bytes: int = 1 << 40

    def collect_garbage(self) -> None:
        """As an operator does: blobs that no tagged manifest names are removed."""
        with self.lock:
            kept = {self.tags[tag] for tag in self.tags}
            self.manifests = {digest: body for digest, body in self.manifests.items() if digest in kept}
            named = {
                one["digest"]
                for body in self.manifests.values()
                for one in (json.loads(body)["config"], *json.loads(body)["layers"])
            }
            self.blobs = {digest: body for digest, body in self.blobs.items() if digest in named}


class _Handler(RemoteHandler):
    def serve(self, body: bytes) -> None:
        registry: Registry = self.server.remote
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        target = _TARGET.fullmatch(unquote(parts.path))
        if parts.path == "/token":
            self._give_token()
        elif not self._is_welcome(registry):
            return
        elif target is None:
            self._fail(404, "NAME_UNKNOWN")
        elif target["what"] == "tags":
            self._list(registry, query)
        elif self.command == "DELETE":
            self._delete(registry, target["what"], target["which"])
        elif target["what"] == "manifests":
            self._manifest(registry, target["which"], body)
        else:
            self._blob(registry, target["which"], query, body)

    def _give_token(self) -> None:
        pair = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if self.headers.get("Authorization") == pair:
            self.answer(200, json.dumps({"token": TOKEN}).encode())
        else:
            self._fail(401, "UNAUTHORIZED")

    def _is_welcome(self, registry: Registry) -> bool:
        wanted = {
            "nothing": self.headers.get("Authorization"),
            "basic": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}",
            "bearer": f"Bearer {TOKEN}",
        }[registry.asks]
        if self.headers.get("Authorization") == wanted:
            return True
        challenge = (
            'Basic realm="cellar"'
            if registry.asks == "basic"
            else f'Bearer realm="{registry.url}/token",service="cellar",scope="repository:{REPOSITORY}:pull,push"'
        )
        self.answer(401, b"{}", WWW_Authenticate=challenge)
        return False

    def _list(self, registry: Registry, query: dict[str, list[str]]) -> None:
        if not registry.tags:
            self._fail(404, "NAME_UNKNOWN")
            return
        tags = sorted(tag for tag in registry.tags if tag > query.get("last", [""])[0])
        page = tags[: registry.page_tags]
        target = f"/v2/{REPOSITORY}/tags/list?last={page[-1] if page else ''}&n={registry.page_tags}"
        link = {"Link": f'<{target}>; rel="next"'} if len(tags) > len(page) else {}
        self.answer(200, json.dumps({"name": REPOSITORY, "tags": page}).encode(), **link)

    def _delete(self, registry: Registry, what: str, which: str) -> None:
        held = registry.manifests if what == "manifests" else registry.blobs
        if what not in registry.can_remove or not which.startswith("sha256:"):
            self._fail(405, "UNSUPPORTED")
        elif held.pop(which, None) is None:
            self._fail(404, "UNKNOWN")
        else:
            registry.tags = {tag: digest for tag, digest in registry.tags.items() if digest in registry.manifests}
            self.answer(202)

    def _manifest(self, registry: Registry, which: str, body: bytes) -> None:
        if self.command == "PUT":
            values = json.loads(body)
            if any(one["digest"] not in registry.blobs for one in (values["config"], *values["layers"])):
                self._fail(404, "MANIFEST_BLOB_UNKNOWN")
                return
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            registry.manifests[digest] = body
            registry.tags[which] = digest
            self.answer(201, Location=f"/v2/{REPOSITORY}/manifests/{digest}")
            return
        digest = registry.tags.get(which, which)
        if digest in registry.manifests:
            kind = "application/vnd.oci.image.manifest.v1+json"
            self.answer(200, registry.manifests[digest], Content_Type=kind, Docker_Content_Digest=digest)
        else:
            self._fail(404, "MANIFEST_UNKNOWN")

    def _blob(self, registry: Registry, which: str, query: dict[str, list[str]], body: bytes) -> None:
        if self.command == "POST":
            self.answer(202, Location=f"/v2/{REPOSITORY}/blobs/uploads/one?state=x")
        elif self.command == "PUT":
            digest = query["digest"][0]
            if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
                self._fail(400, "DIGEST_INVALID")
            elif sum(map(len, registry.blobs.values())) + len(body) > registry.limit_bytes:
                self._fail(507, "DENIED")
            else:
                registry.blobs[digest] = body
                self.answer(201, Location=f"/v2/{REPOSITORY}/blobs/{digest}")
        elif which in registry.blobs:
            self.answer(200, registry.blobs[which])
        else:
            self._fail(404, "BLOB_UNKNOWN")

    def _fail(self, status: int, code: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode())


@contextmanager
def running_registry(*, is_tls: bool = False) -> Iterator[Registry]:
    """An empty registry, until the block ends."""
    registry = Registry()
    with serving(_Handler, registry, is_tls=is_tls):
        yield registry
