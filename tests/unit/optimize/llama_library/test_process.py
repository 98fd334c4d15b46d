"""The worker dies alone, takes nobody along, leaves nobody behind, and sees no network."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError
from undercroft.engines import spawning
from undercroft.engines.sealing import landlock, namespaces
from undercroft.optimize.llama_library.messages import Message, receive
from undercroft.optimize.llama_library.orders import Order, order_of
from undercroft.optimize.llama_library.process import answers

# In windows of 8 tokens its progress is more than a pipe holds: the worker waits in the middle of it.
LONG_TEXT = "a bird sat on a wire " * 400

CALLER = """
import json, sys
from undercroft.optimize.llama_library.orders import order_of
from undercroft.optimize.llama_library.process import answers
for _ in answers(order_of(json.loads(sys.stdin.readline()))):
    print("answered", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that answers nonsense."""
    return write_chat_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def long_order(model: Path) -> Order:
    return Order("score", str(model), [LONG_TEXT], threads=1, window_tokens=8)


@pytest.fixture
def half_done(model: Path) -> Iterator[Generator[Message, None, None]]:
    """Answers of a worker that has begun and waits to be read."""
    begun = answers(long_order(model))
    assert "progress" in next(begun).header
    yield begun
    begun.close()


def workers(of: int) -> list[psutil.Process]:
    """Warden, first and worker below a process, in this order."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # another test's, which has ended
            if any("llama_library.worker" in word for word in process.cmdline()):
                found.append(process)
    return found


def test_a_worker_that_is_killed_is_an_error(half_done: Iterator[Message]) -> None:
    """Whoever asked goes on, and is told how it ended."""
    workers(os.getpid())[-1].send_signal(signal.SIGKILL)
    with pytest.raises(UnavailableError, match=r"tiny\.gguf is gone: it was ended by SIGKILL") as ended:
        list(half_done)
    assert ended.value.code == "out-of-memory"  # which is why a kernel kills


def test_an_abort_of_the_library_is_an_error(half_done: Iterator[Message]) -> None:
    """A failed check of llama.cpp ends the worker with SIGABRT and nobody else."""
    workers(os.getpid())[-1].send_signal(signal.SIGABRT)
    with pytest.raises(UnavailableError, match="it was ended by SIGABRT") as ended:
        list(half_done)
    assert ended.value.code == "llama-process-ended"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are sealed on Linux only")
def test_the_worker_sees_no_network_and_makes_few_calls(half_done: Iterator[Message]) -> None:
    """Its network has no interface that is up, it gains no privilege, and a filter is on its system calls."""
    assert next(half_done)
    started = workers(os.getpid())
    for process in started:
        assert namespaces.has_empty_network(process.pid)
    lines = Path(f"/proc/{started[-1].pid}/status").read_text(encoding="ascii").splitlines()
    assert "NoNewPrivs:\t1" in lines
    assert "Seccomp:\t2" in lines


@pytest.mark.skipif(landlock.version() < 1, reason="this kernel has no Landlock")
@pytest.mark.parametrize("is_named", [True, False])
def test_the_worker_reads_what_its_order_names_and_nothing_else(model: Path, is_named: bool) -> None:
    """A model that lies there, and is not among what may be read, cannot be loaded."""
    readable = spawning.readable_paths(Path(sys.executable), [model] if is_named else [])
    order = Order("score", str(model), ["a bird"], threads=1, readable=readable)
    worker = [sys.executable, "-P", "-m", "undercroft.optimize.llama_library.worker"]
    with subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.write(json.dumps(order.header()).encode() + b"\n")
        started.stdin.flush()
        answered = receive(started.stdout)
    assert answered is not None
    assert ("progress" in answered.header) == is_named
    assert (answered.header.get("code") == "model-not-loadable") != is_named


def test_nobody_is_left_when_the_caller_stops_asking(model: Path) -> None:
    """Leaving the iteration ends the worker and those above it."""
    begun = answers(long_order(model))
    next(begun)
    started = workers(os.getpid())
    assert len(started) == 3
    begun.close()
    assert psutil.wait_procs(started, timeout=30)[1] == []


def test_nobody_and_nothing_is_left_when_the_caller_is_killed(model: Path, tmp_path: Path) -> None:
    """kill -9 of the caller ends the worker, for its stdin has ended; no temporary file is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", CALLER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write(json.dumps(long_order(model).header()).encode() + b"\n")
        caller.stdin.flush()
        assert caller.stdout.readline() == b"answered\n"
        started = workers(caller.pid)
        assert len(started) == 3
        caller.kill()
        assert psutil.wait_procs(started, timeout=30)[1] == []
    assert list(temporary.iterdir()) == []


def test_memory_that_is_not_there_is_told(model: Path) -> None:
    """A limit below what the library needs is an error about memory, wherever it was met."""
    order = Order("score", str(model), ["a bird"], threads=1, memory_limit_bytes=40_000_000)
    with pytest.raises(UnavailableError, match="ran out of memory") as refused:
        list(answers(order))
    assert refused.value.code == "out-of-memory"


def test_a_file_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    """A missing model is named."""
    with pytest.raises(NotFoundError, match=r"no model file .*/none\.gguf"):
        list(answers(Order("score", str(tmp_path / "none.gguf"), ["a bird"], threads=1)))


def test_half_a_character_is_refused(model: Path) -> None:
    """A text that is no Unicode has no tokens."""
    with pytest.raises(InvalidError, match="half of a surrogate pair"):
        list(answers(Order("score", str(model), ["a \ud800 bird"], threads=1)))


def test_orders_survive_json(model: Path) -> None:
    """What the worker reads is what it was told."""
    order = long_order(model)
    assert order_of(json.loads(json.dumps(order.header()))) == order
