"""Device files of GPUs: there, and may be opened."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.serving.doctor.findings import Check, Verdict, fine, warn
from undercroft.serving.doctor.scene import Scene

_NVIDIA_BUS_ID, _AMD_BUS_ID = "0x10de", "0x1002"
# PCI classes of display and 3D controllers (03xxxx) and of processing accelerators (12xxxx).
_GPU_CLASSES = ("0x03", "0x12")


@dataclass(frozen=True, slots=True)
class Node:
    """A device file.

    Args:
        name: ``nvidiactl``, ``dri/renderD128``.
        error: Number of the error that opening it gives; 0 where it opens.
    """

    name: str
    error: int


@dataclass(frozen=True, slots=True)
class GpuAccess:
    """What the kernel shows of GPUs.

    Args:
        on_bus: ``nvidia``, ``amd``: whose GPUs are on the PCI bus.
        has_nvidia_driver: The NVIDIA kernel module is loaded.
        has_amd_driver: The amdgpu kernel module is loaded.
        nodes: Device files that there are.
        is_container: This process runs in one.
    """

    on_bus: frozenset[str]
    has_nvidia_driver: bool
    has_amd_driver: bool
    nodes: tuple[Node, ...]
    is_container: bool


def judge_access(access: GpuAccess) -> list[Verdict]:
    """Whether GPUs that are in this machine can be used by this process."""
    verdicts = [*_judge_nvidia(access), *_judge_amd(access)]
    if verdicts:
        return verdicts
    if not access.nodes and not access.on_bus:
        return [fine("no GPU, and no device file of one")]
    return [fine(f"{len(access.nodes)} device files can be opened")]


def _judge_nvidia(access: GpuAccess) -> list[Verdict]:
    nodes = [node for node in access.nodes if node.name.startswith("nvidia")]
    if not nodes:
        return _judge_no_nvidia_node(access)
    verdicts = _judge_closed(nodes, "video", access.is_container, "--device nvidia.com/gpu=all")
    names = {node.name for node in nodes}
    if not verdicts and "nvidiactl" in names and "nvidia-uvm" not in names:
        verdicts.append(
            warn(
                "/dev/nvidia-uvm is missing",
                "podman run --device /dev/nvidia-uvm …" if access.is_container else "nvidia-modprobe -u -c=0",
                why="CUDA cannot start without it; nvidia-smi works all the same.",
            )
        )
    return verdicts


def _judge_no_nvidia_node(access: GpuAccess) -> list[Verdict]:
    if access.has_nvidia_driver:
        return [
            warn(
                "the NVIDIA driver is loaded, and /dev/nvidia* is not here",
                "podman run --device nvidia.com/gpu=all … (docker run --gpus all …)"
                if access.is_container
                else "nvidia-modprobe -u -c=0",
            )
        ]
    if "nvidia" not in access.on_bus:
        return []
    mend = (
        "start the container with the GPU: podman run --device nvidia.com/gpu=all …"
        if access.is_container
        else "install the driver (Debian: apt-get install nvidia-driver; Ubuntu: ubuntu-drivers install), reboot"
    )
    return [warn("an NVIDIA GPU is on the bus, and no NVIDIA driver is loaded", mend)]


def _judge_amd(access: GpuAccess) -> list[Verdict]:
    if not access.has_amd_driver or "amd" not in access.on_bus:
        return []
    nodes = [node for node in access.nodes if node.name == "kfd" or node.name.startswith("dri/render")]
    passed = "--device /dev/kfd --device /dev/dri"
    if "kfd" not in {node.name for node in nodes}:
        mend = f"podman run {passed} …" if access.is_container else "modprobe amdgpu"
        return [warn("an AMD GPU is here, and /dev/kfd is not: ROCm cannot compute", mend)]
    return _judge_closed(nodes, "render,video", access.is_container, passed)


def _judge_closed(nodes: Sequence[Node], groups: str, is_container: bool, passed: str) -> list[Verdict]:
    closed = [node for node in nodes if node.error]
    if not closed:
        return []
    names = ", ".join(f"/dev/{node.name}" for node in closed)
    # Opening a device that a control group forbids gives EPERM; a file mode that does not allow it gives EACCES.
    if any(node.error == errno.EPERM for node in closed):
        return [
            warn(
                f"the control group does not let this process open {names}",
                f"podman run {passed} …" if is_container else "systemctl edit SERVICE: DeviceAllow=char-nvidia rw",
            )
        ]
    if any(node.error == errno.EACCES for node in closed):
        mend = f"podman run --group-add keep-groups {passed} …" if is_container else f"usermod -aG {groups} $USER"
        return [warn(f"no permission to open {names}", mend)]
    return [warn(f"cannot open {names}: {os.strerror(closed[0].error)}", "dmesg | grep -i -e nvrm -e amdgpu")]


def observe_access(scene: Scene, *, is_container: bool) -> GpuAccess:
    """Looks at the bus, the drivers and the device files. Opening one starts nothing on the GPU."""
    vendors = {_NVIDIA_BUS_ID: "nvidia", _AMD_BUS_ID: "amd"}
    on_bus = set()
    for device in scene.find("sys/bus/pci/devices/*"):
        folder = device.relative_to(scene.root)
        if scene.read(f"{folder}/class").startswith(_GPU_CLASSES):
            on_bus.add(vendors.get(scene.read(f"{folder}/vendor").strip(), ""))
    nodes = []
    for pattern in ("nvidiactl", "nvidia-uvm", "nvidia[0-9]*", "kfd", "dri/renderD*"):
        for path in scene.find(f"dev/{pattern}"):
            name = str(path.relative_to(scene.root / "dev"))
            # Opening /dev/nvidia0 wakes a GPU that sleeps, which takes seconds: for these the mode has to do.
            is_gpu = name.startswith("nvidia") and name[6:].isdigit()
            nodes.append(Node(name, _access_error(str(path)) if is_gpu else _open_error(str(path))))
    return GpuAccess(
        on_bus=frozenset(on_bus - {""}),
        has_nvidia_driver=bool(scene.read("proc/driver/nvidia/version")),
        has_amd_driver=(scene.root / "sys/module/amdgpu").exists(),
        nodes=tuple(nodes),
        is_container=is_container,
    )


def _access_error(path: str) -> int:
    return 0 if os.access(path, os.R_OK | os.W_OK) else errno.EACCES


def _open_error(path: str) -> int:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


CHECKS = (
    Check(
        "GPU access",
        "GPUs on the PCI bus, their drivers, `/dev/nvidia*`, `/dev/kfd`, `/dev/dri`: missing, not passed into the "
        "container, or closed by file mode or control group",
        "The GPU is there and cannot be used: everything runs on the CPU.",
        lambda scene: judge_access(observe_access(scene, is_container=scene.machine().is_container)),
    ),
)
