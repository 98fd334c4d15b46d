"""What two releases differ in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.releases import add_model
from undercroft.registry import models
from undercroft.registry.entries import Model
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.differences import compare, compare_prompts, compare_settings
from undercroft.registry.releases.prompts import Prompt
from undercroft.registry.releases.store import Release
from undercroft.storage.database import Database


def release(number: int, digest: str | None = "sha256:1", **values: object) -> Release:
    content = check_content({"model": "tiny", **values})
    return Release("bot", number, content, f"sha256:{number}", digest, "2026-01-01T00:00:00.000Z", "x", None)


def test_settings_stand_side_by_side() -> None:
    """What either says something of, once, with whether it differs; what neither says is left out."""
    a = check_content({"model": "tiny", "sampling": {"temperature": 0}, "settings": {"slots": 2}})
    b = check_content({"model": "tiny", "sampling": {"temperature": 0, "stop": ["\n"]}})
    rows = [(row.name, row.a, row.b, row.is_different) for row in compare_settings(a, b)]
    assert rows == [
        ("engine", "llama.cpp", "llama.cpp", False),
        ("model", "tiny", "tiny", False),
        ("settings.slots", 2, None, True),
        ("sampling.temperature", 0.0, 0.0, False),
        ("sampling.stop", None, ["\n"], True),
    ]


def test_prompts_are_compared_as_text() -> None:
    """Line by line, with examples, variables and what becomes of a request's own system prompt."""
    a = Prompt(system="Be kind.\nBe brief.", variables={})
    b = Prompt.model_validate(
        {
            "system": "Be kind.\nBe {{how}}.",
            "examples": [{"user": "Hi", "assistant": "Hello"}],
            "variables": {"how": "quick"},
            "client_system": "ignore",
        }
    )
    lines = compare_prompts(a, b, "bot@1", "bot@2")
    assert lines[:2] == ("--- bot@1 prompt", "+++ bot@2 prompt")
    assert [line for line in lines[2:] if line[0] in "+-"] == [
        "-Be brief.",
        "-[a request's own system prompt: append]",
        "+Be {{how}}.",
        "+[example 1: user]",
        "+Hi",
        "+[example 1: assistant]",
        "+Hello",
        "+[variable how]",
        "+quick",
        "+[a request's own system prompt: ignore]",
    ]
    assert compare_prompts(a, a, "bot@1", "bot@2") == ()
    assert compare_prompts(None, None, "bot@1", "bot@2") == ()


def test_a_line_break_at_the_end_is_a_difference() -> None:
    """Two releases that are not the same never look the same."""
    assert compare_prompts(Prompt(system="a"), Prompt(system="a\n"), "x", "y") != ()


def test_models_are_compared_by_where_they_come_from(database: Database, tmp_path: Path) -> None:
    """Digest, source, quantization, parents; those of equal releases are the same."""
    add_model(database, "tiny", "1", quantization="Q8_0", base_models=["org/parent"])
    add_model(database, "small", "2", quantization="Q4_K_M")
    with database.read() as connection:
        known: dict[str, Model] = {name: models.get(connection, name) for name in ("tiny", "small")}
    a, b = release(1), release(2, "sha256:2", model="small")
    found = compare(a, b, known)
    rows = {row.name: (row.a, row.b) for row in found.models}
    assert rows["digest"] == ("sha256:1", "sha256:2")
    assert rows["source"] == ("/models/tiny.gguf", "/models/small.gguf")
    assert rows["quantization"] == ("Q8_0", "Q4_K_M")
    assert rows["made_from"] == ("org/parent", None)
    assert not found.is_empty
    assert found.to_dict()["is_same"] is False
    assert compare(a, replace(a, number=3), known).is_empty
