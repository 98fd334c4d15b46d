"""The program that starts an engine: ``python -m undercroft.engines.launcher RUN_DIR``, with the order on stdin.

    control ── launcher            ends at once, so that control is nobody's parent and may come and go
                  └── warden       first process of the engine's namespaces: pumps the log, notes how the engine ended
                        └── engine seals itself, says so, waits for "go", becomes the engine's program

The engine's pid is the one in the record. Whichever of warden and engine ends, the other ends too. The engine waits for
"go" until control has written its record: a control process that dies before leaves nothing behind.

It imports little, because it is on the way from ``undercroft up`` to the first answer, and stays as the warden.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from undercroft.engines.outputs import RotatingLog, starting_line
from undercroft.engines.sealing import kernel, landlock, namespaces, private_folders, seccomp

ENDING_FILE = "ending.json"
_TAIL_BYTES = 16 * 1024
_OUT_OF_MEMORY_SCORE = 600  # under memory pressure the kernel takes an engine before control or door


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What the launcher is told.

    Args:
        replica_id: ``rep_…``.
        arguments: The engine's program and its arguments.
        environment: All that it gets.
        run_dir: The only folder that it may write to.
        log_path: File for its output.
        readable: Files and folders that it may read and execute.
        devices: Files that it may write to beside ``run_dir``.
        memory_limit_bytes: Most private memory; None is no limit.
        seal_required: Refuse to start it where the kernel gives no empty network.
        needs_loopback: It listens on a TCP port of this machine, so that an empty network is not possible.
        has_parts: It is several processes that connect to each other: in its own empty network its own loopback is up,
            and folders in which sockets of others could lie are empty ones of its own.
    """

    replica_id: str
    arguments: list[str]
    environment: dict[str, str]
    run_dir: str
    log_path: str
    readable: list[str]
    devices: list[str]
    memory_limit_bytes: int | None
    seal_required: bool
    needs_loopback: bool
    has_parts: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main() -> NoReturn:
    """Reads the order (one line), and leaves a warden with its engine behind."""
    order = LaunchOrder(**json.loads(_read_line(0)))
    refusal = "it listens on a TCP port of this machine" if order.needs_loopback else _leave_sealed(order)
    if refusal is not None and order.seal_required:
        _report({"refused": refusal})
    elif refusal is not None and os.fork() == 0:
        _as_child(lambda: _keep(order, refusal))
    os._exit(0)


def _leave_sealed(order: LaunchOrder) -> str | None:
    """Leaves a sealed warden behind and returns None, or returns why that is not possible here.

    It is tried in a child, so that a kernel that stops half-way leaves this process as it was.
    """
    answer_read, answer_write = os.pipe()
    trying = os.fork()
    if trying == 0:
        os.close(answer_read)
        try:
            namespaces.enter_empty_network()
            if order.has_parts:
                namespaces.raise_loopback()
        except OSError as error:
            os.write(answer_write, f"this kernel allows no empty network here ({_reason(error)})".encode())
            os._exit(1)
        os.close(answer_write)
        if os.fork() == 0:
            _as_child(lambda: _keep(order, None))
        os._exit(0)
    os.close(answer_write)
    os.waitpid(trying, 0)
    with os.fdopen(answer_read, encoding="utf-8") as answer:
        return answer.read() or None


def _keep(order: LaunchOrder, refusal: str | None) -> NoReturn:
    """The warden: starts the engine, pumps its output into the log, ends when it ends."""
    os.setsid()
    output, engine_output = os.pipe()
    log = RotatingLog(Path(order.log_path))
    log.write(f"{starting_line(order.replica_id)}\n".encode())
    engine = os.fork()
    if engine == 0:
        os.close(output)
        _as_child(lambda: _become_engine(order, refusal, engine_output))
    os.close(engine_output)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(engine, received))
    _pump(output, log, engine)
    os._exit(0)


