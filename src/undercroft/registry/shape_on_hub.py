"""The shape of a model on a hub, by HTTP range: a header costs its own size, and no weights are fetched."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from undercroft.catalog.licences import together
from undercroft.core.environment import hub_endpoint
from undercroft.core.errors import InvalidError
from undercroft.core.settings import RegistrySettings
from undercroft.registry.facts import UNKNOWN
from undercroft.registry.inspection.compressed_weights import name_of
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.json_files import parse_json
from undercroft.registry.inspection.safetensors import read_safetensors
from undercroft.registry.progress import silent
from undercroft.registry.pulling import open_hub
from undercroft.registry.references import HubReference, parse_reference
from undercroft.registry.selection import check_listing, select_files
from undercroft.registry.shape_reading import Subject, gguf_subject, main_type
from undercroft.registry.shapes_config import shape_of_config
from undercroft.registry.sources.hub import Hub, Listing
from undercroft.registry.sources.remote import HubBytes

_CONFIG_LIMIT_BYTES = 8 * 1024 * 1024


def find_on_hub(text: str, settings: RegistrySettings) -> Subject:
    """A model of a hub; nothing but headers and its configuration is fetched.

    Args:
        text: ``hf://org/name[:file or quant][@revision]``.
        settings: Which hub, and the file of its token.

    Raises:
        NotFoundError: There is no such thing.
        InvalidError: A header, a configuration or the reference is not usable.
        RefusedError: The hub does not give it.
        UnavailableError: The hub does not answer, or gives no parts of files.
    """
    reference = parse_reference(text)
    if not isinstance(reference, HubReference):
        raise InvalidError("bad-reference", f"{text[:80]!r} is no reference of a hub")
    hub = open_hub(settings.hub_endpoint or hub_endpoint(), settings.hub_token_file)
    listing = hub.list_files(reference)
    source = str(HubReference(reference.repository, reference.wanted, listing.commit))
    check_listing(list(listing.files), source=source)
    sizes = {path: file.size_bytes for path, file in listing.files.items()}
    if reference.wanted is None and "config.json" in listing.files:
        return _config_on_hub(hub, reference, listing)
    weights = select_files(sizes, source=source, wanted=reference.wanted).weights
    if not weights[0].lower().endswith(".gguf"):
        return _config_on_hub(hub, reference, listing)
    headers = [read_gguf(HubBytes(hub, reference, listing.commit, path), path, with_tokens=False) for path in weights]
    found = gguf_subject(source, "hub", headers)
    return replace(found, licence=together([found.licence, listing.licence]) or UNKNOWN)


def _config_on_hub(hub: Hub, reference: HubReference, listing: Listing) -> Subject:
    config = listing.files.get("config.json")
    if config is None:
        raise InvalidError(
            "no-config", f"{reference} has no config.json, so its shape cannot be read", hint="choose a GGUF of it"
        )
    with tempfile.TemporaryDirectory(prefix="undercroft-config-") as folder:
        target = Path(folder) / "config.json"
        if (config.size_bytes or 0) > _CONFIG_LIMIT_BYTES:
            raise InvalidError("bad-json", f"config.json of {reference} has {config.size_bytes:,} bytes")
        hub.fetch(reference, listing.commit, config, target, silent)
        document = parse_json(target.read_bytes(), "config.json")
    shape = shape_of_config(document)
    tensors = sorted(path for path in listing.files if path.endswith(".safetensors") and "/" not in path)
    stored_type = name_of(document) or ""
    if tensors and not stored_type:
        stored_type = main_type(read_safetensors(HubBytes(hub, reference, listing.commit, tensors[0]), tensors[0]))
    return Subject(
        f"hf://{reference.repository}@{listing.commit}",
        "hub",
        shape,
        listing.licence or UNKNOWN,
        stored_type=stored_type,
        stored_bytes=sum(listing.files[path].size_bytes or 0 for path in tensors),
    )
