"""What is in a bundle, in the words of other tools: a CycloneDX 1.6 bill of materials. Pure.

Source:
    https://cyclonedx.org/docs/1.6/json/; identifiers of licences: https://spdx.org/licenses/.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.catalog.licences import UNKNOWN, licences_in
from undercroft.recovery.bundles.manifests import BundledModel, Entry
from undercroft.registry.releases.store import Release

# Those of the catalogue whose name there means exactly one of SPDX's.
_SPDX = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-nd-4.0": "CC-BY-NC-ND-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "mit": "MIT",
    "mpl-2.0": "MPL-2.0",
    "unlicense": "Unlicense",
}


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel.

    Args:
        entry: Of the bundle.
        name: Of its project.
        version: Of its project.
        licence: As its metadata say; empty where they do not.
        requires: Names of the projects in the bundle that it needs.
    """

    entry: Entry
    name: str
    version: str
    licence: str
    requires: tuple[str, ...]


def bill_of_materials(
    *,
    bundle_id: str,
    at: str,
    version: str,
    models: Sequence[BundledModel],
    releases: Sequence[Release],
    probes: Mapping[str, Entry],
    packages: Sequence[Package],
) -> bytes:
    """The document, in UTF-8; equal for equal arguments.

    Args:
        bundle_id: Of the bundle.
        at: When it was made; ISO 8601, UTC.
        version: Of the Undercroft that made it.
        models: With their files.
        releases: Each names its model.
        probes: Standard questions by name.
        packages: Wheels.
    """
    names = {package.name for package in packages}
    components = [
        *(_model(model) for model in models),
        *(_data(f"release:{one}", str(one), one.digest) for one in releases),
        *(_data(f"probe:{name}", name, entry.digest) for name, entry in probes.items()),
        *(_package(package) for package in packages),
    ]
    depends = [
        *(
            (f"release:{one}", [f"model:{name}" for name in one.content.model_names])
            for one in releases
            if one.content.model_names
        ),
        *(
            (_package_ref(package), [_package_ref(other) for other in packages if other.name in package.requires])
            for package in packages
            if set(package.requires) & names
        ),
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, bundle_id)}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {"components": [{"type": "application", "name": "undercroft", "version": version}]},
            "component": {"type": "data", "bom-ref": "bundle", "name": bundle_id},
        },
        "components": components,
        "dependencies": [
            {"ref": "bundle", "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": ref, "dependsOn": needed} for ref, needed in depends),
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def _model(model: BundledModel) -> dict[str, Any]:
    ref = f"model:{model.name}"
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": model.name,
        "version": model.digest,
        "components": [
            {
                "type": "file",
                "bom-ref": f"{ref}/{file.path}",
                "name": file.path,
                "hashes": _hashes(file.digest),
            }
            for file in model.files
        ],
        "properties": [{"name": "undercroft:source", "value": model.source}],
    }
    written = [_licence(one) for one in licences_in(model.licence) if one != UNKNOWN]
    if written:
        found["licenses"] = written
    ancestors = [str(name) for name in model.facts.get("base_models") or ()]
    if ancestors:
        found["pedigree"] = {
            "ancestors": [{"type": "machine-learning-model", "name": name} for name in dict.fromkeys(ancestors)]
        }
    parameters = {
        name: str(model.facts[key])
        for name, key in (("task", "task"), ("modelArchitecture", "architecture"))
        if model.facts.get(key) not in {None, UNKNOWN}
    }
    if parameters:
        found["modelCard"] = {"modelParameters": parameters}
    return found


def _data(ref: str, name: str, digest: str) -> dict[str, Any]:
    return {"type": "data", "bom-ref": ref, "name": name, "hashes": _hashes(digest)}


def _package(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _package_ref(package),
        "name": package.name,
        "version": package.version,
        "purl": _package_ref(package),
        "hashes": _hashes(package.entry.digest),
    }
    if package.licence:
        found["licenses"] = [_licence(package.licence)]
    return found


def _package_ref(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _licence(written: str) -> dict[str, Any]:
    known = _SPDX.get(written.strip().lower())
    return {"license": {"id": known} if known else {"name": written}}


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