def _pump(output: int, log: RotatingLog, engine: int) -> None:
    """Copies output until the engine has ended, then says how."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    sources, tail = [output, wake_read], b""
    status: int | None = _ended(engine)
    while status is None:
        readable, _, _ = select.select(sources, [], [])
        if wake_read in readable:
            os.read(wake_read, 512)
        if output in readable:
            piece = os.read(output, 65536)
            log.write(piece)
            tail = (tail + piece)[-_TAIL_BYTES:]
            if not piece:
                sources.remove(output)  # it closed its output and lives on
        status = _ended(engine)
    with contextlib.suppress(OSError):
        os.killpg(engine, signal.SIGKILL)  # processes that it started and did not end
    os.set_blocking(output, False)
    try:
        while rest := os.read(output, 65536):
            log.write(rest)
            tail = (tail + rest)[-_TAIL_BYTES:]
    except BlockingIOError:
        pass  # something that the engine left behind still holds the pipe; it ends with us
    log.write(f"undercroft: the engine {describe_ending(status)}\n".encode())
    try:
        ending = {"status": status, "output": tail.decode("utf-8", "replace")}
        unfinished = Path(sys.argv[1], f"{ENDING_FILE}.new")
        unfinished.write_text(json.dumps(ending), encoding="ascii")
        unfinished.replace(unfinished.with_name(ENDING_FILE))
    except OSError:
        return  # the folder was removed: somebody stopped it and asks no more


def _ended(engine: int) -> int | None:
    """The engine's wait status, or None while it runs. Other orphans are reaped on the way."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if pid == engine:
            return status
        if pid == 0:
            return None


def describe_ending(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was ended by signal {number} ({signal.Signals(number).name})"
    return f"ended with exit status {os.WEXITSTATUS(status)}"


def _become_engine(order: LaunchOrder, refusal: str | None, output: int) -> NoReturn:
    """The engine's process: shuts itself in, reports, waits for the word, executes the program."""
    notes = _shut_in(order, is_sealed=refusal is None)
    loopback = "one of its own" if order.has_parts else "one that is down"
    sealed = f"sealed: its network has no interface but a loopback, {loopback}"
    network = sealed if refusal is None else f"not sealed: {refusal}"
    # Inside a process namespace getpid is small; /proc, which is still the one outside, knows the number there.
    pid = int(os.readlink("/proc/self")) if kernel.IS_LINUX else os.getpid()
    _report({"pid": pid, "seal_note": "; ".join([network, *notes])})
    if _read_line(0) != "go":
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, max(256, output + 1))
    try:
        os.execve(order.arguments[0], order.arguments, order.environment)
    except OSError as error:
        os.write(2, f"undercroft: cannot run {order.arguments[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _shut_in(order: LaunchOrder, *, is_sealed: bool) -> list[str]:
    """Everything but the network. Returns what is in force or not, in plain words."""
    os.setpgid(0, 0)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold prompts
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if order.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory_limit_bytes, order.memory_limit_bytes))
    if not kernel.IS_LINUX:
        return []
    if order.has_parts and is_sealed:
        # Beside the replicas' folders lie the sockets of control and of the doors.
        kept = [Path(path) for path in (*order.readable, order.run_dir)]
        private_folders.hide(more=[Path(order.run_dir).parent.parent], kept=kept)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    with contextlib.suppress(OSError):  # a container may show this read-only
        Path("/proc/self/oom_score_adj").write_text(str(_OUT_OF_MEMORY_SCORE), encoding="ascii")
    namespaces.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    scratch = private_folders.SCRATCH if order.has_parts else ()
    writable = [Path(path) for path in (order.run_dir, *order.devices, *scratch)]
    may_use_tcp = order.needs_loopback or order.has_parts
    notes = [
        _attempt(
            "files limited by Landlock",
            lambda: landlock.restrict(
                readable=[Path(path) for path in order.readable], writable=writable, may_use_tcp=may_use_tcp
            ),
        )
    ]
    if order.has_parts:
        reach = "only its own processes" if is_sealed else "anybody"
        seccomp_note = f"its processes connect to each other, so that it can connect to {reach}"
        return [*notes, _attempt(seccomp_note, lambda: seccomp.restrict(may_listen_on_tcp=True, may_connect=True))]
    return [
        *notes,
        _attempt(
            "outgoing connections refused by seccomp",
            lambda: seccomp.restrict(may_listen_on_tcp=order.needs_loopback),
        ),
    ]


def _attempt(what: str, restrict: Callable[[], None]) -> str:
    try:
        restrict()
    except OSError as error:
        return f"no {what} ({_reason(error)})"
    return what


def _as_child(work: Callable[[], NoReturn]) -> NoReturn:
    """A forked child never returns into its parent's code; what went wrong goes to the launcher's stderr."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001  (the boundary of a process: nothing may escape into a fork's parent)
        _report({"failed": f"{type(error).__name__}: {error}"})
        os._exit(1)


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.strerror else str(error)


def _report(message: dict[str, Any]) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except OSError:
        return  # control is gone; the engine sees it when it waits for the word


def _read_line(descriptor: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 1)
        if not piece:
            break
        line += piece
    return line.decode().strip()


if __name__ == "__main__":
    main()
