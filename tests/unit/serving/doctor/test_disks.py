"""Disks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.serving.doctor.conftest import GIB
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.home import Home
from undercroft.hardware.machine import Disk
from undercroft.serving.doctor.disks import Room, judge_kind, judge_room, judge_speed, observe_room
from undercroft.serving.doctor.stored_state import read_disk_speed
from undercroft.storage.database import Database
from undercroft.storage.tables import measurements

ROOM = Room(free_bytes=80 * GIB, files=6_000_000, free_files=5_000_000, is_read_only=False)
DISK = Disk("/home/anna/.undercroft", "/", "ext4", 100 * GIB, 80 * GIB, is_network=False, is_rotating=False)


@pytest.mark.parametrize(
    ("room", "level", "saw"),
    [
        (replace(ROOM, free_bytes=GIB), "warning", "1.0 GiB free where the home /data lies"),
        (replace(ROOM, free_files=400), "warning", "400 of 6,000,000 file numbers (inodes) are free"),
        (replace(ROOM, is_read_only=True), "problem", "/data is mounted read-only"),
    ],
)
def test_a_full_disk_is_told(room: Room, level: str, saw: str) -> None:
    """Bytes, inodes, and a disk that the kernel made read-only after an error."""
    assert [(v.level, v.saw) for v in judge_room(room, "/data")] == [(level, saw)]


@pytest.mark.parametrize(
    "room", [ROOM, replace(ROOM, files=0, free_files=0), replace(ROOM, files=2000, free_files=1990)]
)
def test_a_disk_with_room_is_silent(room: Room) -> None:
    """Also a file system that makes inodes as it needs them (btrfs, 0 of 0), and a small one."""
    assert [v.level for v in judge_room(room, "/data")] == ["ok"]


def test_room_is_looked_at(tmp_path: Path) -> None:
    """Of the file system on which a folder lies."""
    assert observe_room(tmp_path).free_bytes > 0


@pytest.mark.parametrize(
    ("disk", "saw"),
    [
        (replace(DISK, kind="nfs4", mount="/mnt/nas", is_network=True), "nfs4 (/mnt/nas), a disk of another machine"),
        (replace(DISK, kind="tmpfs", mount="/tmp"), "tmpfs (/tmp)"),
        (replace(DISK, kind="overlay"), "overlay (/)"),
        (replace(DISK, is_rotating=True), "a spinning disk"),
    ],
)
def test_disks_that_do_not_suit_models(disk: Disk, saw: str) -> None:
    """Each with its own reason: the network, memory, a container's layer, a spinning disk."""
    verdict = judge_kind(disk)
    assert (verdict.level, saw in verdict.saw) == ("warning", True)
    assert "UNDERCROFT_HOME" in verdict.mend or "podman run -v" in verdict.mend


@pytest.mark.parametrize("disk", [DISK, replace(DISK, is_rotating=None), replace(DISK, kind="", mount="")])
def test_disks_that_do(disk: Disk) -> None:
    """A local one, one of a virtual machine, one that is not known."""
    assert judge_kind(disk).level == "ok"


def test_a_slow_disk_is_told_as_measured(tmp_path: Path) -> None:
    """The newest stored measurement counts; without one nothing is claimed."""
    home = Home(tmp_path)
    assert judge_speed(read_disk_speed(home)).saw == "not measured yet: undercroft hardware measure"
    database = Database(home.database_file)
    with database.write() as connection:
        for day, value in ((20, 3e9), (21, 90e6)):
            at = to_iso(utc_now().replace(year=2026, month=11, day=day))
            row = {"at": at, "kind": "disk-read", "device": "/", "value": value, "detail": {}}
            connection.execute(measurements.insert().values(row))
    database.close()
    slow = judge_speed(read_disk_speed(home))
    assert (slow.level, slow.why) == ("warning", "A model of 5 GB takes 56 s to load.")
    assert judge_speed(3e9).level == "ok"
