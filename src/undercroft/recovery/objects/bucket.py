"""Objects in a bucket of an S3-compatible store.

An object is put with ``If-None-Match: *``, so that of two machines that put the same name one is told. Names are those
of a folder of backups, behind the prefix: a folder that was copied into a bucket is a store there, and the other way
round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from undercroft.core.clock import utc_now
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError, UnavailableError, UndercroftError
from undercroft.recovery.objects.addresses import BucketAddress
from undercroft.recovery.objects.contract import FOLDERS
from undercroft.recovery.objects.credentials import Credentials
from undercroft.recovery.objects.elsewhere import LeasedPlace
from undercroft.recovery.objects.leases import LeaseTimes
from undercroft.recovery.objects.patience import Patience
from undercroft.recovery.objects.trust import trusted

_PART_BYTES = 32 * 1024**2
_READ_BYTES = 1024**2
_MISSING = {"404", "NoSuchKey", "NotFound"}
_EXISTS = {"412", "PreconditionFailed"}
# Another one puts the same name at this moment.
_MEETS = {"409", "ConditionalRequestConflict"}
_FULL = {"507", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"}
_REFUSED_STATUSES = {401, 403}


class BucketObjects(LeasedPlace):
    """Objects of a bucket.

    Args:
        client: Of botocore, for S3.
        address: The bucket and the prefix.
        patience: With what is cut off.
        times: Of leases.
        part_bytes: Objects over that go in parts of that size.
    """

    def __init__(
        self,
        client: Any,
        address: BucketAddress,
        *,
        patience: Patience,
        times: LeaseTimes | None = None,
        part_bytes: int = _PART_BYTES,
    ) -> None:
        super().__init__(address, self, times)
        self._client = client
        self._address = address
        self._patience = patience
        self._part_bytes = part_bytes
        self._ahead = timedelta()

    def prepare(self) -> None:
        """A bucket is made by whoever pays for it."""

    def now(self) -> datetime:
        return utc_now() + self._ahead

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        for attempt in range(self._patience.attempts):
            try:
                with self._explained():
                    answer = self._told(self._client.get_object(**self._named(name)))
                    with closing(answer["Body"]) as body:
                        return _read(body, limit_bytes)
            except _CodedError as error:
                if error.code in _MISSING:
                    return None
                raise self._explanation(error) from error
            except UnavailableError:
                if attempt + 1 == self._patience.attempts:
                    raise
                time.sleep(self._patience.first_pause_seconds * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def size_bytes(self, name: str) -> int | None:
        try:
            return int(self._call(self._client.head_object, **self._named(name))["ContentLength"])
        except NotFoundError as error:
            if error.code == "no-such-object":
                return None
            raise

    def add(self, name: str, content: bytes) -> bool:
        return self._put(name, content, IfNoneMatch="*")

    def replace(self, name: str, content: bytes) -> None:
        self._put(name, content)

    def _put(self, name: str, content: bytes, **conditions: str) -> bool:
        for attempt in range(self._patience.attempts):
            try:
                with self._explained():
                    if len(content) <= self._part_bytes:
                        self._told(self._client.put_object(**self._named(name), Body=content, **conditions))
                    else:
                        self._put_in_parts(name, content, conditions)
                    return True
            except _CodedError as error:
                if error.code in _EXISTS:
                    return False
                if error.code not in _MEETS or attempt + 1 == self._patience.attempts:
                    raise self._explanation(error) from error
                time.sleep(self._patience.first_pause_seconds * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _put_in_parts(self, name: str, content: bytes, conditions: dict[str, str]) -> None:
        named = self._named(name)
        upload = self._client.create_multipart_upload(**named)["UploadId"]
        try:
            parts = []
            for number, begin in enumerate(range(0, len(content), self._part_bytes), start=1):
                piece = content[begin : begin + self._part_bytes]
                answer = self._client.upload_part(**named, UploadId=upload, PartNumber=number, Body=piece)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._client.complete_multipart_upload(
                **named, UploadId=upload, MultipartUpload={"Parts": parts}, **conditions
            )
        except BaseException:
            # What failed first is told; `sweep` removes what is left.
            with suppress(UndercroftError):
                self._call(self._client.abort_multipart_upload, **named, UploadId=upload)
            raise

    def names(self, folder: str) -> Iterator[str]:
        begin = f"{self._address.prefix}{folder}/"
        more: dict[str, str] = {}
        while True:
            answer = self._call(
                self._client.list_objects_v2, Bucket=self._address.bucket, Prefix=begin, MaxKeys=1000, **more
            )
            for item in answer.get("Contents", ()):
                yield str(item["Key"]).removeprefix(self._address.prefix)
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def remove(self, name: str) -> bool:
        self._call(self._client.delete_object, **self._named(name))
        return True

    def sweep(self) -> None:
        """Uploads in parts that nobody finished: they are paid for, and no listing shows them."""
        for folder in FOLDERS:
            begin = {"Bucket": self._address.bucket, "Prefix": f"{self._address.prefix}{folder}/"}
            for upload in self._call(self._client.list_multipart_uploads, **begin).get("Uploads", ()):
                self._call(
                    self._client.abort_multipart_upload,
                    Bucket=self._address.bucket,
                    Key=upload["Key"],
                    UploadId=upload["UploadId"],
                )

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": f"{self._address.prefix}{name}"}

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        try:
            with self._explained():
                return self._told(method(**arguments))
        except _CodedError as error:
            raise self._explanation(error) from error

    def _told(self, answer: Any) -> Any:
        """Every answer tells the time."""
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        with suppress(TypeError, ValueError):
            self._ahead = parsedate_to_datetime(date) - utc_now()
        return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of botocore and of what it stands on as ours."""
        from botocore.exceptions import (  # noqa: PLC0415 behind an extra
            BotoCoreError,
            ClientError,
            HTTPClientError,
            IncompleteReadError,
        )
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 behind an extra
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 comes with botocore

        try:
            yield
        except ClientError as error:
            raise _CodedError(error.response) from error
        except (HTTPClientError, HTTPError, IncompleteReadError, ResponseParserError, OSError) as error:
            raise UnavailableError(
                "store-unreachable",
                f"the connection to {self.where} failed: {type(error).__name__}; the backups that were there are as "
                "they were",
                hint="check backup.endpoint, the network, and backup.ca_file for its certificate; then again",
            ) from error
        except BotoCoreError as error:
            raise InvalidError("bad-backup-place", f"{self.where} cannot be used: {str(error)[:300]}") from error

    def _explanation(self, error: _CodedError) -> UndercroftError:
        if error.code in _FULL:
            return UnavailableError(
                "disk-full",
                f"no room in {self.where}: {error}; the backups that were there are as they were",
                hint="undercroft backup prune, or make room there",
            )
        if error.code == "NoSuchBucket":
            return NotFoundError("no-bucket", f"there is no bucket {self._address.bucket}", hint="make it at the store")
        if error.code in _MISSING:
            return NotFoundError("no-such-object", f"{self.where}: {error}")
        if error.status in _REFUSED_STATUSES:
            return RefusedError(
                "store-refused",
                f"{self.where} refused: {error}",
                hint="check backup.credentials_file, what that key may do there, and whether objects are locked",
            )
        return UnavailableError(
            "store-unusable",
            f"{self.where} answered: {error}; the backups that were there are as they were",
            hint="check the store; then again",
        )


