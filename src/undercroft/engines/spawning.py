"""Control's side of a start: gives the launcher its order, learns the engine's pid, and says "go"."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import undercroft
from undercroft.core.environment import clean_environment
from undercroft.core.errors import UnavailableError
from undercroft.core.processes import ProcessIdentity, identify
from undercroft.engines.launcher import LaunchOrder

LAUNCHER = "undercroft.engines.launcher"
_REPORT_SECONDS = 60.0

# What a program needs of a system to run; what is not there is skipped. No folder of a user's, no /etc as a whole.
_SYSTEM_PATHS = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt", "/nix/store", "/gnu/store", "/run/opengl-driver"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/ssl/openssl.cnf", "/etc/OpenCL", "/etc/vulkan"),
    *("/proc", "/sys", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
)
_DEVICE_PATTERNS = ("null", "nvidia*", "nvidia-caps/*", "dri/*", "kfd", "accel/*", "dxg")


class Launch:
    """A started process that waits for its word. Leaving the block without `go` ends it.

    Args:
        process: It, safe against reused pids.
        seal_note: What is in force, in plain words.
    """

    def __init__(self, process: ProcessIdentity, seal_note: str, launcher: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seal_note = seal_note
        self._launcher = launcher

    def go(self) -> None:
        """Lets it become the engine. A process that is gone already is found by the next look."""
        try:
            _write_line(self._launcher, "go")
        except BrokenPipeError:
            return

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self._launcher)


def launch(order: LaunchOrder) -> Launch:
    """Starts a process that has shut itself in and waits.

    Raises:
        UnavailableError: ``cannot-seal`` where that is required, ``engine-not-started`` otherwise.
    """
    command = [sys.executable, "-P", "-m", LAUNCHER, order.run_dir]
    with open(order.log_path, "ab") as log:
        launcher = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=clean_environment(),
            cwd="/",
            start_new_session=True,
        )
    try:
        _write_line(launcher, order.to_json())
        report = _read_report(launcher, order)
        process = identify(report["pid"])
        if process is None:
            raise _not_started(order, "the process ended at once")
        return Launch(process, report["seal_note"], launcher)
    except BrokenPipeError as error:
        _close(launcher)
        raise _not_started(order, "the launcher ended at once") from error
    except BaseException:
        _close(launcher)
        raise


def readable_paths(program: Path, files: Iterable[Path]) -> list[str]:
    """What an engine may read: the system's libraries, Python's, its own program's folder, and its model's files."""
    python = [sys.prefix, sys.base_prefix, *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))]
    packages = [Path(undercroft.__file__).parents[1], program.parent, program.resolve().parent]
    wheel = find_spec("xllamacpp")
    if wheel is not None and wheel.origin is not None:
        packages.append(Path(wheel.origin).parents[1])
    libraries = clean_environment().get("LD_LIBRARY_PATH", "").split(":")
    paths = [*_SYSTEM_PATHS, *python, *map(str, packages), *libraries, *(str(path.resolve()) for path in files)]
    return sorted({path for path in paths if path and Path(path).is_absolute() and Path(path) != Path("/")})


def devices() -> list[str]:
    """GPUs and what belongs to them, which a program writes to."""
    found = [str(path) for pattern in _DEVICE_PATTERNS for path in sorted(Path("/dev").glob(pattern))]
    return [*found, "/dev/shm"] if "/dev/kfd" in found else found


def _read_report(launcher: subprocess.Popen[bytes], order: LaunchOrder) -> dict[str, Any]:
    assert launcher.stdout is not None
    ready, _, _ = select.select([launcher.stdout], [], [], _REPORT_SECONDS)
    line = launcher.stdout.readline() if ready else b""
    if not line:
        raise _not_started(order, "the launcher did not report" if ready else f"no report in {_REPORT_SECONDS:.0f} s")
    report: dict[str, Any] = json.loads(line)
    if "refused" in report:
        raise UnavailableError(
            "cannot-seal",
            f"replica {order.replica_id} was not started, because engines.seal is 'required': {report['refused']}",
            hint="allow user namespaces on this machine, or set engines.seal to 'preferred'",
        )
    if "failed" in report:
        raise _not_started(order, report["failed"])
    return report


def _not_started(order: LaunchOrder, reason: str) -> UnavailableError:
    return UnavailableError(
        "engine-not-started", f"replica {order.replica_id} was not started: {reason}", hint=f"read {order.log_path}"
    )


def _write_line(launcher: subprocess.Popen[bytes], text: str) -> None:
    assert launcher.stdin is not None
    launcher.stdin.write(text.encode() + b"\n")
    launcher.stdin.flush()


def _close(launcher: subprocess.Popen[bytes]) -> None:
    """Lets go of the pipes; an engine that still waits for its word ends. The launcher itself has ended or does now."""
    for stream in (launcher.stdin, launcher.stdout):
        if stream is not None:
            _quietly(stream.close)
    try:
        launcher.wait(timeout=5)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except BrokenPipeError:
        return
