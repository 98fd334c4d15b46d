"""The machine that a model has to fit: this one, a size of memory, a device or a class of the catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.hardware.catalogue import find_device, load_devices
from undercroft.hardware.detection import detect
from undercroft.planning.targets import Pool, Target
from undercroft.planning.targets_of import target_of_device
from undercroft.planning.this_machine import target_here

HERE = "here"
_HERE = (HERE, "this machine", "this-machine", "this")
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([kmgt]i?b?)", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class FitMachine:
    """Where a model has to run.

    Args:
        name: In words.
        target: With the memory that a model may take, and its rates.
        is_here: It is this machine, so that what runs here is measured as it will be.
        limit_bytes: Of memory, where a size was given; None where the machine says it.
    """

    name: str
    target: Target
    is_here: bool
    limit_bytes: int | None = None


def find_machine(text: str, home: Home, connection: Connection, *, has_gpu_engine: bool) -> FitMachine:
    """The machine that a text names.

    Args:
        text: ``here``; a size such as ``8GB``, which limits the memory on this machine; a device or class of the
            catalogue, such as ``edge-8gb``.
        home: Its devices complete the catalogue.
        connection: To its database, for what was measured here.
        has_gpu_engine: Whether the engine here can use accelerators.

    Raises:
        InvalidError: ``bad-size``: there is no such memory.
        NotFoundError: ``no-such-device``, with the nearest.
    """
    wanted = text.strip()
    size = size_of(wanted)
    if size is None and wanted.lower() not in _HERE:
        try:
            device = find_device(load_devices(home.root), wanted)
        except NotFoundError as error:
            raise NotFoundError(
                error.code,
                f"{error.message}; expected a device or class of it, {HERE!r}, or a size of memory such as '8GB'",
                hint=error.hint,
            ) from error
        return FitMachine(device.name, target_of_device(device), is_here=False)
    target = target_here(detect(home.root), connection, home.root)
    if not has_gpu_engine:
        target = replace(target, accelerators=(), link_bandwidth=None)
    if size is None:
        return FitMachine("this machine", target, is_here=True)
    return FitMachine(f"this machine with {format_bytes(size)}", _limited(target, size), is_here=True, limit_bytes=size)


def size_of(text: str) -> int | None:
    """Bytes of a size of memory, which counts in powers of 1,024 as memory is sold; None for what is no size.

    Raises:
        InvalidError: ``bad-size``: it is nothing.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    size = int(float(found[1]) * 1024 ** _POWERS[found[2][0].lower()])
    if not size:
        raise InvalidError("bad-size", f"expected a size of memory above 0, got {text!r}", hint="--fit 8GB")
    return size


def _limited(target: Target, size: int) -> Target:
    """With no more memory than a size: that of accelerators where there are any."""

    def limited(pool: Pool) -> Pool:
        return replace(pool, total_bytes=size, available_bytes=size)

    if target.accelerators:
        return replace(target, accelerators=tuple(limited(pool) for pool in target.accelerators))
    return replace(target, host=limited(target.host))
