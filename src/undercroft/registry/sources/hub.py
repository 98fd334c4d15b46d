"""Models of a hub that speaks Hugging Face's protocol.

The hub's own client knows its API, endpoints, proxies and errors. It starts a download from nothing where the process
that began it was killed (2.4 deletes its partial file), so the bytes themselves are fetched here: into one file a
download, continued with ``Range``, never longer than announced, and with the token sent to the hub's own host only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # documented, not re-exported

import undercroft
from undercroft.core.errors import (
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)
from undercroft.core.units import format_bytes
from undercroft.registry.model_card import licence_named
from undercroft.registry.progress import Progress, Stage, Step
from undercroft.registry.references import HubReference
from undercroft.storage.blobs import check_room, explain_disk_full

_SMALL_FILE_LIMIT_BYTES = 64 * 1024 * 1024
_ATTEMPTS_WITHOUT_BYTES = 4
_FIRST_PAUSE_SECONDS = 0.25
_REDIRECTS_LIMIT = 5
_TRY_AGAIN = {429, 500, 502, 503, 504}
_TIMEOUT = httpx2.Timeout(30.0)
_COMMIT = re.compile(r"[0-9A-Za-z]{6,64}")
_CONTENT_RANGE = re.compile(r"bytes (?P<begin>\d{1,19})-\d{1,19}/(?P<total>\d{1,19})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LISTING_LIMIT = 20_000
_LICENCES_LIMIT = 16

# Nothing but what a pull asks for leaves this machine: no telemetry in the user agent, no registry of agents fetched.
constants.HF_HUB_DISABLE_TELEMETRY = True


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository.

    Args:
        path: Relative.
        size_bytes: None where the listing does not say.
        sha256: Hex, for large files; None where the listing does not say.
    """

    path: str
    size_bytes: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit.

    Args:
        commit: What branch or tag pointed to.
        files: By path.
        licence: As the model card names it, in lower case, several joined by ``AND``; None where the hub does not say.
    """

    commit: str
    files: dict[str, HubFile]
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file.

    Args:
        data: Its bytes.
        total_bytes: Of the whole file.
    """

    data: bytes
    total_bytes: int


