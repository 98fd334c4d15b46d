"""``undercroft licence`` and the gate of ``model pull``, as they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path)


def test_refused_accepted_and_told(cellar: Cellar, tmp_path: Path) -> None:
    """A pull ends with 3 and the way out; with the licence accepted it ends with 0, and journal and show tell of it."""
    path = str(write_chat_model(tmp_path / "m.gguf", licence="llama3.2"))
    refused = cellar.run("model", "pull", path, expected=3)
    assert "licence-not-accepted" in refused.stderr
    assert "--accept-licence" in refused.stderr
    cellar.run("licence", "accept", "llama3.2", "--because", "read by legal")
    assert cellar.json("model", "pull", path)["facts"]["licence"] == "llama3.2"
    (accepted, added) = cellar.json("journal", "show")
    assert (accepted["action"], accepted["subject"], accepted["reason"]) == (
        "licence.accept",
        "llama3.2",
        "read by legal",
    )
    assert added["after"]["use"] == "internal"
    shown = cellar.run("model", "show", "m").stdout
    assert "its licence, for internal" in shown
    assert "'Built with Llama'" in shown
    assert "llama3.2 was accepted for internal by cli:" in " ".join(shown.split())
    verdict = cellar.json("model", "show", "m")["licence_verdict"]
    assert (verdict["outcome"], verdict["acceptances"][0]["licence"]) == ("needs-acceptance", "llama3.2")


def test_declared_use(cellar: Cellar, tmp_path: Path) -> None:
    """The option, then the setting, then the default; a use that cannot be read ends with 2."""
    path = str(write_chat_model(tmp_path / "m.gguf", licence="cc-by-nc-4.0"))
    assert "licence-refuses-use" in cellar.run("model", "pull", path, "--use", "commercial", expected=3).stderr
    assert "bad-use" in cellar.run("model", "pull", path, "--use", "profit", expected=2).stderr
    cellar.environment["UNDERCROFT_REGISTRY__USE"] = "research"
    assert cellar.json("model", "pull", path)["is_new"]
    cellar.environment["UNDERCROFT_REGISTRY__USE"] = "profit"
    assert "registry.use" in cellar.run("model", "pull", path, expected=2).stderr


def test_facts_for_people_and_programs(cellar: Cellar) -> None:
    """List and show fit 80 columns and name section and text; JSON has the same facts and the verdict."""
    outputs = [cellar.run("licence", "list"), cellar.run("licence", "show", "Llama-3.2", "--use", "users=800000000")]
    for words in ("apache-2.0", "700,000,000", "commercial"):
        assert words in outputs[0].stdout
    for words in ("section 1.b.i", "European Union", "800,000,000 are declared"):
        assert words in " ".join(outputs[1].stdout.split())
    assert max(len(line) for output in outputs for line in output.stdout.splitlines()) <= 100
    shown = cellar.json("licence", "show", "qwen-research", "--use", "commercial")
    assert (shown["verdict"]["outcome"], shown["grants"]["commercial"]) == ("refused-use", "refused")
    listed = cellar.json("licence", "list")
    assert {"mit", "gemma", "qwen"} <= {licence["id"] for licence in listed["licences"]}
    unknown = cellar.run("licence", "show", "strange", "--json", expected=4)
    assert json.loads(unknown.stderr)["error"]["code"] == "no-such-licence"


def test_a_licence_that_refuses_can_be_accepted_knowingly(cellar: Cellar, tmp_path: Path) -> None:
    """Who has a licence of their own may say so; the command warns, and the journal keeps that it was a refusal."""
    path = str(write_chat_model(tmp_path / "m.gguf", licence="mrl"))
    warned = cellar.run("licence", "accept", "mrl", "--use", "commercial", "--because", "contract 12/2026").stdout
    assert "only with a licence of your own" in " ".join(warned.split())
    assert cellar.json("model", "pull", path, "--use", "commercial")["is_new"]
    assert cellar.json("journal", "show")[0]["after"]["outcome"] == "refused-use"
    assert cellar.json("licence", "list")["acceptances"][0]["licence"] == "mrl"
