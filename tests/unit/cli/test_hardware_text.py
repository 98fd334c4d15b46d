"""A machine in words: everything that matters, within 80 columns."""

from __future__ import annotations

from undercroft.cli.hardware_text import describe_device, describe_machine, describe_measurements, devices_table
from undercroft.hardware.catalogue import load_devices
from undercroft.hardware.machine import Accelerator, Disk, HostMemory, Machine, Processor
from undercroft.hardware.measurements import Measurement

GIB = 1024**3
MACHINE = Machine(
    processor=Processor("Intel(R) Xeon(R) Platinum 8480+", "x86_64", 112, 224, frozenset({"avx2", "amx_int8"}), 2),
    memory=HostMemory(64 * GIB, 50 * GIB, 512 * GIB, 64 * GIB, GIB, (256 * GIB, 256 * GIB)),
    disks=(Disk("/home", "/home", "nfs4", 1000 * GIB, 10 * GIB, True, None),),
    accelerators=(
        Accelerator(
            vendor="nvidia",
            index=0,
            name="NVIDIA A100-SXM4-80GB",
            memory_bytes=80 * GIB,
            free_bytes=40 * GIB,
            catalogue_id="nvidia-a100-80gb-sxm",
            compute_capability="8.0",
            power_limit_watts=400,
            power_draw_watts=398,
            temperature_celsius=83,
            has_ecc=True,
            mig_instances=("0: 39.2 GiB",),
            throttle_reasons=("sw thermal slowdown",),
            driver_version="550.54.15",
            processes={4711: GIB},
        ),
    ),
    is_container=True,
    notes=("AMD: amd-smi did not answer within 20 s",),
    model="Dell Inc. PowerEdge XE8545",
)


def test_a_machine_says_everything_within_eighty_columns() -> None:
    """Limits, network disks, heat, parts and processes are not left out."""
    lines = describe_machine(MACHINE)
    text = " ".join(" ".join(lines).split())
    for words in (
        "Dell Inc. PowerEdge XE8545, in a container",
        "112 cores, 224 threads, 2 sockets",
        "amx_int8 avx2",
        "64.0 GiB, 50.0 GiB free; limited by a control group; the machine has 512.0 GiB",
        "NUMA nodes of 256.0 GiB, 256.0 GiB",
        "on another machine: models load slowly from there",
        "80.0 GiB, 40.0 GiB free",
        "398 of 400 W; 83 °C; ECC on; divided into 0: 39.2 GiB; slowed down: sw thermal slowdown",
        "used by processes 4711; in the catalogue: nvidia-a100-80gb-sxm",
        "note AMD: amd-smi did not answer within 20 s",
    ):
        assert words in text
    assert max(map(len, lines)) <= 80


def test_measurements_stand_under_what_they_are_of() -> None:
    """With their dates; without any, the command that makes some."""
    measured = [
        Measurement("disk-read", "/", 3.4e9, "cold", at="2026-11-21T10:00:00.000Z"),
        Measurement("disk-read", "/", 26e9, "warm", at="2026-11-22T10:00:00.000Z"),
        Measurement("matrix", "EPYC", 1.5e12, "f16", at="2026-11-21T10:00:00.000Z"),
    ]
    lines = describe_measurements(measured)
    assert lines[0] == "disk read, / (2026-11-21 to 2026-11-22)"
    assert lines[1].split() == ["cold", "3.4", "GB/s"]
    assert lines[-1].split() == ["f16", "1.500", "TFLOP/s"]
    assert "undercroft hardware measure" in describe_measurements([])[0]


def test_every_device_can_be_described() -> None:
    """A row in the table, and a page with the source of every figure, within 80 columns."""
    known = load_devices()
    assert [row[0] for row in devices_table(known)] == list(known)
    for device in known.values():
        lines = describe_device(device)
        assert max(map(len, lines)) <= 80
        text = " ".join(" ".join(lines).split())
        assert " ".join(device.sources["bandwidth"].split()).replace("-", "") in text.replace("- ", "").replace("-", "")
