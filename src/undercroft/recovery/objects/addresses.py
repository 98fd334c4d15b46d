"""Where backups are, as people say it: a path, ``s3://bucket/prefix``, ``oci://host/name``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,7}")
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,45}\])(:[0-9]{1,5})?")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_REPOSITORY_LIMIT = 200


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A part of a bucket.

    Args:
        bucket: Its name.
        prefix: What the names of all objects begin with; empty, or ends with ``/``.
    """

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class RepositoryAddress:
    """A repository of a registry.

    Args:
        host: Of the registry, with its port where it is not the usual one.
        name: Of the repository.
    """

    host: str
    name: str

    def __str__(self) -> str:
        return f"oci://{self.host}/{self.name}"


Address = Path | BucketAddress | RepositoryAddress


def parse_address(text: str) -> Address:
    """Reads what a person says.

    Args:
        text: Of an option or a setting.

    Returns:
        A path is absolute, with ``~`` replaced.

    Raises:
        InvalidError: ``bad-backup-place``.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        if not text or "\0" in text:
            raise _wrong(text)
        return Path(text).expanduser().absolute()
    first, _, more = rest.rstrip("/").partition("/")
    if scheme == "s3":
        return _bucket(text, first, more)
    if scheme == "oci":
        if _HOST.fullmatch(first) and _REPOSITORY.fullmatch(more) and len(more) <= _REPOSITORY_LIMIT:
            return RepositoryAddress(first, more)
        raise InvalidError(
            "bad-backup-place",
            f"expected oci://HOST[:PORT]/REPOSITORY, the repository in small letters, got {text[:120]!r}",
        )
    raise _wrong(text)


def _bucket(text: str, bucket: str, prefix: str) -> BucketAddress:
    if _BUCKET.fullmatch(bucket) and ".." not in bucket and (not prefix or _PREFIX.fullmatch(prefix)):
        return BucketAddress(bucket, f"{prefix}/" if prefix else "")
    raise InvalidError(
        "bad-backup-place",
        "expected s3://BUCKET/PREFIX, the bucket of 3 to 63 small letters, digits, '.' and '-', "
        f"the prefix of letters, digits, '.', '_', '-' and '/', got {text[:120]!r}",
    )


def _wrong(text: str) -> InvalidError:
    return InvalidError(
        "bad-backup-place", f"expected a folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY, got {text[:120]!r}"
    )
