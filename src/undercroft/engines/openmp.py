"""The OpenMP library that llama.cpp needs, where the system has none.

The wheel of llama.cpp links against ``libgomp.so.1``, which minimal systems and container images do not have. A wheel
that we depend on carries a copy under another name; a link with the right name, in a folder that the engine's process
searches, makes it do.
"""

from __future__ import annotations

import ctypes
import functools
import re
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

LIBRARY = "libgomp.so.1"
_CARRIER = "pykdtree"
# The name that whoever bundled the copy gave it: another one than what is asked for, and longer.
_OTHER_NAME = re.compile(rb"libgomp-[0-9a-f]+\.so[0-9.]*\0")


def has_system_library() -> bool:
    """Whether the system's loader finds it."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def carried_library() -> Path | None:
    """The copy that came with our dependencies; None where there is none for this platform."""
    try:
        carried = [file for file in files(_CARRIER) or [] if file.name.startswith("libgomp")]
    except PackageNotFoundError:
        return None
    return Path(str(carried[0].locate())).resolve() if carried else None


def with_library(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """An environment in which a new process finds the library; the same one where the system has it.

    Args:
        environment: Of the process to start.
        folder: Exists; gets the link where one is needed.
    """
    carried = None if has_system_library() else carried_library()
    if carried is None:
        return environment
    link = folder / LIBRARY
    if not link.is_symlink():
        link.symlink_to(carried)
    searched = [str(folder), environment.get("LD_LIBRARY_PATH", "")]
    return {**environment, "LD_LIBRARY_PATH": ":".join(part for part in searched if part)}


@functools.cache
def load_carried() -> None:
    """Makes the carried copy count as the library in this process, where the system has none.

    What is loaded afterwards and needs the library finds it by its name, so a copy whose name is the right one is
    loaded; its file is not needed any more once that is done. Does nothing where no copy is carried.

    Raises:
        OSError: There is no room for the copy, or it cannot be loaded.
    """
    carried = None if has_system_library() else carried_library()
    if carried is not None:
        load_as_system_library(carried)


def load_as_system_library(carried: Path) -> None:
    """Loads a copy under the name that the system's library has.

    Args:
        carried: The copy, bundled under a name of its own.

    Raises:
        OSError: It cannot be written again, or not be loaded.
    """
    name = LIBRARY.encode()
    content = _OTHER_NAME.sub(lambda match: name.ljust(len(match[0]), b"\0"), carried.read_bytes())
    with tempfile.NamedTemporaryFile(suffix=f"-{LIBRARY}") as file:
        file.write(content)
        file.flush()
        ctypes.CDLL(file.name, mode=ctypes.RTLD_GLOBAL)
