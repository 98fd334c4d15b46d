"""Which suites are asked, and by which files."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.environments.installed import Environment
from undercroft.optimize.suites.chosen import digest_folder, load_suites
from undercroft.optimize.suites.measuring import scores_of

ROW = {
    "suite": "capitals",
    "metric": "acc",
    "filter": "none",
    "value": 0.5,
    "standard_error": 0.5,
    "count": 2,
    "is_more_better": True,
    "shots": 0,
    "version": "1.0",
    "values": [1, 0],
}


def test_a_folder_has_the_digest_of_all_that_lies_in_it(tmp_path: Path) -> None:
    """Another content, another name, another place: another digest; and the same again where nothing changed."""
    (tmp_path / "acme").mkdir()
    data = tmp_path / "acme" / "test.jsonl"
    data.write_text("{}", encoding="utf-8")
    first = digest_folder(tmp_path)
    assert first == digest_folder(tmp_path)
    data.write_text("[]", encoding="utf-8")
    second = digest_folder(tmp_path)
    data.rename(tmp_path / "test.jsonl")
    assert len({first, second, digest_folder(tmp_path)}) == 3


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything is run."""
    with pytest.raises(InvalidError, match="there is no folder") as caught:
        load_suites(tmp_path / "none", ["arc_easy"], Environment(tmp_path))
    assert caught.value.code == "no-such-folder"


def test_a_suite_is_named_once(tmp_path: Path) -> None:
    """Twice would count it twice in a group."""
    with pytest.raises(InvalidError, match="named twice"):
        load_suites(tmp_path, ["arc_easy", "piqa", "arc_easy"], Environment(tmp_path))


def test_results_become_scores() -> None:
    """One a row, called by suite and figure, and by the filter where there is one."""
    first, second = scores_of([ROW, {**ROW, "metric": "exact_match", "filter": "strict"}])
    assert (first.name, first.values) == ("capitals acc", (1.0, 0.0))
    assert second.name == "capitals exact_match (strict)"


@pytest.mark.parametrize("row", [{**ROW, "values": None}, {**ROW, "more": 1}, {"suite": "capitals"}])
def test_results_of_another_form_are_refused(row: dict[str, object]) -> None:
    """Another version of lm-eval may write others."""
    with pytest.raises(UnavailableError, match="another form"):
        scores_of([row])
