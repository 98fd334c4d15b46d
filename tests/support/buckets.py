"""A small S3-compatible store on the loopback: checks signatures with botocore's own signer, and conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from tests.support.troubled import Remote, RemoteHandler, serving

ACCESS_KEY, SECRET = "cellar", "not a secret"
BUCKET = "backups"


@dataclass
class Bucket(Remote):
    """What it holds.

    Args:
        objects: Content by key.
        uploads: Parts by upload, with the key.
        locked: Keys that nobody may remove.
        page_keys: Most keys of one listing.
        limit_bytes: Of all objects together.
        is_read_only: Nobody may put or remove anything.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    page_keys: int = 1000
    limit_bytes: int = 1 << 40
    is_read_only: bool = False


class _Handler(RemoteHandler):
    def serve(self, body: bytes) -> None:
        bucket: Bucket = self.server.remote
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        if not self._is_signed(body):
            self._fail(403, "SignatureDoesNotMatch")
        elif name != BUCKET:
            self._fail(404, "NoSuchBucket")
        elif bucket.is_read_only and self.command not in ("GET", "HEAD"):
            self._fail(403, "AccessDenied")
        elif not key:
            self._list(bucket, query)
        elif self.command in ("GET", "HEAD"):
            found = bucket.objects.get(key)
            self._fail(404, "NoSuchKey") if found is None else self._give(found)
        elif self.command == "DELETE":
            self._delete(bucket, key, query)
        else:
            self._write(bucket, key, query, body)

    def _is_signed(self, body: bytes) -> bool:
        shown = self.headers.get("Authorization", "")
        fields = dict(part.strip().split("=", 1) for part in shown.partition(" ")[2].split(",") if "=" in part)
        signed = {name: self.headers.get(name, "") for name in fields.get("SignedHeaders", "").split(";")}
        if signed.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            return False
        scheme = self.server.remote.url.partition("/")[0]
        request = AWSRequest(self.command, f"{scheme}//{self.headers['Host']}{self.path}", headers=signed, data=body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = S3SigV4Auth(BotoCredentials(ACCESS_KEY, SECRET), "s3", fields["Credential"].split("/")[2])
        url = urlsplit(request.url)
        request.url, request.params = f"{url.scheme}://{url.netloc}{url.path}", None
        request.params = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return bool(signer.signature(text, request) == fields.get("Signature"))

    def _give(self, content: bytes) -> None:
        self.answer(200, content, ETag=f'"{hashlib.md5(content).hexdigest()}"')

    def _list(self, bucket: Bucket, query: dict[str, str]) -> None:
        prefix = query.get("prefix", "")
        if "uploads" in query:
            items = "".join(
                f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
                for upload, (key, _) in bucket.uploads.items()
                if key.startswith(prefix)
            )
            self._say(f"<ListMultipartUploadsResult>{items}</ListMultipartUploadsResult>")
            return
        after = query.get("continuation-token", "")
        keys = sorted(key for key in bucket.objects if key.startswith(prefix) and key > after)
        page, is_cut = keys[: bucket.page_keys], len(keys) > bucket.page_keys
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(bucket.objects[key])}</Size></Contents>" for key in page
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_cut else ""
        self._say(f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{items}{more}</ListBucketResult>")

    def _delete(self, bucket: Bucket, key: str, query: dict[str, str]) -> None:
        if "uploadId" in query:
            bucket.uploads.pop(query["uploadId"], None)
        elif key in bucket.locked:
            self._fail(403, "AccessDenied")
            return
        else:
            bucket.objects.pop(key, None)
        self.answer(204)

    def _write(self, bucket: Bucket, key: str, query: dict[str, str], body: bytes) -> None:
        is_last = (self.command == "POST") == ("uploadId" in query) and "uploads" not in query
        if is_last and self.headers.get("If-None-Match") == "*" and key in bucket.objects:
            self._fail(412, "PreconditionFailed")
        elif sum(map(len, bucket.objects.values())) + len(body) > bucket.limit_bytes:
            self._fail(507, "QuotaExceeded")
        elif "uploads" in query:
            upload = f"upload-{len(bucket.seen)}"
            bucket.uploads[upload] = (key, {})
            self._say(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        elif self.command == "POST":
            parts = bucket.uploads.pop(query["uploadId"])[1]
            bucket.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self._say("<CompleteMultipartUploadResult/>")
        else:
            if "uploadId" in query:
                bucket.uploads[query["uploadId"]][1][int(query["partNumber"])] = body
            else:
                bucket.objects[key] = body
            self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def _say(self, text: str) -> None:
        self.answer(200, text.encode(), Content_Type="application/xml")

    def _fail(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


@contextmanager
def running_bucket(*, is_tls: bool = False) -> Iterator[Bucket]:
    """A store with one empty bucket, until the block ends."""
    bucket = Bucket()
    with serving(_Handler, bucket, is_tls=is_tls):
        yield bucket
