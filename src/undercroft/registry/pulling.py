"""Brings a model in from wherever a reference says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.catalog.licences import load_licences, together
from undercroft.catalog.uses import Use, parse_use
from undercroft.core.environment import hub_endpoint
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import RegistrySettings
from undercroft.registry import entries
from undercroft.registry.entries import Model
from undercroft.registry.facts import UNKNOWN
from undercroft.registry.importing import Arrival, IncomingFile, Origin, explained, name_taken, register
from undercroft.registry.inspection.json_files import read_json, refuse_auto_map
from undercroft.registry.inspection.repository import read_documents
from undercroft.registry.licence_finding import licence_in_header, licence_in_listing
from undercroft.registry.licences import LicenceGate
from undercroft.registry.models import bring_local
from undercroft.registry.progress import Progress, silent
from undercroft.registry.quarantine import download_folder
from undercroft.registry.references import HubReference, LocalReference, name_or_suggested, parse_reference
from undercroft.registry.selection import Role, Selection, check_listing, config_files, role_of, select_files
from undercroft.registry.sources.hub import Hub, Listing
from undercroft.storage.blobs import BlobStore, check_room
from undercroft.storage.database import Database

_CONFIG_LIMIT_BYTES = 8 * 1024 * 1024
_CONFIGS_LIMIT = 64
_TOKEN_LIMIT_BYTES = 4096


def pull(
    database: Database,
    home: Home,
    text: str,
    *,
    settings: RegistrySettings,
    name: str | None = None,
    actor: str,
    reason: str | None = None,
    must_copy: bool = False,
    progress: Progress = silent,
    waiting: Callable[[], None] = lambda: None,
    use: Use | None = None,
    accepts_licence: bool = False,
    base: str | None = None,
) -> Arrival:
    """Registers what a reference means, if its licence covers what it is to be used for.

    Args:
        text: A GGUF file, a folder, or ``hf://org/name[:file or quant][@revision]``.
        settings: Which hub, and the file of its token.
        name: What to call it; None makes a name of the reference.
        must_copy: Never share bytes with a local source.
        progress: Told of every piece that is downloaded, copied or hashed.
        waiting: Called where another process is pulling the same.
        use: What it is to be used for; None takes the setting.
        accepts_licence: Whether ``actor`` accepts what its licence asks for that use.
        base: The registered model that an adapter belongs to; None leaves that open.

    Raises:
        InvalidError: The reference, or a file, is not usable.
        NotFoundError: There is no such thing.
        RefusedError: It can carry code, the hub does not give it, or its licence does not cover the use.
        ConflictError: The name belongs to other content.
        UnavailableError: The hub does not answer, or the disk is full. What was downloaded stays for the next pull.
    """
    reference = parse_reference(text)
    licences, declared = load_licences(home.catalogue), use or parse_use(settings.use)
    gate = LicenceGate(database, licences, declared, is_accepted=accepts_licence, actor=actor, reason=reason)
    if isinstance(reference, LocalReference):
        return bring_local(
            database,
            home,
            reference,
            name=name,
            actor=actor,
            reason=reason,
            must_copy=must_copy,
            progress=progress,
            admit=lambda facts: _admit(gate, facts.licence, str(reference.path)),
            base=base,
        )
    return _Download(database, home, reference, settings, gate, name, actor, reason, progress, base).run(waiting)


@dataclass(frozen=True, slots=True)
class _Download:
    """One pull from a hub; fields as the arguments of `pull`."""

    database: Database
    home: Home
    reference: HubReference
    settings: RegistrySettings
    gate: LicenceGate
    name: str | None
    actor: str
    reason: str | None
    progress: Progress
    base: str | None

    def run(self, waiting: Callable[[], None]) -> Arrival:
        reference = self.reference
        endpoint = self.settings.hub_endpoint or hub_endpoint()
        hub = open_hub(endpoint, self.settings.hub_token_file)
        listing = hub.list_files(reference)
        source = str(HubReference(reference.repository, reference.wanted, listing.commit))
        check_listing(list(listing.files), source=source)
        sizes = {path: file.size_bytes for path, file in listing.files.items()}
        selection = select_files(sizes, source=source, wanted=reference.wanted)
        name = name_or_suggested(self.name, reference, selection.weights)
        with explained(), download_folder(self.home, f"{endpoint or ''} {source}", waiting=waiting) as folder:
            store = BlobStore(self.home.blobs)
            there = _there_already(self.database, store, name, source, selection, listing)
            if there is not None:
                self._check_again(there, listing)
                return Arrival(there, False, selection.skipped)
            stored = _stored(self.database, store, listing)
            files, licence = self._download(hub, listing, selection, folder, stored)
            lineage = {
                "kind": "hub",
                "endpoint": endpoint or "https://huggingface.co",
                "repository": reference.repository,
                "commit": listing.commit,
                "wanted": reference.wanted,
                "revision": reference.revision,
            }
            return register(
                self.database,
                self.home,
                files,
                Origin(source, lineage, selection.skipped, licence),
                name=name,
                actor=self.actor,
                reason=self.reason,
                progress=self.progress,
                admit=lambda facts: _admit(self.gate, facts.licence, str(reference)),
                base=self.base,
            )

    def _download(
        self, hub: Hub, listing: Listing, selection: Selection, folder: Path, stored: Mapping[str, Path]
    ) -> tuple[list[IncomingFile], str | None]:
        """Files, and what the hub or the catalogue says of the licence.

        Small files first: what asks for code, or has a licence that does not cover the use, is refused before its
        weights are fetched.
        """
        reference, what = self.reference, str(self.reference)
        licence = licence_in_listing(reference.repository, listing, self.home)
        if licence is not None:
            self.gate.check(licence, model=what)
        checked = _configs_to_check(listing)
        taken = (*selection.others, *selection.weights)
        check_room(folder, sum(listing.files[path].size_bytes or 0 for path in taken if path not in stored), what=what)
        for path in checked:
            hub.fetch(reference, listing.commit, listing.files[path], _place(folder, path), self.progress)
            refuse_auto_map(read_json(_place(folder, path), path), path)
        files = [self._fetched(hub, listing, path, folder, stored, path in checked) for path in selection.others]
        documents = {file.path: file.local for file in files if role_of(file.path) is Role.DOCUMENT}
        known = together([licence, read_documents(documents).licence])
        in_header = self._of_weights(hub, listing, selection, stored)
        known = together([known, in_header]) or in_header
        if known is not None:
            self.gate.check(known, model=what)
        files += [self._fetched(hub, listing, path, folder, stored, False) for path in selection.weights]
        return files, licence

    def _check_again(self, there: Model, listing: Listing) -> None:
        """A model that came in for one use is not thereby let in for another."""
        said = licence_in_listing(self.reference.repository, listing, self.home)
        self.gate.check(together([there.facts.licence, said]) or UNKNOWN, model=str(self.reference))

    def _of_weights(self, hub: Hub, listing: Listing, selection: Selection, stored: Mapping[str, Path]) -> str | None:
        first = selection.weights[0]
        return None if first in stored else licence_in_header(hub, self.reference, listing, first)

    def _fetched(
        self, hub: Hub, listing: Listing, path: str, folder: Path, stored: Mapping[str, Path], is_here: bool
    ) -> IncomingFile:
        file = listing.files[path]
        digest = f"sha256:{file.sha256}" if file.sha256 is not None else None
        if path in stored:
            return IncomingFile(path, stored[path], False, digest)
        if not is_here:
            hub.fetch(self.reference, listing.commit, file, _place(folder, path), self.progress)
        return IncomingFile(path, _place(folder, path), True, digest)


def _admit(gate: LicenceGate, licence: str, model: str) -> dict[str, str]:
    """Asks the gate once more, with what the files themselves say; for the journal: licence and use."""
    return {"licence": gate.check(licence, model=model).licence, "use": str(gate.use)}


def open_hub(endpoint: str | None, token_file: Path | None) -> Hub:
    """A hub to read from.

    Args:
        endpoint: Its address; None is huggingface.co.
        token_file: Holds an access token; None sends none.

    Raises:
        InvalidError: ``bad-token-file``.
    """
    return Hub(endpoint, _token(token_file))


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        with file.expanduser().open("rb") as opened:
            raw = opened.read(_TOKEN_LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidError(
            "bad-token-file",
            f"cannot read the hub's token from {file}: {error.strerror}",
            hint="correct registry.hub_token_file",
        ) from error
    token = raw.strip()
    if not token or len(raw) > _TOKEN_LIMIT_BYTES or not token.isascii() or not token.decode().isprintable():
        raise InvalidError(
            "bad-token-file", f"{file} does not hold one access token", hint="correct registry.hub_token_file"
        )
    return token.decode()


def _there_already(
    database: Database, store: BlobStore, name: str, source: str, selection: Selection, listing: Listing
) -> Model | None:
    """The model that has the name, where it is this one and whole; decided before anything is downloaded.

    Raises:
        ConflictError: The name belongs to other content.
    """
    with database.read() as connection:
        found = entries.find(connection, name)
        if found is None:
            return None
        is_whole = all(entries.is_untouched(connection, store, file.digest) for file in found.files)
    there = found if is_whole else None
    if found.source == source:
        return there
    wanted = [listing.files[path].sha256 for path in selection.weights]
    if None in wanted:
        return None  # only the content tells
    digests = {file.digest for file in found.files}
    if all(f"sha256:{digest}" in digests for digest in wanted):
        return there
    raise name_taken(name, found)


def _stored(database: Database, store: BlobStore, listing: Listing) -> dict[str, Path]:
    """Files of a listing whose content is here already."""
    with database.read() as connection:
        return {
            path: store.path(f"sha256:{file.sha256}")
            for path, file in listing.files.items()
            if file.sha256 is not None and entries.is_untouched(connection, store, f"sha256:{file.sha256}")
        }


def _configs_to_check(listing: Listing) -> list[str]:
    """Every file of the repository that could ask for code, whether it is taken or not."""
    found = config_files(sorted(listing.files))
    if len(found) > _CONFIGS_LIMIT:
        raise InvalidError(
            "too-many-files", f"the repository holds {len(found)} JSON files, expected at most {_CONFIGS_LIMIT}"
        )
    for path in found:
        size = listing.files[path].size_bytes
        if size is not None and size > _CONFIG_LIMIT_BYTES:
            raise InvalidError(
                "bad-json", f"{path[-120:]!r} has {size:,} bytes, expected at most {_CONFIG_LIMIT_BYTES:,}"
            )
    return found


def _place(folder: Path, path: str) -> Path:
    """Where a file is downloaded to: a name of our own, the same each time."""
    return folder / hashlib.sha256(path.encode()).hexdigest()[:24]
