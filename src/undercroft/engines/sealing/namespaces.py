"""An empty network: a network namespace with nothing in it but a loopback that is down.

A user namespace comes with it, so that no privilege is needed and none is left, and a process namespace, so that
nothing survives the first process of it and nothing outside can be signalled.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

from undercroft.engines.sealing import kernel

_NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

# Reading a file that belongs to somebody else: what an administrator's process could do before, and nothing more.
_CAP_DAC_READ_SEARCH = 2
_CAPABILITIES = 64


def enter_empty_network() -> None:
    """Moves this process into namespaces of its own; its next child is the first process of a process namespace.

    The process must have one thread.

    Raises:
        OSError: The kernel gives none, or gives one that is not empty.
    """
    if not kernel.IS_LINUX:
        raise OSError("this operating system has no network namespaces")
    isolated = _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_UTS
    try:
        _enter_with_own_users(isolated)
    except OSError:
        if os.geteuid() != 0:
            raise
        kernel.unshare(isolated)  # root where user namespaces are switched off
    check_empty()


def check_empty() -> None:
    """Looks at this process's own network.

    Raises:
        OSError: There is an interface beside the loopback, or the loopback is up.
    """
    names = interfaces("self")
    if names - {"lo"}:
        raise OSError(f"the new network namespace has interfaces: {', '.join(sorted(names))}")
    if "lo" in names and _is_up("lo"):
        raise OSError("the loopback of the new network namespace is up")


def raise_loopback() -> None:
    """Brings up the loopback of this process's own network, for a program whose parts connect to each other.

    Raises:
        OSError: There is none, or the kernel refused.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def interfaces(process: int | str) -> set[str]:
    """Names of the network interfaces that a process sees.

    Raises:
        OSError: It is gone, or its network may not be seen.
    """
    lines = Path(f"/proc/{process}/net/dev").read_text(encoding="ascii").splitlines()[2:]
    return {line.split(":", 1)[0].strip() for line in lines}


def has_empty_network(pid: int) -> bool:
    """Whether a process has a network namespace that is not ours and holds only a loopback, seen from outside."""
    try:
        is_own = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        return is_own and interfaces(pid) <= {"lo"}
    except OSError:
        return False


def drop_capabilities() -> None:
    """Leaves no capability for what this process executes next, but that of reading where it could read before.

    A process that may not drop any has none to lose.
    """
    for capability in range(_CAPABILITIES):
        if capability == _CAP_DAC_READ_SEARCH:
            continue
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:
            return


def _enter_with_own_users(isolated: int) -> None:
    """Users keep their numbers inside, so that files stay readable."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        kernel.unshare(_NEW_USER | isolated)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
        return
    # Root maps every user that there is, which only a process outside may write: a child that is forked before.
    ready_read, ready_write = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(ready_write)
        _write_maps_of(os.getppid(), ready_read)
    os.close(ready_read)
    try:
        kernel.unshare(_NEW_USER | isolated)
        os.write(ready_write, b"1")
    finally:
        os.close(ready_write)
        _, status = os.waitpid(writer, 0)
    if status != 0:
        raise OSError("the users of the new namespace could not be mapped")


def _write_maps_of(pid: int, ready: int) -> None:
    """In the child: waits for the word, writes both maps and ends; never returns."""
    status = 1
    try:
        if os.read(ready, 1) == b"1":
            for name in ("uid_map", "gid_map"):
                extents = Path(f"/proc/self/{name}").read_text(encoding="ascii").splitlines()
                inside = [(line.split()[0], line.split()[2]) for line in extents]
                lines = "".join(f"{first} {first} {count}\n" for first, count in inside)
                Path(f"/proc/{pid}/{name}").write_text(lines, encoding="ascii")
            status = 0
    finally:
        os._exit(status)


def _is_up(interface: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("16sh14x", interface.encode(), 0)
        answer: bytes = fcntl.ioctl(asking, _SIOCGIFFLAGS, request)
        return bool(struct.unpack_from("16sh", answer)[1] & _IFF_UP)
