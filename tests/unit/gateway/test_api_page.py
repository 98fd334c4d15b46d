"""The page about the API says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.gateway import metrics
from undercroft.gateway.openai.openapi import openapi_paths

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs/guide/api.md").read_text(encoding="utf-8")
_SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((_ROOT / "src/undercroft/gateway").rglob("*.py"))
)


def test_every_code_is_on_the_page() -> None:
    """Each code that the door answers with is explained, and no other one is."""
    raised = set(re.findall(r'DoorError\(\s*\d+,\s*"([\w-]+)"', _SOURCES))
    raised |= set(re.findall(r'invalid\([^()]*(?:\([^()]*\)[^()]*)*,\s*(?:code=)?"([a-z]+-[a-z-]+)"', _SOURCES))
    raised |= {"invalid-field"}
    table = _PAGE.partition("## Errors")[2].partition("## Queues")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    explained = {code for row in rows for code in re.findall(r"`([\w-]+)`", row[2])}
    assert raised - explained == set()
    assert explained - raised == set()


def test_every_metric_is_on_the_page() -> None:
    """Each family of the door is listed under the name that Prometheus sees."""
    for name, family in metrics.Counters().families([]).items():
        shown = name + ("_total" if family["type"] == "counter" else "")
        assert f"`{shown}`" in _PAGE, shown


def test_every_route_is_on_the_page() -> None:
    """Each ``/v1`` route of the OpenAPI document."""
    for path in openapi_paths():
        assert path.partition("/{")[0] in _PAGE
