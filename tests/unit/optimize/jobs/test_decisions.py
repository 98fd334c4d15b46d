"""What a job may do next, whether it has room, and how far it says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.home import Home
from undercroft.optimize.jobs.folders import HowFar, JobFolder, ProgressWriter, left_seconds, read_progress
from undercroft.optimize.jobs.room import Forecast, check_room, told_room
from undercroft.optimize.jobs.states import State, check_can_cancel, check_can_resume, seen
from undercroft.optimize.steps import Progress

GIB = 1024**3


@pytest.mark.parametrize("state", list(State))
def test_what_is_seen_of_a_state(state: State) -> None:
    """Only a running job needs its process; without it, it is interrupted."""
    assert seen(state, has_process=True) is state
    assert seen(state, has_process=False) is (State.INTERRUPTED if state is State.RUNNING else state)


@pytest.mark.parametrize("state", list(State))
def test_every_state_may_be_cancelled_or_resumed_or_is_the_end(state: State) -> None:
    """What runs or waits is cancelled, what ended without a model is resumed, and a model that is made stays."""
    may_cancel = state not in (State.DONE, State.CANCELLED)
    may_resume = state in (State.FAILED, State.CANCELLED, State.INTERRUPTED)
    for check, is_allowed in ((check_can_cancel, may_cancel), (check_can_resume, may_resume)):
        if is_allowed:
            check("job_1", state)
        else:
            with pytest.raises(ConflictError, match=f"it is {state}"):
                check("job_1", state)


def test_one_that_waits_is_begun_by_watching_it() -> None:
    """Nobody may be left who would begin it, as after a full disk; the hint says what does."""
    with pytest.raises(ConflictError) as refused:
        check_can_resume("job_1", State.QUEUED)
    assert refused.value.hint == "undercroft job follow job_1"


def checked(*, disk_bytes: int, memory_bytes: int) -> None:
    forecast = Forecast(result_bytes=10 * GIB, disk_bytes=10 * GIB, memory_bytes=2 * GIB)
    check_room(forecast, what="model 'a'", where="/home", free_bytes=disk_bytes, available_bytes=memory_bytes)


def test_room_is_the_forecast_and_a_twentieth_of_it() -> None:
    """10 GiB of result need 10.5 GiB of disk, and the memory that the forecast says; a byte less is refused."""
    enough = int(10 * GIB * 1.05)
    checked(disk_bytes=enough, memory_bytes=2 * GIB)
    with pytest.raises(UnavailableError, match=r"needs 10\.5 GiB of disk.*/home has 10\.0 GiB free"):
        checked(disk_bytes=10 * GIB, memory_bytes=2 * GIB)
    with pytest.raises(UnavailableError, match="disk-full"):
        checked(disk_bytes=enough - 1, memory_bytes=2 * GIB)
    with pytest.raises(UnavailableError, match=r"not-enough-memory.*needs 2\.0 GiB, this machine has 1\.0 GiB"):
        checked(disk_bytes=enough, memory_bytes=GIB)


def test_what_is_there_from_before_needs_no_room() -> None:
    """A job that goes on is refused for what is missing of the rest only, and says how much that is."""
    forecast = Forecast(result_bytes=10 * GIB, disk_bytes=10 * GIB, memory_bytes=1)
    for kept_bytes, missing in ((0, "8.5 GiB are missing"), (4 * GIB, "4.5 GiB are missing")):
        with pytest.raises(UnavailableError, match=missing):
            check_room(forecast, what="a", where="/home", free_bytes=2 * GIB, available_bytes=1, kept_bytes=kept_bytes)
    check_room(forecast, what="a", where="/home", free_bytes=2 * GIB, available_bytes=1, kept_bytes=9 * GIB)


def test_a_full_disk_says_how_much_is_missing() -> None:
    """Or that it is not the disk itself that had no more room."""
    forecast = Forecast(result_bytes=10 * GIB, disk_bytes=10 * GIB, memory_bytes=1)
    assert told_room(forecast, where="/home", free_bytes=2 * GIB, kept_bytes=4 * GIB) == (
        "it needs 6.5 GiB more in /home, which has 2.0 GiB free: 4.5 GiB are missing"
    )
    assert told_room(forecast, where="/home", free_bytes=20 * GIB, kept_bytes=0) == (
        "it needs 10.5 GiB more in /home, which has 20.0 GiB free now, so a quota, a limit on the size of files or "
        "another program was in its way"
    )


@pytest.fixture
def folder(home: Home) -> JobFolder:
    """The folder of a job."""
    made = JobFolder(home, "job_1")
    made.prepare()
    return made


def test_progress_is_written_now_and_then(folder: JobFolder) -> None:
    """At once, then not before half a second has passed, and at the end; the time left is at the mean speed."""
    writer = ProgressWriter(folder, 0, 1, now_seconds=0.0)
    writer.write(Progress(0, 100, "bytes", "quantizing"), 0.0)
    writer.write(Progress(10, 100, "bytes", "quantizing"), 0.4)
    assert read_progress(folder) == HowFar(0, 1, 0, 100, "bytes", "quantizing", None)
    writer.write(Progress(20, 100, "bytes", "quantizing"), 0.5)
    assert read_progress(folder) == HowFar(0, 1, 20, 100, "bytes", "quantizing", 2.0)
    writer.write(Progress(100, 100, "bytes", "quantizing"), 0.6)
    found = read_progress(folder)
    assert found is not None
    assert (found.ratio, found.left_seconds) == (1.0, 0.0)


def test_what_a_kill_left_of_the_progress_goes_with_it(folder: JobFolder) -> None:
    """A file that was not named yet stays behind where its writer is killed; the log is left."""
    folder.log.write_text("x", encoding="utf-8")
    ProgressWriter(folder, 0, 1, now_seconds=0.0).write(Progress(0, 100, "bytes", "quantizing"), 0.0)
    folder.progress.with_name(".progress.json.p3rxflii").write_text("{", encoding="utf-8")
    folder.clear()
    assert [path.name for path in folder.root.iterdir()] == ["log.txt"]


def test_another_thing_to_do_begins_its_own_time(folder: JobFolder) -> None:
    """Reading texts and writing weights have speeds of their own; the change is written at once."""
    writer = ProgressWriter(folder, 0, 1, now_seconds=0.0)
    writer.write(Progress(5, 10, "windows", "reading texts"), 100.0)
    writer.write(Progress(0, 100, "bytes", "quantizing"), 100.1)
    found = read_progress(folder)
    assert found is not None
    assert (found.note, found.left_seconds) == ("quantizing", None)
    writer.write(Progress(50, 100, "bytes", "quantizing"), 101.1)
    found = read_progress(folder)
    assert found is not None
    assert found.left_seconds == pytest.approx(1.0)


def test_what_cannot_be_written_ends_nothing(folder: JobFolder) -> None:
    """Progress that finds no place is lost; the job is not."""
    writer = ProgressWriter(folder, 0, 1, now_seconds=0.0)
    folder.progress.mkdir()
    writer.write(Progress(1, 2, "bytes", ""), 0.0)
    assert read_progress(folder) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": 1}', b"\xff"])
def test_a_strange_progress_file_says_nothing(folder: JobFolder, content: bytes) -> None:
    """Another version's, or a damaged one, is no error."""
    folder.progress.write_bytes(content)
    assert read_progress(folder) is None


