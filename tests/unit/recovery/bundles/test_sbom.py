"""The bill of materials is one in the words of CycloneDX 1.6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.bundles import BundleHome, entries_of
from undercroft.recovery.bundles.manifests import BundledModel, Entry
from undercroft.recovery.bundles.sbom import Package, bill_of_materials
from undercroft.registry.entries import ModelFile

SCHEMAS = Path(__file__).parents[3] / "vectors" / "cyclonedx"
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Draft7Validator:
    """The official one, with the two that it refers to."""
    names = {"spdx.schema.json": "spdx.SNAPSHOT.schema.json", "jsf-0.82.schema.json": "jsf-0.82.SNAPSHOT.schema.json"}
    known = [
        (f"http://cyclonedx.org/schema/{called}", json.loads((SCHEMAS / name).read_text(encoding="utf-8")))
        for name, called in names.items()
    ]
    bom = json.loads((SCHEMAS / "bom-1.6.schema.json").read_text(encoding="utf-8"))
    return jsonschema_rs.Draft7Validator(bom, registry=jsonschema_rs.Registry(known), validate_formats=True)


def problems(schema: jsonschema_rs.Draft7Validator, document: Any) -> list[str]:
    return [error.message for error in schema.iter_errors(document)]


def test_the_schema_finds_what_is_wrong(schema: jsonschema_rs.Draft7Validator) -> None:
    """It is really read, and so are those that it refers to."""
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    assert problems(schema, document) == []
    assert problems(schema, {**document, "components": [{"type": "poem", "name": "x"}]})
    licensed = {"type": "library", "name": "x", "licenses": [{"license": {"id": "My-Own-1.0"}}]}
    assert problems(schema, {**document, "components": [licensed]})


def test_the_bill_of_a_real_bundle_is_valid(schema: jsonschema_rs.Draft7Validator, tmp_path: Path) -> None:
    """Model with its files and licence, releases that depend on it, the probe."""
    home = BundleHome(tmp_path / "home").fill()
    home.export(tmp_path / "x.bundle")
    home.close()
    contents = dict(entries_of(tmp_path / "x.bundle"))
    bill, manifest = json.loads(contents["sbom.cdx.json"]), json.loads(contents["manifest.json"])
    assert problems(schema, bill) == []
    by_ref = {component["bom-ref"]: component for component in bill["components"]}
    assert list(by_ref) == ["model:tiny", "release:support@1", "release:support@2", "probe:support"]
    model = by_ref["model:tiny"]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert [file["hashes"][0]["content"] for file in model["components"]] == [
        entry[0].removeprefix("blobs/") for entry in manifest["entries"] if entry[0].startswith("blobs/")
    ]
    assert {"ref": "release:support@1", "dependsOn": ["model:tiny"]} in bill["dependencies"]


def test_every_kind_of_entry_is_valid(schema: jsonschema_rs.Draft7Validator) -> None:
    """Wheels that need each other, licences that SPDX does not know, parents, nothing known at all."""
    facts = {"base_models": ["org/base", "org/base"], "task": "generate", "architecture": "llama"}
    file = ModelFile("a b/ไฟล์.gguf", DIGEST, 3)
    models = [
        BundledModel("one", DIGEST, "hf://org/one", "llama3.2 AND mit", "", {}, facts, (file,)),
        BundledModel("two", DIGEST, "", "unknown", "", {}, {}, ()),
    ]
    packages = [
        Package(Entry("wheels/a-1.whl", 3, DIGEST), "a", "1", "MIT", ("b",)),
        Package(Entry("wheels/b-2.whl", 3, DIGEST), "b", "2", "", ()),
    ]
    raw = bill_of_materials(
        bundle_id="x",
        at="2026-11-21T12:00:00.000Z",
        version="0.1.0",
        models=models,
        releases=(),
        probes={"p": Entry("probes/p.yaml", 3, DIGEST)},
        packages=packages,
    )
    bill = json.loads(raw)
    assert problems(schema, bill) == []
    by_ref = {component["bom-ref"]: component for component in bill["components"]}
    assert by_ref["model:one"]["licenses"] == [{"license": {"name": "llama3.2"}}, {"license": {"id": "MIT"}}]
    assert "licenses" not in by_ref["model:two"]
    assert len(by_ref["model:one"]["pedigree"]["ancestors"]) == 1
    assert {"ref": "pkg:pypi/a@1", "dependsOn": ["pkg:pypi/b@2"]} in bill["dependencies"]
