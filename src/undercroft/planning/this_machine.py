"""This machine as forecasts take it, with what was measured on it: the same for admission and for plans."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from undercroft.core.errors import InvalidError
from undercroft.hardware.catalogue import load_devices
from undercroft.hardware.machine import Machine
from undercroft.hardware.measurements import newest
from undercroft.planning.measured import measured_of
from undercroft.planning.targets import Target
from undercroft.planning.targets_of import target_of_machine


def target_here(machine: Machine, connection: Connection | None, home: Path | None) -> Target:
    """The machine with its measurements and the catalogue's figures of its accelerators.

    Args:
        machine: As detected.
        connection: To the database of the home; None where there is none yet.
        home: Root of the home, whose devices complete the catalogue; None for none.
    """
    found = newest(connection) if connection is not None else ()
    try:
        devices = load_devices(home) if machine.accelerators else {}
    except InvalidError:  # detection has noted the slip in the user's file
        devices = load_devices()
    return target_of_machine(machine, measured_of(found, machine), devices)
