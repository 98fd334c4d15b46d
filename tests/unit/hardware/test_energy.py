"""Meters of energy: counted where there are some, and never invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.hardware.energy import EnergyCounter, Reading, read_meters


def zone(folder: Path, name: str, used: int, most: int = 262_143_328_850) -> None:
    """A meter as the kernel shows it."""
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "energy_uj").write_text(f"{used}\n", encoding="ascii")
    (place / "max_energy_range_uj").write_text(f"{most}\n", encoding="ascii")


def test_packages_are_counted_and_their_parts_are_not(tmp_path: Path) -> None:
    """`intel-rapl:0` is a package; `intel-rapl:0:0` is in it; another folder is no meter."""
    zone(tmp_path, "intel-rapl:0", 5_000_000)
    zone(tmp_path, "intel-rapl:1", 7_000_000)
    zone(tmp_path, "intel-rapl:0:0", 1_000_000)
    zone(tmp_path, "dtpm", 1)
    found = {name: reading for name, reading in read_meters(tmp_path).items() if not name.startswith("gpu")}
    assert {name: reading.joules for name, reading in found.items()} == {"intel-rapl:0": 5.0, "intel-rapl:1": 7.0}


def test_energy_is_added_up_also_where_a_meter_begins_again() -> None:
    """Three joules, then four over the end of a meter that goes to ten, and one of a second meter."""
    shown = {"intel-rapl:0": Reading(5.0, 10.0), "gpu-0": Reading(100.0, None)}
    counter = EnergyCounter(lambda: dict(shown))
    shown["intel-rapl:0"] = Reading(8.0, 10.0)
    assert counter.look() == 3.0
    shown.update({"intel-rapl:0": Reading(2.0, 10.0), "gpu-0": Reading(101.0, None)})
    assert counter.look() == 8.0
    assert counter.meters == "processor packages (RAPL) and GPUs (NVML)"


@pytest.mark.parametrize("content", [None, "nothing\n"])
def test_a_meter_that_cannot_be_read_gives_no_figure(tmp_path: Path, content: str | None) -> None:
    """No folder, or one whose files say nothing: None, and not zero."""
    if content is not None:
        zone(tmp_path, "intel-rapl:0", 1)
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text(content, encoding="ascii")
    folder = tmp_path if content is not None else tmp_path / "none"
    rapl = {name: reading for name, reading in read_meters(folder).items() if not name.startswith("gpu")}
    assert rapl == {}
    assert EnergyCounter(lambda: rapl).look() is None
