"""Device files of GPUs, on folders that look like /sys, /proc and /dev."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from undercroft.serving.doctor.gpu_access import GpuAccess, Node, judge_access, observe_access
from undercroft.serving.doctor.scene import Scene

NVIDIA_ON_BUS = {
    "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
}
DRIVER = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 2023"
}
NODES = {"dev/nvidiactl": "", "dev/nvidia0": "", "dev/nvidia-uvm": ""}
AMD = {
    "sys/bus/pci/devices/0000:03:00.0/vendor": "0x1002\n",
    "sys/bus/pci/devices/0000:03:00.0/class": "0x120000\n",
    "sys/module/amdgpu/refcnt": "3\n",
}


def look(
    made_scene: Callable[..., Scene], files: dict[str, str], *, is_container: bool = False
) -> tuple[str, str, str]:
    (verdict,) = judge_access(observe_access(made_scene(files), is_container=is_container))
    return verdict.level, verdict.saw, verdict.mend


def test_a_gpu_that_can_be_used_is_silent(made_scene: Callable[..., Scene]) -> None:
    """Driver, control device, GPU and unified memory are there and open."""
    assert look(made_scene, {**NVIDIA_ON_BUS, **DRIVER, **NODES})[:2] == ("ok", "3 device files can be opened")


def test_a_machine_without_a_gpu_is_silent(made_scene: Callable[..., Scene]) -> None:
    """A network card of the same bus is no GPU."""
    card = {
        "sys/bus/pci/devices/0000:02:00.0/vendor": "0x10de\n",
        "sys/bus/pci/devices/0000:02:00.0/class": "0x020000\n",
    }
    assert look(made_scene, card)[0] == "ok"


def test_a_gpu_without_a_driver(made_scene: Callable[..., Scene]) -> None:
    """It is on the bus and no kernel module has taken it."""
    level, saw, mend = look(made_scene, NVIDIA_ON_BUS)
    assert (level, "no NVIDIA driver is loaded" in saw) == ("warning", True)
    assert "nvidia-driver" in mend


@pytest.mark.parametrize(("is_container", "mend"), [(True, "nvidia.com/gpu=all"), (False, "nvidia-modprobe")])
def test_a_driver_without_device_files(made_scene: Callable[..., Scene], is_container: bool, mend: str) -> None:
    """In a container the device was not passed; on the machine itself it is made."""
    level, saw, command = look(made_scene, {**NVIDIA_ON_BUS, **DRIVER}, is_container=is_container)
    assert (level, "/dev/nvidia* is not here" in saw, mend in command) == ("warning", True, True)


def test_missing_unified_memory(made_scene: Callable[..., Scene]) -> None:
    """nvidia-smi works without it and CUDA does not."""
    level, saw, _ = look(made_scene, {**NVIDIA_ON_BUS, **DRIVER, "dev/nvidiactl": "", "dev/nvidia0": ""})
    assert (level, saw) == ("warning", "/dev/nvidia-uvm is missing")


def test_a_device_file_that_does_not_open(made_scene: Callable[..., Scene]) -> None:
    """Whatever the reason, it is named; a folder in its place does not open for anybody, root included."""
    files = {**NVIDIA_ON_BUS, **DRIVER, "dev/nvidiactl/in-the-way": "", "dev/nvidia-uvm": ""}
    level, saw, _ = look(made_scene, files)
    assert (level, saw) == ("warning", "cannot open /dev/nvidiactl: Is a directory")


@pytest.mark.parametrize(
    ("number", "is_container", "mend"),
    [
        (errno.EPERM, True, "--device nvidia.com/gpu=all"),
        (errno.EPERM, False, "DeviceAllow"),
        (errno.EACCES, False, "usermod -aG video"),
        (errno.EACCES, True, "keep-groups"),
    ],
)
def test_who_forbids_a_device_decides_the_remedy(number: int, is_container: bool, mend: str) -> None:
    """The control group gives EPERM, the file's mode gives EACCES."""
    nodes = (Node("nvidiactl", number), Node("nvidia-uvm", 0))
    (verdict,) = judge_access(GpuAccess(frozenset({"nvidia"}), True, False, nodes, is_container))
    assert verdict.level == "warning"
    assert mend in verdict.mend


def test_an_amd_gpu_without_its_compute_device(made_scene: Callable[..., Scene]) -> None:
    """The graphics node alone does not let ROCm compute."""
    level, saw, mend = look(made_scene, {**AMD, "dev/dri/renderD128": ""}, is_container=True)
    assert (level, "/dev/kfd is not" in saw) == ("warning", True)
    assert "--device /dev/kfd --device /dev/dri" in mend


def test_an_amd_gpu_that_can_be_used(made_scene: Callable[..., Scene]) -> None:
    """Both nodes are there and open."""
    assert look(made_scene, {**AMD, "dev/kfd": "", "dev/dri/renderD128": ""})[0] == "ok"
