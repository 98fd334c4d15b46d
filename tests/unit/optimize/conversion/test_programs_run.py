"""Programs of an environment: what they leave, and what is said of those that fail."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import UnavailableError
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.programs_run import failed, run_program

GIB = 1024**3
TRACEBACK = b'Traceback (most recent call last):\n  File "x.py"\n'


@pytest.mark.parametrize(
    ("status", "said", "free_bytes", "number"),
    [
        (1, TRACEBACK + b"OSError: [Errno 28] No space left on device: 'model.onnx'", GIB, errno.ENOSPC),
        (1, TRACEBACK + b"SafetensorError: I/O error: No space left on device (os error 28)", GIB, errno.ENOSPC),
        (1, TRACEBACK + b"OSError: [Errno 122] Disk quota exceeded", GIB, errno.EDQUOT),
        (1, TRACEBACK + b"OSError: [Errno 27] File too large", GIB, errno.EFBIG),
        (-signal.SIGXFSZ, b"", GIB, errno.EFBIG),
        (-signal.SIGBUS, b"", 4096, errno.ENOSPC),
        (-signal.SIGBUS, b"", GIB, errno.ENOSPC),
        (1, b"RuntimeError: unexpected pos 64 vs 0", 0, errno.ENOSPC),
    ],
)
def test_a_full_disk_is_seen_through_the_words_of_a_program(
    status: int, said: bytes, free_bytes: int, number: int
) -> None:
    """Whatever language a library is written in, and where it says nothing, by what the disk has left."""
    problem = failed("to_onnx", status, said, free_bytes=free_bytes)
    assert isinstance(problem, OSError)
    assert problem.errno == number


def test_other_failures_are_told_in_the_words_of_the_program() -> None:
    """The last lines of what it said, or which signal has ended it."""
    told = failed("to_onnx", 1, TRACEBACK + b"KeyError: 'weights'\n", free_bytes=GIB)
    assert isinstance(told, UnavailableError)
    assert str(told).startswith("program-failed: to_onnx ended with status 1:\n  Traceback")
    assert "KeyError: 'weights'" in str(told)
    assert "memory runs out" in str(failed("to_onnx", -signal.SIGKILL, b"", free_bytes=GIB))
    assert str(failed("to_onnx", 3, b"", free_bytes=GIB)).endswith("it said nothing")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A folder like that of an environment, with the Python of these tests."""
    found = Environment(tmp_path / "environment")
    found.python.parent.mkdir(parents=True)
    found.python.symlink_to(sys.executable)
    return found


def ran(environment: Environment, folder: Path, code: str) -> dict[str, Any]:
    (folder / "programs").mkdir()
    (folder / "programs" / "trial.py").write_text(code, encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    return run_program(environment, "trial", {}, folder=work, programs=folder / "programs")


def test_temporary_files_lie_in_its_folder_and_go_with_it(environment: Environment, tmp_path: Path) -> None:
    """Whatever a program of others leaves where it puts such files is gone when it has ended."""
    code = (
        "import json, tempfile\n"
        "open(tempfile.mkstemp()[1], 'w').write('left')\n"
        "print(json.dumps({'folder': tempfile.gettempdir()}))\n"
    )
    found = Path(ran(environment, tmp_path, code)["folder"])
    assert found.parent == tmp_path / "work"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["trial.log"]


def test_a_program_that_finds_the_disk_full_is_an_error_of_the_system(environment: Environment, tmp_path: Path) -> None:
    """As if the job itself had written, so that it is told as such; what the program left beside it goes, too."""
    code = (
        "import pathlib, resource, tempfile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "pathlib.Path(tempfile.mkstemp()[1]).write_bytes(b'x' * 8192)\n"
    )
    with pytest.raises(OSError, match="File too large") as caught:
        ran(environment, tmp_path, code)
    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["trial.log"]


def test_one_that_says_much_where_no_log_can_be_written_is_read_to_its_end(
    environment: Environment, tmp_path: Path
) -> None:
    """More than a pipe holds, into a file that takes nothing: the program does not wait for a reader for ever."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "trial.log").symlink_to("/dev/full")
    (tmp_path / "trial.py").write_text("import sys\nsys.stderr.write('x' * 1_000_000)\nprint('{}')\n", encoding="utf-8")
    assert run_program(environment, "trial", {}, folder=tmp_path / "work", programs=tmp_path) == {}
