"""Runs a program to its end without a network: ``python -P -m …sealed_program PARENT PROGRAM ARGUMENT …``.

For programs of others that read private files: converters, trainers. Whoever starts it has its stdin, stdout, stderr
and exit status, and takes it along when it ends; its pid is ``PARENT``, so that one that was killed before this process
could ask for that is seen. Where the kernel gives no empty network the program runs with what there is, told to be
offline by its environment, and says so on stderr.
"""

from __future__ import annotations

import os
import signal
import sys

from undercroft.core.processes import die_with_parent
from undercroft.engines.sealing import namespaces

_CANNOT_RUN = 127


def main() -> None:
    """Shuts itself in, starts the program as its child and ends as it does."""
    die_with_parent(int(sys.argv[1]), signal.SIGKILL)
    try:
        namespaces.enter_empty_network()
    except OSError as error:
        print(f"not sealed from the network: {error}", file=sys.stderr, flush=True)
    here = os.getpid()
    child = os.fork()
    if child == 0:
        _become(sys.argv[2:], parent=here)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _become(command: list[str], *, parent: int) -> None:
    die_with_parent(parent, signal.SIGKILL)
    namespaces.drop_capabilities()
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    main()
