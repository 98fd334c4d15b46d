"""docs/guide/drift.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.watch.drift import DRIFT_KINDS
from undercroft.watch.drift.detectors import LEARNT_FIRST, LEARNT_LAST, LEARNT_SPANS
from undercroft.watch.drift.probes import RULES
from undercroft.watch.drift.requests import LEAST_REQUESTS, MEASURES

_ROOT = Path(__file__).parent.parent.parent.parent.parent
_TEXT = (_ROOT / "docs" / "guide" / "drift.md").read_text(encoding="utf-8")


def watched(source: str) -> set[str]:
    rows = re.findall(rf"^\| `{source}` \| (.*?) \|", _TEXT, re.MULTILINE)
    return {kind for row in rows for kind in re.findall(r"`([a-z-]+)`", row)}


def test_every_detector_is_in_the_table() -> None:
    """Of each source those that the code has, and no other."""
    assert watched("probe:NAME") == {kind.value for kind in RULES}
    assert watched("requests") == {kind.value for kind in MEASURES}
    all_of_them = watched("probe:NAME") | watched("requests") | watched("replicas") | watched("files")
    assert all_of_them == {kind.value for kind in DRIFT_KINDS}


def test_the_numbers_of_the_guide_are_those_of_the_code() -> None:
    """How many values are learnt from."""
    assert (LEARNT_FIRST, LEARNT_LAST, LEARNT_SPANS, LEAST_REQUESTS) == (10, 60, 96, 20)
    for words in ("first ten answers", "Up to sixty answers", "first 96", "at least 20 requests"):
        assert words in " ".join(_TEXT.split())
