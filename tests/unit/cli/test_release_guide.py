"""docs/guide/releases.md and bad-release.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.registry.releases.content import ReleaseContent, ReleaseSettings, Sampling
from undercroft.registry.releases.files import read_releases
from undercroft.registry.releases.prompts import Prompt
from undercroft.registry.releases.store import KEPT_TAGS
from undercroft.serving.promotions import Plan
from undercroft.watch.promotion.judging import Rules

_GUIDE = Path(__file__).parent.parent.parent.parent / "docs" / "guide"
_TEXT = (_GUIDE / "releases.md").read_text(encoding="utf-8")


def examples(name: str) -> list[str]:
    found: list[str] = re.findall(r"```yaml\n(.*?)```", (_GUIDE / name).read_text(encoding="utf-8"), re.DOTALL)
    return found


def test_the_examples_are_releases(tmp_path: Path) -> None:
    """They are read as they stand there; the first has every section."""
    for text in (*examples("releases.md"), *examples("bad-release.md")):
        file = tmp_path / "release.yaml"
        file.write_text(text, encoding="utf-8")
        (found,) = read_releases(file)
        assert found.content.model is not None
    (whole,) = examples("releases.md")
    assert all(f"\n{name}:" in whole for name in ReleaseContent.model_fields)
    assert all(f"  {name}:" in whole for name in Prompt.model_fields)


def test_every_field_is_named() -> None:
    """A setting, a value of sampling, a part of a plan or a tag that no guide names would be found by nobody."""
    elsewhere = {"url", "upstream_model", "key_file", "ca_file", "dtype"}  # of one engine alone: engines.md
    for name in {*ReleaseSettings.model_fields} - elsewhere:
        assert f"  {name}:" in _TEXT
    for name in (*Sampling.model_fields, *Plan.model_fields, *KEPT_TAGS):
        assert f"`{name}`" in _TEXT


def test_every_rule_is_explained_as_the_code_does() -> None:
    """In the order of the code, with its default."""
    table = _TEXT.partition("| rule | default | means |\n|---|---|---|\n")[2].partition("\n\n")[0]
    expected = [f"| `{name}` | {field.default} | {field.description} |" for name, field in Rules.model_fields.items()]
    assert table.splitlines() == expected