class Hub:
    """A hub, for the time of one pull.

    Args:
        endpoint: Its address; None is huggingface.co.
        token: Access token; None sends none, whatever the hub's client keeps in its own folders.
    """

    def __init__(self, endpoint: str | None, token: str | None) -> None:
        self._endpoint = (endpoint or "https://huggingface.co").rstrip("/")
        self._token: str | bool = token or False
        self._api = HfApi(
            endpoint=self._endpoint,
            token=self._token,
            library_name="undercroft",
            library_version=undercroft.__version__,
        )

    def list_files(self, reference: HubReference) -> Listing:
        """The files of a repository, and the commit that the reference means now.

        Raises:
            NotFoundError: No such repository or revision.
            RefusedError: It is gated or private, and the token does not open it.
            UnavailableError: The hub does not answer.
        """
        try:
            with _explained(self._endpoint, reference):
                listing = self._listing(reference)
        except httpx2.HTTPError as error:
            raise _unreachable(self._endpoint, error) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnavailableError(
                "bad-hub-answer",
                f"{self._endpoint} does not answer as a hub does for {reference}: {type(error).__name__}",
                hint="check registry.hub_endpoint",
            ) from error
        if len(listing.files) > _LISTING_LIMIT:
            raise InvalidError("too-many-files", f"{reference} holds more than {_LISTING_LIMIT:,} files")
        if not _COMMIT.fullmatch(listing.commit):
            raise UnavailableError("bad-hub-answer", f"{self._endpoint} did not say which commit {reference} is")
        return listing

    def _listing(self, reference: HubReference) -> Listing:
        # With a revision always: mirrors know that address, and not all of them the one without.
        info = self._api.model_info(
            reference.repository, revision=reference.revision or "main", files_metadata=True, timeout=60.0
        )
        commit = str(info.sha or reference.revision or "")
        files = {
            sibling.rfilename: HubFile(
                sibling.rfilename, sibling.size, _checked_sha256(sibling.lfs.sha256 if sibling.lfs else None)
            )
            for sibling in (info.siblings or [])[: _LISTING_LIMIT + 1]
        }
        return Listing(commit, files or self._tree(reference, commit or None), _card_licence(info.card_data))

    def _tree(self, reference: HubReference, revision: str | None) -> dict[str, HubFile]:
        found = {}
        for entry in self._api.list_repo_tree(reference.repository, recursive=True, revision=revision):
            if isinstance(entry, RepoFile):
                sha256 = _checked_sha256(entry.lfs.sha256 if entry.lfs is not None else None)
                found[entry.path] = HubFile(entry.path, entry.size, sha256)
            if len(found) > _LISTING_LIMIT:
                break
        return found

    def fetch(self, reference: HubReference, commit: str, file: HubFile, target: Path, progress: Progress) -> None:
        """Downloads a file, going on from what ``target`` holds already.

        Args:
            reference: The repository.
            commit: Of the listing.
            file: Which.
            target: Grows while bytes come in, and stays where it does not end well.
            progress: Told of every piece.

        Raises:
            NotFoundError: It is not there.
            RefusedError: It is gated.
            UnavailableError: The hub does not answer, or the disk is full; another pull goes on from here.
            InvalidError: The hub sends something else than it announced.
        """
        url = hf_hub_url(reference.repository, file.path, revision=commit, endpoint=self._endpoint)
        headers = self._headers()
        begun_with = target.stat().st_size if target.exists() else 0
        failures, before = 0, begun_with
        while True:
            try:
                with _explained(self._endpoint, reference):
                    self._fetch_on(url, headers, file, target, begun_with, progress)
                return
            except httpx2.HTTPError as error:
                now = target.stat().st_size if target.exists() else 0
                failures = failures + 1 if now <= before else 1
                before = now
                if failures >= _ATTEMPTS_WITHOUT_BYTES or isinstance(error, httpx2.ProxyError):
                    raise _cut_off(self._endpoint, file, now, error) from error
                time.sleep(_FIRST_PAUSE_SECONDS * 2**failures)

    def read_range(self, reference: HubReference, commit: str, path: str, offset: int, count: int) -> Piece:
        """A part of a file, without the rest of it.

        Args:
            reference: The repository.
            commit: Of the listing.
            path: Of the file.
            offset: First byte.
            count: Bytes at most.

        Raises:
            NotFoundError: It is not there.
            RefusedError: It is gated.
            UnavailableError: The hub does not answer, or gives no parts.
        """
        url = hf_hub_url(reference.repository, path, revision=commit, endpoint=self._endpoint)
        headers = {**self._headers(), "Range": f"bytes={offset}-{offset + count - 1}"}
        failures = 0
        while True:
            try:
                with _explained(self._endpoint, reference), _followed(url, headers) as response:
                    if response.status_code in _TRY_AGAIN:
                        raise httpx2.RemoteProtocolError(f"HTTP {response.status_code}")
                    hf_raise_for_status(response)
                    return _piece(response, path, offset, count)
            except httpx2.HTTPError as error:
                failures += 1
                if failures >= _ATTEMPTS_WITHOUT_BYTES or isinstance(error, httpx2.ProxyError):
                    raise _unreachable(self._endpoint, error) from error
                time.sleep(_FIRST_PAUSE_SECONDS * 2**failures)

    def _headers(self) -> dict[str, str]:
        # An offset must mean the same byte each time.
        headers = {"user-agent": f"undercroft/{undercroft.__version__}", "Accept-Encoding": "identity"}
        if isinstance(self._token, str):
            headers["authorization"] = f"Bearer {self._token}"
        return headers

    def _fetch_on(
        self, url: str, headers: dict[str, str], file: HubFile, target: Path, begun_with: int, progress: Progress
    ) -> None:
        have = target.stat().st_size if target.exists() else 0
        if file.size_bytes is not None and have == file.size_bytes and have > 0:
            progress(Step(Stage.DOWNLOAD, file.path, have, have, begun_with))
            return
        asked = {**headers, "Range": f"bytes={have}-"} if have else headers
        with _followed(url, asked) as response:
            if response.status_code == 416:
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return  # it had all of it
                target.unlink()
                raise httpx2.RemoteProtocolError("the part that is here is longer than the file there")
            if response.status_code in _TRY_AGAIN:
                raise httpx2.RemoteProtocolError(f"HTTP {response.status_code}")
            hf_raise_for_status(response)
            have, total = _place(response, have, file)
            if total is not None:
                check_room(target.parent, total - have, what=file.path)
            self._write(response, file, target, have, total, begun_with, progress)

    def _write(
        self,
        response: httpx2.Response,
        file: HubFile,
        target: Path,
        have: int,
        total: int | None,
        begun_with: int,
        progress: Progress,
    ) -> None:
        limit = total if total is not None else _SMALL_FILE_LIMIT_BYTES
        with target.open("r+b" if have else "wb") as out:
            out.seek(have)
            for chunk in response.iter_raw():
                if have + len(chunk) > limit:
                    raise InvalidError(
                        "bad-hub-answer", f"{file.path[-120:]!r} became longer than the {limit:,} bytes announced"
                    )
                try:
                    out.write(chunk)
                    out.flush()
                except OSError as error:
                    raise explain_disk_full(error, what=file.path) or error from error
                have += len(chunk)
                progress(Step(Stage.DOWNLOAD, file.path, have, max(total or have, have), min(begun_with, have)))
            os.fsync(out.fileno())
        if total is not None and have < total:
            raise httpx2.RemoteProtocolError(f"the connection ended after {have:,} of {total:,} bytes")


def _card_licence(card: object) -> str | None:
    """The licence that a model card names, as the hub has read it."""
    listed, own_name = getattr(card, "license", None), getattr(card, "license_name", None)
    texts = listed if isinstance(listed, list) else [listed]
    return licence_named(
        [text for text in texts[:_LICENCES_LIMIT] if isinstance(text, str)],
        own_name if isinstance(own_name, str) else "",
    )


