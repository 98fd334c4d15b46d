"""docs/guide/probes.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.checks.kinds import CHECK_KINDS, Check
from undercroft.watch.probes.probe_files import parse_probe
from undercroft.watch.reports.report_rows import COLUMNS

_TEXT = (Path(__file__).parent.parent.parent.parent / "docs" / "guide" / "probes.md").read_text(encoding="utf-8")


def test_the_example_is_a_probe() -> None:
    """It is read as it stands there, with a schedule and both forms of a question."""
    example = re.search(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
    assert example is not None
    probe = parse_probe(example[1].encode(), Path("probes.md"))
    assert probe.schedule == "0 7 * * mon-fri"
    assert [question.text is None for question in probe.questions] == [False, True]


def test_every_column_is_explained_as_the_code_does() -> None:
    """In the order of the file."""
    table = _TEXT.partition("| column | holds |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| `{name}` | {text} |" for name, text in COLUMNS.items()]


def test_every_kind_of_check_is_explained_with_its_fields() -> None:
    """A field that the table does not name would be found by nobody."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*)\|$", _TEXT.partition("## A run")[0], re.MULTILINE))
    for kind in Check.__origin__.__args__:  # type: ignore[attr-defined]
        name = kind.model_fields["kind"].annotation.__args__[0]
        assert name in CHECK_KINDS
        for field, info in kind.model_fields.items():
            if field not in ("kind", "weight", "at"):
                assert f"`{info.alias or field}`" in rows[name], f"{name}.{field}"
