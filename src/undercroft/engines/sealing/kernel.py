"""System calls that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os
import sys

IS_LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, first: int = 0, second: ctypes.Array[ctypes.c_char] | None = None) -> None:
    """One setting of the calling process.

    Raises:
        OSError: The kernel refused.
    """
    _check(_libc.prctl(option, ctypes.c_ulong(first), second, 0, 0), "prctl")


def unshare(flags: int) -> None:
    """Leaves the namespaces named by ``flags`` for new ones.

    Raises:
        OSError: The kernel refused.
    """
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Mounts, in this process's mount namespace.

    Raises:
        OSError: The kernel refused.
    """
    names = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*names, ctypes.c_ulong(flags), None), f"mount {target}")


def system_call(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Any other system call; integers are passed as longs, buffers by address.

    Raises:
        OSError: The kernel refused.
    """
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *passed), f"system call {number}")


def _check(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result
