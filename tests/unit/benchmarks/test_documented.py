from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from benchmarks.processes import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
NAMES = (
    "gateway",
    "serving",
    "startup",
    "slow_clients",
    "planning",
    "sizing_speed",
    "sizing_processor",
    "drift",
    "quantize",
    "quality",
    "distill",
    "embed",
)


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_has_the_same_command_line(name: str) -> None:
    """`python -m benchmarks.NAME --help` says `--json` and `--quick`."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert "--quick" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_has_a_section(name: str) -> None:
    """A benchmark is in the table and has a section that states its aims."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"[`{name}`](#{name})" in text
    assert "Aims: " in section


def test_documented_figures_are_measured() -> None:
    """A figure that the page explains is a name that a benchmark writes."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    rows = re.findall(r"^\| `([a-z0-9_]+)`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    told = [name for name in rows if name not in (*NAMES, "import")]
    assert len(told) >= 15
    # Some names are put together from a prefix and a common end.
    ends = {name: re.sub(r"^(first_|held_at_end_|ttft_|one_client_ttft_|issue_)", "", name) for name in told}
    assert [name for name in told if f'"{name}"' not in sources and ends[name] not in sources] == []


def test_titles_differ() -> None:
    """Each report begins with what it measures."""
    titles = [importlib.import_module(f"benchmarks.{name}").TITLE for name in NAMES]
    assert len(set(titles)) == len(NAMES)
