"""``undercroft bundle`` as it is installed, from one home to another."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support.bundles import PROBE
from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    """A home with a model, a release and a probe."""
    made = Cellar(tmp_path)
    model = write_chat_model(tmp_path / "tiny.gguf", licence="apache-2.0")
    made.run("model", "pull", str(model), "--name", "tiny")
    made.run("release", "create", "support", "--model", "tiny", "--system", "Answer briefly.")
    (made.home / "probes" / "support.yaml").write_bytes(PROBE)
    return made


def test_a_bundle_goes_its_way(cellar: Cellar, tmp_path: Path) -> None:
    """Exported, shown, verified, refused without trust, imported, imported again; the journal tells of both ends."""
    file = str(tmp_path / "team.bundle")
    exported = cellar.json("bundle", "export", file, "--because", "for the plant")
    assert tarfile.is_tarfile(file)
    cellar.environment["UNDERCROFT_HOME"] = str(tmp_path / "other")
    shown = cellar.run("bundle", "show", file).stdout
    assert "for the plant" in shown
    assert "Nobody vouches for that key here." in shown
    assert not (tmp_path / "other").exists()
    assert cellar.json("bundle", "verify", file, "--trust", exported["signer"])["is_trusted"]
    refused = cellar.run("bundle", "import", file, expected=3).stderr
    assert f"--trust {exported['signer']}" in refused
    said = cellar.run("bundle", "import", file, "--trust", exported["signer"]).stdout
    assert "model    tiny\nrelease  support@1\nprobe    support\n" in said
    assert cellar.json("bundle", "import", file, "--trust", exported["signer"])["models"] == []
    assert "1 of 1 files of 1 models are whole." in cellar.run("model", "verify", "tiny").stdout
    actions = [entry["action"] for entry in cellar.json("journal", "show")]
    assert actions == ["model.add", "release.create", "bundle.import"]


def test_a_damaged_bundle_is_said_to_be(cellar: Cellar, tmp_path: Path) -> None:
    """Verify and import end with status 2 and a sentence; the other home stays empty."""
    file = tmp_path / "team.bundle"
    signer = cellar.json("bundle", "export", str(file), "--model", "tiny")["signer"]
    content = bytearray(file.read_bytes())
    content[-3000] ^= 1
    file.write_bytes(content)
    cellar.environment["UNDERCROFT_HOME"] = str(tmp_path / "other")
    assert "its digest does not hold" in cellar.run("bundle", "verify", str(file), expected=2).stderr
    assert "bad-bundle" in cellar.run("bundle", "import", str(file), "--trust", signer, expected=2).stderr
    assert cellar.json("model", "list") == []
