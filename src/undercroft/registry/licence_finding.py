"""What the licence of a model on a hub is, before its weights are fetched."""

from __future__ import annotations

from undercroft.catalog.families import load_catalogue
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.registry.facts import UNKNOWN
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_model import licence_of_header
from undercroft.registry.references import HubReference
from undercroft.registry.sources.hub import Hub, Listing
from undercroft.registry.sources.remote import HubBytes

# A smaller file is here before its header would be.
_WORTH_A_LOOK_BYTES = 16 * 1024 * 1024


def licence_in_listing(repository: str, listing: Listing, home: Home) -> str | None:
    """What the hub says of the card, else the catalogue of the very repository; None where neither says it.

    Args:
        repository: ``org/name``. A copy of it elsewhere is not taken for it: nothing is guessed.
        listing: Of the hub.
        home: Its catalogue folder is read, too.

    Raises:
        InvalidError: ``bad-catalogue``.
    """
    if listing.licence is not None:
        return listing.licence
    names = {name.lower(): model.licence for model in load_catalogue(home.catalogue).models for name in model.names}
    return names.get(repository.lower())


def licence_in_header(hub: Hub, reference: HubReference, listing: Listing, path: str) -> str | None:
    """What the weights on a hub say of their licence, before they are fetched.

    The header of a large GGUF is read by range; no other format has a place for a licence.

    Args:
        hub: Where it lies.
        reference: Its repository.
        listing: Of the hub.
        path: Of the file, or of the first part of a split one.

    Returns:
        ``unknown`` where they do not say it; None where only the whole file can tell.

    Raises:
        InvalidError: ``bad-gguf``.
    """
    if not path.lower().endswith(".gguf"):
        return UNKNOWN
    if (listing.files[path].size_bytes or 0) < _WORTH_A_LOOK_BYTES:
        return None
    try:
        header = read_gguf(HubBytes(hub, reference, listing.commit, path), path, with_tokens=False)
    except UnavailableError:
        return None
    return licence_of_header(header)