class _CodedError(Exception):
    """What a store answered in place of a result.

    Args:
        response: As botocore has it.
    """

    def __init__(self, response: Any) -> None:
        told = response.get("Error", {})
        self.code = str(told.get("Code", ""))[:80]
        self.status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        message = "".join(letter for letter in str(told.get("Message", "")) if letter.isprintable())[:200]
        super().__init__(f"status {self.status} {self.code} {message}".rstrip())


def _read(body: Any, limit_bytes: int) -> bytes:
    """One byte more than the limit at most; an answer that ends too early is an error of its connection."""
    content = bytearray()
    while len(content) <= limit_bytes and (piece := body.read(min(_READ_BYTES, limit_bytes + 1 - len(content)))):
        content += piece
    return bytes(content)


def open_bucket(
    address: BucketAddress,
    *,
    endpoint: str | None,
    region: str,
    credentials: Credentials | None,
    ca_file: Path | None,
    patience: Patience | None = None,
) -> BucketObjects:
    """A bucket; nothing is asked yet.

    Only what is given here counts: no variable and no file of another program says who this machine is.

    Args:
        address: Which.
        endpoint: URL of the store; None is Amazon's own of the region.
        region: Of the bucket.
        credentials: Who this machine is.
        ca_file: Certificates that it is trusted by; None is those that come with botocore.
        patience: With what fails.

    Raises:
        InvalidError: No credentials, or the endpoint is none.
        UnavailableError: ``extra-missing``, ``bad-ca-file``.
    """
    if credentials is None:
        raise InvalidError(
            "no-credentials",
            f"{address} needs credentials: expected backup.credentials_file, two lines of access key id and secret",
            hint="UNDERCROFT_BACKUP__CREDENTIALS_FILE=FILE, or config.toml",
        )
    try:
        from botocore.config import Config  # noqa: PLC0415 behind an extra
        from botocore.session import Session  # noqa: PLC0415 behind an extra
    except ImportError as error:
        raise UnavailableError(
            "extra-missing",
            f"{address} needs a library for S3 that is not installed",
            hint="pip install 'undercroft[s3]'",
        ) from error
    patience = patience or Patience()
    if ca_file is not None:
        trusted(ca_file)
    # By botocore's name: key in a file, variable of the environment, value, converter.
    session = Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    config = Config(
        connect_timeout=patience.timeout_seconds,
        read_timeout=patience.timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        signature_version="s3v4",
        ignore_configured_endpoint_urls=True,
        s3={"addressing_style": "auto" if endpoint is None else "path"},
        # Many stores do not know the checksums that botocore adds by itself; what is stored here is sealed.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = session.create_client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=credentials.name,
            aws_secret_access_key=credentials.secret,
            verify=True if ca_file is None else str(ca_file.expanduser()),
            config=config,
        )
    except ValueError as error:
        raise InvalidError(
            "bad-endpoint", f"backup.endpoint: expected a URL such as https://HOST:9000, got {str(endpoint)[:120]!r}"
        ) from error
    return BucketObjects(client, address, patience=patience)