def test_no_speed_no_time() -> None:
    """Nothing done in no time says nothing of the rest."""
    assert left_seconds(0, 10, 1) is None
    assert left_seconds(1, 10, 0) is None
    assert left_seconds(5, 10, 1) == 2.0
    assert HowFar(0, 1, 5, 0, "bytes", "", None).ratio == 0.0


def test_what_a_job_has_in_hand_is_counted_without_what_it_refers_to(folder: JobFolder, tmp_path: Path) -> None:
    """A link to a model is no copy of it."""
    (tmp_path / "model").write_bytes(b"x" * 1_000_000)
    folder.unfinished_step(0).mkdir()
    (folder.unfinished_step(0) / "link").symlink_to(tmp_path / "model")
    assert folder.kept_bytes() == 0
    (folder.unfinished_step(0) / "file").write_bytes(b"x" * 100_000)
    assert 100_000 <= folder.kept_bytes() < 200_000


def test_room_for_the_last_words_is_taken_before_work_begins(folder: JobFolder) -> None:
    """Real bytes, taken once, and given back when there is something to write down."""
    folder.reserve_room()
    folder.reserve_room()
    (taken,) = folder.work.iterdir()
    assert taken.stat().st_size == 256 * 1024
    assert folder.kept_bytes() == 0  # nothing of it is the model's
    folder.release_room()
    folder.release_room()
    assert list(folder.work.iterdir()) == []


def test_clearing_keeps_log_and_card(folder: JobFolder) -> None:
    """What people may want to read later stays."""
    for kept in (folder.log, folder.card / "card.json", folder.step(0) / "model.gguf", folder.progress):
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(b"x")
    folder.clear()
    assert sorted(path.name for path in folder.root.iterdir()) == ["card", "log.txt"]


def test_a_job_is_no_path(home: Home) -> None:
    """An id from a database never leads out of the folder of jobs."""
    with pytest.raises(Exception, match="bad-name"):
        JobFolder(home, "../blobs")


def test_paths_of_a_job_lie_in_its_folder(home: Home) -> None:
    """Nothing of a job is anywhere else."""
    folder = JobFolder(home, "job_1")
    paths: list[Path] = [folder.log, folder.progress, folder.card, folder.step(0), folder.unfinished_step(0)]
    assert all(path.is_relative_to(home.jobs / "job_1") for path in paths)
