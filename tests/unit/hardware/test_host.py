"""Processor, main memory, control groups and disks, out of what the kernel says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tests.support.damaged_texts import damaged
from undercroft.hardware.computer import is_container, read_model
from undercroft.hardware.control_groups import (
    Limits,
    droppable_bytes,
    parse_limit,
    parse_membership,
    parse_mounts,
    parse_quota,
    read_limits,
)
from undercroft.hardware.disks import containing, decide_rotating, read_disk
from undercroft.hardware.disks import parse_mounts as parse_systems
from undercroft.hardware.main_memory import parse_node, read_memory, under_limits
from undercroft.hardware.processors import (
    compute_threads,
    count_cores,
    parse_cpuinfo,
    parse_sysctl,
    read_processor,
    usable_cores,
)

GIB = 1024**3


def test_an_x86_processor_tells_its_instruction_sets(recording: Callable[[str], str]) -> None:
    """Two sockets of an EPYC, with AVX-512 and VNNI and without AMX."""
    found = parse_cpuinfo(recording("cpuinfo-epyc.txt"))
    assert found.name == "AMD EPYC 9554 64-Core Processor"
    assert found.sockets == 2
    assert {"avx2", "avx512f", "avx512_vnni"} <= found.features
    assert "amx_int8" not in found.features
    assert "amx_int8" in parse_cpuinfo(recording("cpuinfo-xeon-amx.txt")).features


def test_an_arm_processor_has_a_name_and_neon(recording: Callable[[str], str]) -> None:
    """The numbers of an ARM core become its name, the kernel's asimd becomes neon."""
    found = parse_cpuinfo(recording("cpuinfo-raspberry-pi-5.txt"))
    assert found.name == "Cortex-A76"
    assert found.features == {"neon", "dotprod"}


def test_a_macs_processor_is_read_from_sysctl(recording: Callable[[str], str]) -> None:
    """Apple's names of instruction sets become ours."""
    found = parse_sysctl(recording("sysctl-m4-max.txt"))
    assert (found.name, found.sockets) == ("Apple M4 Max", 1)
    assert found.features == {"neon", "dotprod", "bf16", "i8mm", "sme"}
    for text in damaged(recording("sysctl-m4-max.txt"), count=200, seed=3):
        assert parse_sysctl(text).sockets >= 1


@pytest.mark.parametrize("name", ["cpuinfo-epyc.txt", "cpuinfo-raspberry-pi-5.txt"])
def test_damaged_cpuinfo_is_never_an_exception(recording: Callable[[str], str], name: str) -> None:
    """Cut, garbled or empty: at least one socket, and only instruction sets that we know."""
    for text in damaged(recording(name), count=200, seed=3):
        found = parse_cpuinfo(text)
        assert found.sockets >= 1
        assert all(feature.isascii() for feature in found.features)


def test_hyper_threads_are_one_core() -> None:
    """CPUs with the same siblings are one core; without topology every CPU counts."""
    assert count_cores(["0,4", "1,5", "0,4", "1,5"], 4) == 2
    assert count_cores(["", ""], 3) == 3


def test_a_quota_bounds_the_cores() -> None:
    """A container's share is rounded up, and there is always one core."""
    assert [parse_quota(text) for text in ("150000 100000", "50000 100000\n", "max 100000", "", "x y", "1 0")] == [
        1.5,
        0.5,
        None,
        None,
        None,
        None,
    ]
    assert [usable_cores(8, quota) for quota in (None, 1.5, 0.2, 64.0)] == [8, 2, 1, 8]
    assert 1 <= compute_threads() <= (os.cpu_count() or 1)


def test_this_processor_is_read() -> None:
    """What this machine says is at least consistent."""
    found = read_processor()
    assert found.name
    assert 1 <= found.physical_cores <= found.logical_cores <= (os.cpu_count() or 1)


def kernel(folder: Path, membership: str, mounts: str, files: dict[str, str]) -> Path:
    """A ``/proc`` with this membership and these mounts, and group files below the mount points."""
    (folder / "self").mkdir(parents=True)
    (folder / "self/cgroup").write_text(membership)
    (folder / "self/mountinfo").write_text(mounts.replace("ROOT", str(folder)))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_version_two_limits_hold_over_all_groups_above(tmp_path: Path) -> None:
    """The smallest limit counts, wherever it stands; pages that the kernel would drop count as room."""
    proc = kernel(
        tmp_path,
        "0::/app/model\n",
        "30 23 0:26 / ROOT/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        {
            "v2/app/memory.max": f"{4 * GIB}\n",
            "v2/app/memory.current": f"{3 * GIB}\n",
            "v2/app/memory.stat": f"anon 1\nfile 2\ninactive_file {GIB}\n",
            "v2/app/model/memory.max": "max\n",
            "v2/app/cpu.max": "max 100000\n",
            "v2/app/model/cpu.max": "150000 100000\n",
        },
    )
    assert read_limits(proc) == Limits(4 * GIB, 2 * GIB, 1.5)


