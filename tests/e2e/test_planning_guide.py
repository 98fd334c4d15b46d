"""The guide's plans: every command in it runs, and gives the verdict that the guide shows."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.cellar import Cellar

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide" / "planning.md"
SHOWN = re.compile(r"^```console\n\$ undercroft (plan .*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLAIN = re.compile(r"^undercroft (plan [^#\n]*)", re.MULTILINE)
# What somebody has to fill in before it runs.
PLACEHOLDER = "org/name"
STATUS = re.compile(r"\n\$ echo \$\?\n(\d+)\n$")
VERDICT = re.compile(r"^(\S+) in \S+ (fits|does not fit|fits .*?processor) on (.+?)(?:,| with|:)")
FIGURE = re.compile(r"\d[\d,.]*")
TEXT = GUIDE.read_text(encoding="utf-8")


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path)


def paragraphs(output: str) -> list[str]:
    return [" ".join(part.split()) for part in output.split("\n\n")]


def headers(output: str) -> list[str]:
    """First lines of tables, without their widths."""
    lines = output.splitlines()
    return [" ".join(a.split()) for a, b in pairwise(lines) if b.startswith("───")]


def test_the_guide_shows_every_kind_of_answer() -> None:
    """Three stories with a plan that fits and one that does not, a need, the assumptions and the accuracy."""
    commands = [command for command, _ in SHOWN.findall(TEXT)]
    assert len(commands) >= 9
    for words in ("--need", "plan assumptions", "plan accuracy", "--engine vllm", "--machines 40"):
        assert any(words in command for command in commands), words
    assert any(STATUS.search(output) for _, output in SHOWN.findall(TEXT))


@pytest.mark.parametrize(("command", "shown"), SHOWN.findall(TEXT), ids=[c for c, _ in SHOWN.findall(TEXT)])
def test_a_command_of_the_guide_answers_as_it_says(cellar: Cellar, command: str, shown: str) -> None:
    """The same exit status, verdict, machine and tables; figures may be others on another day."""
    found = STATUS.search(shown)
    output = cellar.run(*shlex.split(command), expected=int(found[1]) if found else 0).stdout
    told, got = paragraphs(shown)[0], paragraphs(output)[0]
    verdict = VERDICT.match(told)
    if verdict is not None:
        now = VERDICT.match(got)
        assert now is not None, got
        assert now.groups() == verdict.groups()
    else:
        assert FIGURE.sub("#", got).split()[:2] == FIGURE.sub("#", told).split()[:2]
    assert set(headers(shown)) <= set(headers(output))


@pytest.mark.parametrize("command", [c.strip() for c in PLAIN.findall(TEXT) if PLACEHOLDER not in c])
def test_a_command_that_is_only_named_runs(cellar: Cellar, command: str) -> None:
    """What stands in the guide without an answer fits or does not fit, and is no mistake."""
    process = cellar.start(*shlex.split(command))
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 6), out + err
    assert out
