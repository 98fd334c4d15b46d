"""The system calls an engine may make: it answers connections, it never makes one.

A network namespace does not hide Unix sockets that lie in the file system (those of our control process, of a
container engine, of a name service). So ``connect`` is refused altogether, by a filter, which Linux has since 2012.

Source: ``linux/seccomp.h``, ``linux/bpf_common.h``, ``asm/unistd_64.h`` and ``asm-generic/unistd.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass

from undercroft.engines.sealing import kernel

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_FILTER_MODE = 2
_NETLINK = 16  # asks the kernel for the interfaces of one's own network
_TYPE_MASK = 0xF  # the rest of a socket's type are flags

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """How a processor's calls are numbered.

    Args:
        architecture: ``AUDIT_ARCH_…``.
        socket: Number of ``socket``.
        socketpair: Number of ``socketpair``.
        connect: Number of ``connect``.
        refused: Numbers of what is refused whatever its arguments are.
        foreign_from: Numbers from here on are another convention's; 0 where there is none.
    """

    architecture: int
    socket: int
    socketpair: int
    connect: int
    refused: tuple[int, ...]
    foreign_from: int = 0


# Refused: connect, ptrace, unshare, perf_event_open, open_by_handle_at, setns, process_vm_readv, process_vm_writev,
# bpf, userfaultfd; and with one number everywhere io_uring_setup, whose requests pass by every filter, and pidfd_getfd.
_EVERYWHERE = (425, 438)
MACHINES = {
    "x86_64": Machine(
        0xC000003E, 41, 53, 42, (42, 101, 272, 298, 304, 308, 310, 311, 321, 323, *_EVERYWHERE), foreign_from=0x40000000
    ),
    "aarch64": Machine(0xC00000B7, 198, 199, 203, (203, 117, 97, 241, 265, 268, 270, 271, 280, 282, *_EVERYWHERE)),
}


def program(machine: Machine, *, may_listen_on_tcp: bool, may_connect: bool = False) -> list[Instruction]:
    """The filter: no connection is made, and no socket but a Unix stream (or, where asked for, a TCP one) is opened.

    Args:
        machine: Of this processor.
        may_listen_on_tcp: TCP sockets are opened, too.
        may_connect: For a program whose parts connect to each other in a network of their own: connections are made,
            and sockets of every type are opened that lead into that network.
    """
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, machine.architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.foreign_from:
        steps += [(_JUMP_AT_LEAST, 0, 1, machine.foreign_from), (_RETURN, 0, 0, _REFUSE)]
    refused = [number for number in machine.refused if not (may_connect and number == machine.connect)]
    for number in refused:
        steps += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    steps += [(_JUMP_EQUAL, 2, 0, machine.socket), (_JUMP_EQUAL, 1, 0, machine.socketpair), (_RETURN, 0, 0, _ALLOW)]
    families = [int(socket.AF_UNIX)] + ([int(socket.AF_INET)] if may_listen_on_tcp else [])
    if may_connect:
        families += [int(socket.AF_INET6), _NETLINK]
    steps += [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for index, family in enumerate(families):
        steps += [(_JUMP_EQUAL, len(families) - index, 0, family)]
    steps += [
        (_RETURN, 0, 0, _REFUSE),
    ]
    if not may_connect:
        steps += [
            (_LOAD, 0, 0, _SECOND_ARGUMENT),
            (_AND, 0, 0, _TYPE_MASK),
            (_JUMP_EQUAL, 1, 0, int(socket.SOCK_STREAM)),
            (_RETURN, 0, 0, _REFUSE),
        ]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def restrict(*, may_listen_on_tcp: bool, may_connect: bool = False) -> None:
    """Puts the filter on this process and what it executes. ``no_new_privs`` must be set before.

    Raises:
        OSError: This machine's calls are not known here, or the kernel refused.
    """
    machine = MACHINES.get(os.uname().machine) if kernel.IS_LINUX else None
    if machine is None:
        raise OSError(f"the system calls of {os.uname().sysname} on {os.uname().machine} are not known here")
    install(program(machine, may_listen_on_tcp=may_listen_on_tcp, may_connect=may_connect))


def install(steps: list[Instruction]) -> None:
    """Puts a filter on this process and what it executes.

    Raises:
        OSError: The kernel refused.
    """
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count, padding, a pointer.
    header = struct.pack("@HP", len(steps), ctypes.addressof(instructions))
    kernel.prctl(kernel.PR_SET_SECCOMP, _FILTER_MODE, ctypes.create_string_buffer(header, len(header)))