def test_version_one_limits_are_read_per_controller(tmp_path: Path) -> None:
    """Memory and CPU lie in hierarchies of their own, and the root's huge number means no limit."""
    proc = kernel(
        tmp_path,
        "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/\n",
        "31 23 0:27 / ROOT/memory rw - cgroup cgroup rw,memory\n"
        "32 23 0:28 / ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 23 0:29 / ROOT/unified rw - cgroup2 cgroup2 rw\n",
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/docker/ab/memory.limit_in_bytes": f"{GIB}\n",
            "memory/docker/ab/memory.usage_in_bytes": f"{GIB // 2}\n",
            "memory/docker/ab/memory.stat": "total_inactive_file 1024\n",
            "cpu/docker/ab/cpu.cfs_quota_us": "200000\n",
            "cpu/docker/ab/cpu.cfs_period_us": "100000\n",
            "unified/cgroup.procs": "",
        },
    )
    assert read_limits(proc) == Limits(GIB, GIB // 2 + 1024, 2.0)


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    """An old container is told its path on the host, while its mount shows the group itself at the top."""
    proc = kernel(
        tmp_path,
        "4:memory:/docker/ab\n",
        "31 23 0:27 /docker/ab ROOT/memory rw - cgroup cgroup rw,memory\n",
        {"memory/memory.limit_in_bytes": f"{2 * GIB}\n", "memory/memory.usage_in_bytes": "0\n"},
    )
    assert read_limits(proc).memory_bytes == 2 * GIB


def test_no_control_groups_is_no_limit(tmp_path: Path) -> None:
    """A system without them (or that hides them) limits nothing."""
    assert read_limits(tmp_path) == Limits()


def test_damaged_control_groups_are_never_an_exception() -> None:
    """Whatever stands in the kernel's files, reading them gives something or nothing."""
    sound = f"{GIB}\n"
    for text in damaged(sound, count=200, seed=5):
        limit = parse_limit(text)
        assert limit is None or 0 <= limit < 2**60
        quota = parse_quota(text)
        assert quota is None or quota > 0
        assert droppable_bytes(text) >= 0
    for text in damaged("4:memory:/a/b\n0::/c\n", count=200, seed=5):
        assert all(path.is_absolute() for path in parse_membership(text).values())
    for text in damaged("31 23 0:27 / /m rw - cgroup cgroup rw,memory\n", count=200, seed=5):
        parse_mounts(text)
        parse_systems(text)


def test_memory_is_what_the_control_group_leaves() -> None:
    """Total and available are cut down to the limit and to the room under it; a limit above the machine is none."""
    cut = under_limits(
        machine_bytes=32 * GIB,
        available_bytes=20 * GIB,
        swap_used_bytes=0,
        limits=Limits(memory_bytes=8 * GIB, memory_room_bytes=3 * GIB),
    )
    assert (cut.total_bytes, cut.available_bytes, cut.machine_bytes, cut.limit_bytes) == (
        8 * GIB,
        3 * GIB,
        32 * GIB,
        8 * GIB,
    )
    wide = under_limits(
        machine_bytes=4 * GIB, available_bytes=GIB, swap_used_bytes=5, limits=Limits(64 * GIB, 60 * GIB)
    )
    assert (wide.total_bytes, wide.available_bytes, wide.limit_bytes) == (4 * GIB, GIB, None)


def test_numa_nodes_are_told_apart(tmp_path: Path) -> None:
    """Two nodes are two sizes, in their order; a node without memory is left out."""
    for number, kilobytes in ((0, 1024), (1, 0), (10, 4096)):
        folder = tmp_path / f"node{number}"
        folder.mkdir()
        (folder / "meminfo").write_text(f"Node {number} MemTotal:       {kilobytes} kB\nNode {number} MemFree: 1 kB\n")
    assert read_memory(tmp_path).numa_nodes == (1024 * 1024, 4096 * 1024)
    assert parse_node("nonsense") is None


MOUNTS = (
    "22 1 253:1 / / rw,relatime - ext4 /dev/vda1 rw\n"
    "40 22 0:40 / /models rw,relatime - nfs4 server:/models rw\n"
    "41 22 8:1 / /mnt/with\\040blank rw - xfs /dev/sda1 rw\n"
    "42 22 0:44 / /mnt/with\\040blank/upper rw - fuse.sshfs host: rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/models/a.gguf", "nfs4"),
        ("/mnt/with blank/a", "xfs"),
        ("/mnt/with blank/upper/b", "fuse.sshfs"),
    ],
)
def test_a_path_lies_on_the_deepest_mount(path: str, kind: str) -> None:
    """The longest mount point above a path is its file system; blanks in names are understood."""
    found = containing(parse_systems(MOUNTS), PurePosixPath(path))
    assert found is not None
    assert found.kind == kind


def test_virtual_disks_do_not_turn() -> None:
    """A virtual machine's disk says that it turns whatever lies below: that is not known."""
    assert decide_rotating("sda", "1\n") is True
    assert decide_rotating("nvme0n1", "0\n") is False
    assert decide_rotating("vda", "1\n") is None
    assert decide_rotating("sda", "?") is None


def test_a_disk_of_this_machine_is_read(tmp_path: Path) -> None:
    """Also for a folder that is not there yet."""
    disk = read_disk(tmp_path / "not" / "yet")
    assert 0 <= disk.free_bytes <= disk.total_bytes
    assert disk.mount


def test_the_board_says_its_name(tmp_path: Path) -> None:
    """The device tree wins over the firmware; a placeholder of the firmware is no name."""
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("To Be Filled By O.E.M.\n")
    assert read_model(tmp_path) == ""
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("Dell Inc.\n")
    (tmp_path / "sys/class/dmi/id/product_name").write_text("PowerEdge R760\n")
    assert read_model(tmp_path) == "Dell Inc. PowerEdge R760"
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\x00")
    assert read_model(tmp_path) == "Raspberry Pi 5 Model B Rev 1.0"


def test_a_container_is_known_by_its_marks(tmp_path: Path) -> None:
    """A bare machine has none of the marks that container runtimes leave."""
    assert not is_container(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.containerenv").touch()
    assert is_container(tmp_path)
