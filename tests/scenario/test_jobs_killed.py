"""Jobs whose process is killed again and again, at random moments, or whose disk becomes full; resumed each time.

Conversions and compressions, which need environments, are in `test_converters_killed`, trainings in
`test_trainings_killed`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.full_disk import on_a_full_disk
from tests.support.job_trials import WISHES, trial

pytestmark = pytest.mark.usefixtures("temporary_folder")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "few", "many", "most_seconds"),
    [("quantize", 2, 60, 2.0), ("prune", 1, 25, 4.0), ("rightsize", 0, 25, 6.0)],
)
def test_killed_at_any_moment_it_loses_nothing_but_time(
    tmp_path: Path, is_full: bool, kind: str, few: int, many: int, most_seconds: float
) -> None:
    """After each kill the job is interrupted or done, no half model has a name, and nobody that it has started runs; in
    the end the digest is that of an undisturbed run, and nothing is left in the folders."""
    if not is_full and few == 0:
        pytest.skip("a search starts many engines: pytest -m long --full")
    with trial(tmp_path, WISHES[kind](tmp_path)) as found:
        found.killed_and_resumed(many if is_full else few, random.Random(), most_seconds=most_seconds)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", list(WISHES))
def test_a_full_disk_is_told_and_loses_nothing_but_time(tmp_path: Path, is_full: bool, kind: str) -> None:
    """On a disk without a byte left the job fails with what is missing and what to do, leaves its log only, and goes on
    to the same digest when there is room. The disk is a small one in memory, which nobody else sees."""
    if not is_full and kind != "quantize":
        pytest.skip("one kind of job meets a full disk here; each of them at full size: pytest -m long --full")
    on_a_full_disk(tmp_path, kind)
