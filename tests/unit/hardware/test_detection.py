"""The machine as a whole: tools that are missing or broken, shared memory, devices seen twice, names matched."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from undercroft.hardware.catalogue import load_devices
from undercroft.hardware.detection import completed, detect
from undercroft.hardware.machine import Accelerator, HostMemory, Processor
from undercroft.hardware.nvidia import detect as detect_nvidia
from undercroft.hardware.readings import as_bytes, as_json, as_number, as_switch, as_text
from undercroft.hardware.vendor_tools import Found, run_tool

GIB = 1024**3
PROCESSOR = Processor("AMD EPYC 9554 64-Core Processor", "x86_64", 64, 128, frozenset({"avx2"}))
MEMORY = HostMemory(64 * GIB, 50 * GIB, 64 * GIB, None, 0)


def tool(folder: Path, name: str, script: str) -> None:
    """An executable of that name, found before any other."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_a_tool_that_is_not_there_is_no_problem() -> None:
    """Nothing is said of hardware that nobody has."""
    answer = run_tool(["no-such-tool-smi"])
    assert (answer.is_there, answer.text, answer.problem) == (False, "", "")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (
            "echo 'Failed to initialize NVML: Insufficient Permissions'; exit 4",
            "Failed to initialize NVML: Insufficient",
        ),
        ("exec sleep 600", "did not answer within 1 s"),
        ("sleep 600\necho late", "did not answer within 1 s"),
        ("exit 9", "exit status 9"),
        ("printf '\\377\\376' >&2; exit 1", "some-smi: "),
    ],
)
def test_a_tool_that_fails_says_why(tools: Path, script: str, problem: str) -> None:
    """No permission, no answer, no reason, no text: one line each, never an exception."""
    tool(tools, "some-smi", script)
    answer = run_tool(["some-smi"], timeout_seconds=1.0)
    assert answer.is_there
    assert answer.text == ""
    assert problem in answer.problem


def test_an_older_nvidia_smi_is_asked_again_without_what_it_does_not_know(tools: Path) -> None:
    """The field that is refused is left out, everything else is known."""
    tool(
        tools,
        "nvidia-smi",
        'case "$1" in\n'
        "*compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;;\n"
        "--query-gpu*) echo '0, Tesla K80, GPU-1, 11441, 11440, 149.00, 26.05, 30, Enabled, [N/A], 418.67';;\n"
        "*) echo 'garbage';;\n"
        "esac",
    )
    found = detect_nvidia()
    assert [(gpu.name, gpu.compute_capability, gpu.driver_version) for gpu in found.accelerators] == [
        ("Tesla K80", "", "418.67")
    ]


def test_a_driver_that_does_not_answer_stands_in_the_notes(tools: Path) -> None:
    """A machine whose driver is broken still says what else it is."""
    tool(tools, "nvidia-smi", 'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the driver."; exit 9')
    machine = detect()
    assert machine.accelerators == ()
    assert any("couldn't communicate with the driver" in note for note in machine.notes)
    assert machine.processor.logical_cores >= 1


def test_shared_memory_is_the_hosts() -> None:
    """A GPU without memory of its own has the host's, as far as the host may use it."""
    spark = Accelerator("nvidia", 0, "NVIDIA GB10", None, is_unified=True)
    machine = completed(processor=PROCESSOR, memory=MEMORY, disks=(), found=[Found((spark,))], devices=load_devices())
    assert machine.accelerators[0].memory_bytes == 64 * GIB
    assert machine.accelerators[0].free_bytes == 50 * GIB
    assert machine.accelerators[0].catalogue_id == "nvidia-dgx-spark"
    assert machine.processor.catalogue_id == "amd-epyc-9554"


def test_a_jetson_is_one_accelerator() -> None:
    """The board's name stays, because the driver's says only the family."""
    board = Accelerator("nvidia", 0, "NVIDIA Jetson AGX Orin Developer Kit", None, is_unified=True)
    by_driver = Accelerator("nvidia", 0, "Orin (nvgpu)", None, is_unified=True)
    machine = completed(
        processor=PROCESSOR,
        memory=MEMORY,
        disks=(),
        found=[Found((board,)), Found((by_driver,))],
        devices=load_devices(),
    )
    assert [a.catalogue_id for a in machine.accelerators] == ["nvidia-jetson-agx-orin-64gb"]


def test_a_device_seen_twice_is_one() -> None:
    """What the vendor's tool says stays, the kernel's view of the same address goes."""
    by_tool = Accelerator("amd", 0, "AMD Instinct MI300X", 192 * GIB, facts={"pci": "0000:0c:00.0"})
    by_kernel = Accelerator(
        "amd", 0, "AMD Instinct MI300X", 192 * GIB, facts={"pci": "0000:0c:00.0", "driver": "amdgpu"}
    )
    another = Accelerator("amd", 1, "AMD Instinct MI300X", 192 * GIB, facts={"pci": "0000:0d:00.0"})
    machine = completed(
        processor=PROCESSOR,
        memory=MEMORY,
        disks=(),
        found=[Found((by_tool,), ("AMD: slow",)), Found((by_kernel, another))],
        devices=load_devices(),
        notes=("first",),
    )
    assert [a.facts["pci"] for a in machine.accelerators] == ["0000:0c:00.0", "0000:0d:00.0"]
    assert machine.accelerators[0].catalogue_id == "amd-mi300x"
    assert machine.notes == ("first", "AMD: slow")


def test_a_slip_in_the_users_catalogue_does_not_blind(tmp_path: Path) -> None:
    """Detection goes on with the built-in devices and says so."""
    (tmp_path / "devices.yaml").write_text("nvidia-l4: 5\n")
    machine = detect(tmp_path)
    assert any("devices.yaml" in note and "the built-in catalogue is used" in note for note in machine.notes)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("72.00 W", 72.0),
        ({"value": 3, "unit": "C"}, 3.0),
        ("[N/A]", None),
        (True, None),
        (float("nan"), None),
        ("٣", None),
    ],
)
def test_a_number_is_read_or_not_known(value: object, number: float | None) -> None:
    """Units are left out, what is no number is None."""
    assert as_number(value) == number


def test_sizes_texts_and_switches_are_read_or_not_known() -> None:
    """With their unit, without it, and neither."""
    assert as_bytes("15360 MiB") == as_bytes("15360", unit="MiB") == 15 * GIB
    assert as_bytes("15360 parsecs") is None
    assert as_bytes("-5 MiB") is None
    assert as_text("[Not Supported]") == ""
    assert as_text(" a\n b\x07") == "a b"
    assert [as_switch(text) for text in ("Enabled", "Not Active", "perhaps")] == [True, False, None]
    assert as_json('warning [x]\n{"a": 1} bye') == {"a": 1}
    assert as_json("[" * 100_000) is None
