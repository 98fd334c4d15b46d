"""The worker: ``python -P -m undercroft.optimize.llama_library.worker``, with its order on stdin and answers on stdout.

    caller ── warden         leaves the network, waits, ends as the worker ended
                └── first      of the new namespaces: waits; with it everything in them ends
                      └── worker   shuts itself in, loads llama.cpp, answers, ends

A model's file is not trusted: the worker has no network, may read what its order names and write to nothing. An abort
of the C library ends it alone. It ends when its caller ends, since its stdin ends then.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from undercroft.engines.openmp import load_carried
from undercroft.engines.sealing import kernel, landlock, namespaces, seccomp
from undercroft.optimize.llama_library.orders import Order, order_of

_ANSWERING = "undercroft.optimize.llama_library.answering"
_SIGNALLED = 128
_OUT_OF_MEMORY_SCORE = 600  # under memory pressure the kernel takes this process before what serves


def main() -> NoReturn:
    """The warden. It has one thread, as what leaves a network must."""
    if kernel.IS_LINUX:
        with contextlib.suppress(OSError):  # no empty network here: files and calls are limited nevertheless
            namespaces.enter_empty_network()
    code = _run_as_child(_begin)
    if code > _SIGNALLED:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), code - _SIGNALLED)
    os._exit(code)


def _begin() -> NoReturn:
    """The first of its namespace: what ends it ends all. It is not the worker, as the kernel keeps aborts from it."""
    os._exit(_run_as_child(_work_and_end))


def _run_as_child(program: Callable[[], NoReturn]) -> int:
    """Runs it in a child that ends with this process; returns its exit status, or 128 and the signal that ended it."""
    child = os.fork()
    if child == 0:
        if kernel.IS_LINUX:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, int(signal.SIGKILL))
        program()
    _, status = os.waitpid(child, 0)
    return _SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _work_and_end() -> NoReturn:
    """The worker: never returns into the warden's code."""
    status = 1
    try:
        answers = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what the library prints is no answer
        line = sys.stdin.buffer.readline()
        if line:
            order = order_of(json.loads(line))
            load_carried()
            _shut_in(order)
            threading.Thread(target=_end_with_caller, daemon=True).start()
            # Only now: numpy and the library start threads, and what shuts a thread in does not reach older ones.
            import_module(_ANSWERING).answer(order, answers)
        status = 0
    except BaseException as error:  # noqa: BLE001  (the boundary of a process: nothing may escape into a fork's parent)
        print(f"undercroft: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(status)


def _shut_in(order: Order) -> None:
    """Everything but the network; what this kernel does not have is left out."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the user's texts
    if order.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory_limit_bytes, order.memory_limit_bytes))
    if not kernel.IS_LINUX:
        return
    with contextlib.suppress(OSError):  # a container may show this read-only
        Path("/proc/self/oom_score_adj").write_text(str(_OUT_OF_MEMORY_SCORE), encoding="ascii")
    namespaces.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        landlock.restrict(
            readable=[Path(path) for path in order.readable],
            writable=[Path(path) for path in order.devices],
            may_use_tcp=False,
        )
    with contextlib.suppress(OSError):
        seccomp.restrict(may_listen_on_tcp=False)


def _end_with_caller() -> None:
    """Nothing more is ever said on stdin: when it ends, so has the caller."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