def _piece(response: httpx2.Response, path: str, offset: int, count: int) -> Piece:
    """The bytes that were asked for, however many more are sent."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnavailableError("bad-hub-answer", f"the hub compressed {path[-120:]!r}, which was not asked for")
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or match is None or int(match["begin"]) != offset:
        raise UnavailableError(
            "no-ranges",
            f"the hub gives no parts of {path[-120:]!r}, so its header cannot be read without all of it",
            hint="pull the model, then plan with its name",
        )
    parts: list[bytes] = []
    have = 0
    for chunk in response.iter_raw():
        parts.append(chunk[: count - have])
        have += len(parts[-1])
        if have >= count:
            break
    if have < min(count, int(match["total"]) - offset):
        raise httpx2.RemoteProtocolError(f"the connection ended after {have:,} of {count:,} bytes")
    return Piece(b"".join(parts), int(match["total"]))


def _checked_sha256(text: str | None) -> str | None:
    """A digest of the hub's, if it is one."""
    return text if text is not None and _SHA256.fullmatch(text) else None


def _place(response: httpx2.Response, have: int, file: HubFile) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and how many the whole file has; None where that is not said."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnavailableError("bad-hub-answer", f"the hub compressed {file.path[-120:]!r}, which was not asked for")
    total: int | None = None
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match["begin"]) != have:
            raise UnavailableError(
                "bad-hub-answer", f"the hub sent another part of {file.path[-120:]!r} than asked for"
            )
        total = int(match["total"])
    else:
        have = 0  # it sends all of it again
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    if file.size_bytes is not None and total not in (None, file.size_bytes):
        raise InvalidError(
            "bad-hub-answer",
            f"{file.path[-120:]!r} has another size than listed: expected {file.size_bytes:,} bytes, got {total:,}",
        )
    return have, total if total is not None else file.size_bytes


@contextmanager
def _followed(url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """The answer at the end of redirects. The token stays with the host that it was given for."""
    sent = dict(headers)
    for _ in range(_REDIRECTS_LIMIT + 1):
        with get_session().stream("GET", url, headers=sent, follow_redirects=False, timeout=_TIMEOUT) as response:
            if not response.has_redirect_location:
                yield response
                return
            target = urljoin(url, response.headers["Location"])
        old, new = urlsplit(url), urlsplit(target)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise RefusedError("bad-redirect", f"{old.netloc} redirects to {new.scheme}://{new.hostname}")
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            sent.pop("authorization", None)
        url = target
    raise UnavailableError("bad-hub-answer", f"{urlsplit(url).netloc} redirects without an end")


@contextmanager
def _explained(endpoint: str, reference: HubReference) -> Iterator[None]:
    """The hub client's errors in our words. Those of the network pass: a download is tried again after them."""
    try:
        yield
    except GatedRepoError as error:
        raise RefusedError(
            "hub-gated",
            f"{reference.repository} is gated: its owners want to know who takes it",
            hint=f"accept its terms on {endpoint}/{reference.repository}, and give the path of a file with your "
            "access token as registry.hub_token_file",
        ) from error
    except RevisionNotFoundError as error:
        raise NotFoundError(
            "no-such-revision", f"{reference.repository} has no revision {reference.revision!r}"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise NotFoundError("no-such-file", f"{reference} is listed and not there") from error
    except HfHubHTTPError as error:
        raise _http_error(endpoint, reference, error.response.status_code) from error
    except OfflineModeIsEnabled as error:
        raise UnavailableError(
            "hub-offline", "the environment forbids the hub's client to go online", hint="unset HF_HUB_OFFLINE"
        ) from error


def _http_error(endpoint: str, reference: HubReference, status: int) -> UndercroftError:
    if status in (401, 403):
        return RefusedError(
            "hub-refused",
            f"{endpoint} refuses {reference.repository} (HTTP {status}): it is private, gated, or not there at all",
            hint="give the path of a file with an access token that may read it as registry.hub_token_file",
        )
    if status == 404:
        return NotFoundError(
            "no-such-repository",
            f"there is no repository {reference.repository} on {endpoint}, or it is private",
            hint="check the spelling; for a private one set registry.hub_token_file",
        )
    return UnavailableError("hub-unavailable", f"{endpoint} answers HTTP {status}", hint="try again in some minutes")


def _cut_off(endpoint: str, file: HubFile, have: int, error: Exception) -> UnavailableError:
    return UnavailableError(
        "download-cut-off",
        f"{endpoint} could not be read on after {format_bytes(have)} of {file.path[-120:]!r}: "
        f"{type(error).__name__}: {error}",
        hint="pull again: it goes on from there",
    )


def _unreachable(endpoint: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        "hub-unreachable",
        f"cannot reach {endpoint}: {type(error).__name__}: {error}",
        hint="check the network, HTTPS_PROXY and registry.hub_endpoint",
    )
