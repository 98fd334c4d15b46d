"""AMD, Gaudi, Jetson, Apple and what the kernel knows, out of what their tools print and the kernel's files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.damaged_texts import damaged
from undercroft.hardware import apple, habana, jetson
from undercroft.hardware.amd import parse_amd_smi, parse_rocm_smi
from undercroft.hardware.kernel_devices import detect as detect_kernel_devices

MIB = 1024**2
GIB = 1024**3


def test_amd_smi_tells_of_a_server_gpu(recording: Callable[[str], str]) -> None:
    """Static facts and current figures of the same GPU come together; a whole GPU has no parts."""
    (gpu,) = parse_amd_smi(recording("amd-smi-static-mi300x.json"), recording("amd-smi-metric-mi300x.json"))
    assert (gpu.name, gpu.memory_bytes, gpu.free_bytes) == ("AMD Instinct MI300X", 196592 * MIB, 192000 * MIB)
    assert (gpu.compute_capability, gpu.driver_version, gpu.has_ecc) == ("gfx942", "6.10.5", True)
    assert (gpu.power_limit_watts, gpu.power_draw_watts, gpu.temperature_celsius) == (750, 141, 42)
    assert gpu.mig_instances == ()
    assert gpu.facts["pci"] == "0000:0c:00.0"


def test_amd_smi_of_a_newer_release_is_understood(recording: Callable[[str], str]) -> None:
    """A warning before the JSON and the list inside an object change nothing."""
    (gpu,) = parse_amd_smi(recording("amd-smi-static-release-7.json"))
    assert (gpu.name, gpu.memory_bytes, gpu.power_limit_watts) == ("AMD Radeon RX 7900 XTX", 24560 * MIB, 339)
    assert gpu.free_bytes is None
    assert gpu.bandwidth_bytes == 960e9


def test_a_divided_amd_gpu_says_how(recording: Callable[[str], str]) -> None:
    """A compute partition other than the whole GPU stands with the parts."""
    (gpu,) = parse_amd_smi(recording("amd-smi-static-mi300x.json").replace('"SPX"', '"CPX"'))
    assert gpu.mig_instances == ("CPX",)


def test_rocm_smi_tells_less_and_is_enough(recording: Callable[[str], str]) -> None:
    """Cards come in their order; a name that is only a number is not taken for one."""
    first, second = parse_rocm_smi(recording("rocm-smi.json"))
    assert (first.name, first.power_draw_watts, first.free_bytes) == ("Phoenix3", 7.222, None)
    assert (second.name, second.index, second.driver_version) == ("Radeon RX 7900 XTX", 1, "6.7.0")
    assert second.free_bytes == 25753026560 - 27856896
    assert (second.power_limit_watts, second.temperature_celsius) == (339, 41)


def test_hl_smi_tells_of_gaudi(recording: Callable[[str], str]) -> None:
    """Memory, heat and power with their units; N/A is not known."""
    first, second = habana.parse_query(recording("hl-smi.csv"))
    assert (first.vendor, first.name, first.memory_bytes, first.free_bytes) == (
        "habana",
        "HL-225",
        98304 * MIB,
        97536 * MIB,
    )
    assert (first.temperature_celsius, first.power_draw_watts) == (26, 98)
    assert (second.free_bytes, second.power_draw_watts) == (None, None)


def test_a_jetson_is_known_by_its_board(tmp_path: Path) -> None:
    """Name, release and capability; another board is none."""
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\x00")
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    (gpu,) = jetson.detect(tmp_path).accelerators
    assert (gpu.name, gpu.driver_version, gpu.compute_capability) == (
        "NVIDIA Jetson Orin Nano Developer Kit",
        "L4T 36.4.3",
        "8.7",
    )
    assert gpu.is_unified
    assert jetson.describe("Raspberry Pi 5 Model B Rev 1.0", "") is None


def test_tegrastats_tells_memory_power_and_heat(recording: Callable[[str], str]) -> None:
    """One line of it, in our units."""
    assert jetson.parse_tegrastats(recording("tegrastats.txt")) == {
        "used_bytes": 2453 * MIB,
        "total_bytes": 7620 * MIB,
        "power_watts": 4.823,
        "gpu_celsius": 44.812,
    }


def test_a_mac_tells_its_chip_and_memory(recording: Callable[[str], str]) -> None:
    """Memory is shared; how much of it the GPU may hold stands with the facts where it was set."""
    gpu = apple.parse_profile(recording("system-profiler-m4-max.json"), "98304\n")
    assert gpu is not None
    assert (gpu.name, gpu.memory_bytes, gpu.is_unified) == ("Apple M4 Max", 128 * GIB, True)
    assert (gpu.facts["gpu cores"], gpu.facts["gpu memory limit"]) == ("40", "98304 MiB")
    intel = recording("system-profiler-m4-max.json").replace("Apple M4 Max", "AMD Radeon Pro 5500M")
    assert apple.parse_profile(intel) is None


def bus(root: Path, address: str, files: dict[str, str], *, driver: str = "", of_class: str = "") -> None:
    """A PCI device in a ``/sys``, with a driver and a name in a class where these are given."""
    device = root / "devices" / address
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(text + "\n")
    if driver:
        (root / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(root / "drivers" / driver)
    if of_class:
        (root / "class" / of_class).mkdir(parents=True)
        (root / "class" / of_class / "device").symlink_to(device)
    (root / "bus/pci/devices").mkdir(parents=True, exist_ok=True)
    (root / "bus/pci/devices" / address).symlink_to(device)


def test_the_kernel_knows_gpus_and_npus_without_tools(tmp_path: Path) -> None:
    """An Arc, an NPU that shares the host's memory and an AMD card with its memory; a server's display is none."""
    bus(tmp_path, "0000:00:0b.0", {"vendor": "0x8086", "device": "0x643e"}, driver="intel_vpu", of_class="accel/accel0")
    bus(tmp_path, "0000:03:00.0", {"vendor": "0x8086", "device": "0xe20b"}, driver="xe", of_class="drm/card0")
    vram = {"mem_info_vram_total": str(24 * GIB), "mem_info_vram_used": str(GIB)}
    bus(
        tmp_path,
        "0000:05:00.0",
        {"vendor": "0x1002", "device": "0x744c", **vram},
        driver="amdgpu",
        of_class="drm/card1",
    )
    bus(tmp_path, "0000:07:00.0", {"vendor": "0x1a03", "device": "0x2000"}, driver="ast", of_class="drm/card2")
    found = detect_kernel_devices(tmp_path)
    assert [(a.vendor, a.name, a.is_unified) for a in found.accelerators] == [
        ("intel", "Intel Arc B580", False),
        ("amd", "AMD GPU 0x744c", False),
        ("intel", "Intel AI Boost NPU (Lunar Lake)", True),
    ]
    assert found.accelerators[1].free_bytes == 23 * GIB
    assert found.notes == ()


def test_a_gpu_without_its_driver_is_told_of(tmp_path: Path) -> None:
    """It is on the bus and nobody has taken it, or a driver that cannot compute has."""
    bus(tmp_path, "0000:01:00.0", {"vendor": "0x10de", "device": "0x2684", "class": "0x030000"})
    bus(tmp_path, "0000:02:00.0", {"vendor": "0x10de", "device": "0x2204"}, driver="nouveau", of_class="drm/card0")
    bus(tmp_path, "0000:09:00.0", {"vendor": "0x8086", "device": "0x1533", "class": "0x020000"})
    found = detect_kernel_devices(tmp_path)
    assert found.accelerators == ()
    assert found.notes == (
        "nvidia: the GPU at 0000:02:00.0 has the driver nouveau, which cannot compute",
        "nvidia: a device 0x2684 is on the bus at 0000:01:00.0, and no driver has taken it; "
        "nvidia-smi comes with the driver",
    )


@pytest.mark.parametrize(
    ("name", "parse"),
    [
        ("amd-smi-static-mi300x.json", parse_amd_smi),
        ("amd-smi-static-release-7.json", parse_amd_smi),
        ("rocm-smi.json", parse_rocm_smi),
        ("hl-smi.csv", habana.parse_query),
        ("system-profiler-m4-max.json", lambda text: [found] if (found := apple.parse_profile(text, text)) else []),
    ],
)
def test_damaged_output_is_never_an_exception(
    recording: Callable[[str], str], name: str, parse: Callable[[str], list[apple.Accelerator]]
) -> None:
    """Cut, garbled, foreign or empty output gives fewer accelerators or figures, and each is plausible."""
    for text in damaged(recording(name), count=500, seed=13):
        for accelerator in parse(text):
            assert accelerator.index >= 0
            assert accelerator.memory_bytes is None or 0 <= accelerator.memory_bytes < 2**60


def test_damaged_figures_of_a_metric_are_never_an_exception(recording: Callable[[str], str]) -> None:
    """The second file of amd-smi, and a line of tegrastats."""
    static = recording("amd-smi-static-mi300x.json")
    for text in damaged(recording("amd-smi-metric-mi300x.json"), count=300, seed=17):
        assert parse_amd_smi(static, text)[0].name == "AMD Instinct MI300X"
    for text in damaged(recording("tegrastats.txt"), count=300, seed=17):
        assert all(isinstance(value, int | float) for value in jetson.parse_tegrastats(text).values())
