"""What was measured here counts wherever this machine is forecast."""

from __future__ import annotations

from pathlib import Path

from undercroft.core.home import Home
from undercroft.hardware.detection import detect
from undercroft.hardware.measurements import Measurement, store
from undercroft.planning.this_machine import target_here
from undercroft.storage.database import Database


def measured_home(tmp_path: Path, bandwidth: float) -> tuple[Home, Database]:
    """A home where the memory of this machine's processor was measured."""
    home = Home(tmp_path / "home")
    home.prepare()
    database = Database(home.database_file)
    figure = Measurement("memory-bandwidth", detect(home.root).processor.name, bandwidth, "read, all threads")
    store(database, [figure], actor="test")
    return home, database


def test_a_target_has_what_was_measured(tmp_path: Path) -> None:
    """Its bandwidth is the stored one, and says so; without a database it is guessed, and says that."""
    home, database = measured_home(tmp_path, 123e9)
    machine = detect(home.root)
    with database.read() as connection:
        found = target_here(machine, connection, home.root).host.bandwidth
    assert found.value == 123e9
    assert found.source.startswith("measured here")
    assert "guessed" in target_here(machine, None, home.root).host.bandwidth.source
