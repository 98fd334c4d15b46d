"""The catalogue of devices: every figure has a source, names mean one device, a user's file completes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.damaged_texts import damaged
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.hardware.catalogue import find_device, load_devices, machine_classes, match_device
from undercroft.hardware.devices import Device, Kind

DEVICES = load_devices()
ALL_KINDS: tuple[Kind, ...] = ("gpu", "accelerator", "soc", "npu", "cpu")
GIB = 1024**3

# What the issue asks for; a catalogue without one of them is not done.
WANTED = (
    *("nvidia-t4", "nvidia-l4", "nvidia-l40s", "nvidia-a10", "nvidia-a100-40gb", "nvidia-a100-80gb-pcie"),
    *("nvidia-h100-pcie", "nvidia-h100-sxm", "nvidia-h200", "nvidia-b200"),
    *("nvidia-jetson-orin-nano-8gb", "nvidia-jetson-orin-nx-16gb", "nvidia-jetson-agx-orin-64gb", "nvidia-jetson-thor"),
    *("amd-mi210", "amd-mi300x", "amd-mi325x", "intel-gaudi-2", "intel-gaudi-3", "intel-arc-b580", "google-tpu-v5e"),
    *("google-tpu-v6e", "intel-lunar-lake-npu", "amd-ryzen-ai-max-395", "qualcomm-snapdragon-x-npu", "apple-m1"),
    *("apple-m4-max", "raspberry-pi-5-8gb", "amd-epyc-9554", "intel-xeon-8480", "intel-core-i7-14700k"),
)

# Every GeForce card for desktops from the RTX 3060 to the RTX 5090 that was sold all over the world.
GEFORCE = (
    *("3060-8gb", "3060-12gb", "3060-ti", "3070", "3070-ti", "3080-10gb", "3080-12gb", "3080-ti", "3090", "3090-ti"),
    *("4060", "4060-ti-8gb", "4060-ti-16gb", "4070", "4070-super", "4070-ti", "4070-ti-super", "4080", "4080-super"),
    *("4090", "5050", "5060", "5060-ti-8gb", "5060-ti-16gb", "5070", "5070-ti", "5080", "5090"),
)


def test_the_devices_that_people_ask_for_are_there() -> None:
    """From a T4 to a Raspberry Pi, with every GeForce card from the RTX 3060 on."""
    assert set(WANTED) | {f"nvidia-rtx-{name}" for name in GEFORCE} <= set(DEVICES)


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.id)
def test_a_device_has_a_price_or_a_reason_why_not(device: Device) -> None:
    """Nobody wonders whether a price was forgotten; what has one gives no reason against it."""
    assert (device.price is None) == bool(device.unpriced)


@pytest.mark.parametrize("name", GEFORCE)
def test_rates_of_a_geforce_card_are_dense_and_in_the_ratios_of_its_generation(name: str) -> None:
    """16 bits into 16 are four times single precision; into 32 half of that; 8 bits twice, 4 bits four times."""
    card = DEVICES[f"nvidia-rtx-{name}"]
    whole = card.tflops["fp16"]
    assert whole == pytest.approx(4 * card.tflops["fp32"], rel=0.01)
    assert card.tflops["bf16"] == pytest.approx(whole / 2, rel=0.01)
    assert card.tflops["int8"] == pytest.approx(2 * whole, rel=0.01)
    assert card.tflops["fp4" if name.startswith("50") else "int4"] == pytest.approx(4 * whole, rel=0.01)
    assert ("fp8" in card.tflops) == (not name.startswith("30"))


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.id)
def test_every_figure_has_a_source(device: Device) -> None:
    """Memory, bandwidth, compute, power, and each price with its year."""
    needed = {"bandwidth", "tflops"} | ({"memory"} if device.memory_bytes else set())
    needed |= ({"watts"} if device.watts else set()) | ({"reported"} if device.reported_bytes else set())
    assert needed <= set(device.sources)
    for price in (device.price, device.rent):
        assert price is None or (price.source and price.year >= device.year - 1)
    assert device.remark
    assert device.engines


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.id)
def test_figures_are_plausible(device: Device) -> None:
    """A smaller type is never slower than a larger one and at most four times as fast as fp16: dense, not sparse."""
    order = [device.tflops[dtype] for dtype in ("fp32", "bf16", "fp8") if dtype in device.tflops]
    assert order == sorted(order)
    fp16 = device.tflops.get("fp16", device.tflops.get("bf16"))
    if fp16 is not None:
        assert fp16 >= device.tflops.get("fp32", 0)
        assert all(
            device.tflops[dtype] <= 2.2 * fp16
            for dtype in ("fp8", "int8")
            if dtype in device.tflops and device.kind != "npu"
        )
        assert all(device.tflops[dtype] <= 4.4 * fp16 for dtype in ("fp4", "int4") if dtype in device.tflops)
    if device.reported_bytes:
        assert 0.9 < device.reported_bytes / device.memory_bytes <= 1.0
    assert 10e9 <= device.bandwidth_bytes <= 10e12
    assert device.memory_bytes or device.kind == "npu"


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.id)
def test_every_match_text_means_its_own_device(device: Device) -> None:
    """No other device claims the same name, unless it has another memory."""
    assert device.match
    for text in device.match:
        memory = device.reported_bytes or device.memory_bytes
        assert match_device(text, DEVICES, kinds=ALL_KINDS, memory_bytes=memory) == device.id


@pytest.mark.parametrize(
    ("name", "memory_gib", "expected"),
    [
        ("Tesla T4", 15.0, "nvidia-t4"),
        ("NVIDIA A100-SXM4-80GB", 80, "nvidia-a100-80gb-sxm"),
        ("NVIDIA A100-PCIE-40GB", 40, "nvidia-a100-40gb"),
        ("NVIDIA A100 80GB PCIe", 80, "nvidia-a100-80gb-pcie"),
        ("NVIDIA H100 80GB HBM3", 79.6, "nvidia-h100-sxm"),
        ("NVIDIA L40S", 45, "nvidia-l40s"),
        ("NVIDIA L4", 22.5, "nvidia-l4"),
        ("NVIDIA GeForce RTX 4060 Ti", 16, "nvidia-rtx-4060-ti-16gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 8, "nvidia-rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 4060 Ti", None, None),
        ("NVIDIA GeForce RTX 3060", 8, "nvidia-rtx-3060-8gb"),
        ("NVIDIA GeForce RTX 3060", 12, "nvidia-rtx-3060-12gb"),
        ("NVIDIA GeForce RTX 3080", 10, "nvidia-rtx-3080-10gb"),
        ("NVIDIA GeForce RTX 3080 Ti", 12, "nvidia-rtx-3080-ti"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, "nvidia-rtx-4070-ti-super"),
        ("NVIDIA GeForce RTX 4070 SUPER", 12, "nvidia-rtx-4070-super"),
        ("NVIDIA GeForce RTX 4080 SUPER", 16, "nvidia-rtx-4080-super"),
        ("NVIDIA GeForce RTX 5070 Ti", 16, "nvidia-rtx-5070-ti"),
        ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", 12, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, None),
        ("NVIDIA RTX 6000 Ada Generation", 48, "nvidia-rtx-6000-ada"),
        ("Quadro RTX 6000", 24, None),
        ("AMD Instinct MI300X", 192, "amd-mi300x"),
        ("HL-225", 96, "intel-gaudi-2"),
        ("Intel(R) Xeon(R) Platinum 8480+", None, "intel-xeon-8480"),
        ("AMD EPYC 9554 64-Core Processor", None, "amd-epyc-9554"),
        ("AMD Ryzen 9 7950X3D 16-Core Processor", None, None),
        ("Apple M4", None, "apple-m4"),
        ("Apple M4 Max", None, "apple-m4-max"),
        ("NVIDIA Jetson Orin Nano Developer Kit", None, "nvidia-jetson-orin-nano-8gb"),
        ("", None, None),
        ("AMD EPYC", None, None),
    ],
)
def test_a_drivers_name_means_one_device(name: str, memory_gib: float | None, expected: str | None) -> None:
    """As drivers write it; a laptop's, a faster or a smaller sister of a device is not that device."""
    memory = None if memory_gib is None else int(memory_gib * GIB)
    assert match_device(name, DEVICES, kinds=ALL_KINDS, memory_bytes=memory) == expected


OWN = """
my-card:
  name: My Card
  vendor: other
  kind: gpu
  year: 2026
  memory: 48 GiB
  bandwidth: 1 TB/s
  tflops: {fp16: 100}
  watts: 200
  engines: {llama.cpp: young}
  match: [my card]
"""


def test_a_user_adds_a_device_and_corrects_one(tmp_path: Path) -> None:
    """Fields that are given replace ours and are said to be the user's; the others and their sources stay."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/own.yaml").write_text(OWN)
    (tmp_path / "devices.yaml").write_text(
        "nvidia-l4:\n  bandwidth: 290 GB/s\n  tflops: {fp8: 200}\n"
        "  price: {usd: 2400, year: 2026, source: our supplier}\n"
    )
    devices = load_devices(tmp_path)
    card = devices["nvidia-l4"]
    assert (card.bandwidth_bytes, card.tflops["fp8"], card.tflops["fp16"]) == (290e9, 200, 121)
    assert card.sources["bandwidth"] == "the devices.yaml of this home"
    assert "data sheet" in card.sources["memory"]
    assert card.price is not None
    assert card.price.usd == 2400
    assert match_device("My Card", devices, kinds=("gpu",)) == "my-card"
    assert "my-card" not in load_devices()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nvidia-l4:\n  memory: 24 GB\n", ["'nvidia-l4'", "memory: expected a number and MiB or GiB", "'24 GB'"]),
        ("nvidia-l4:\n  colour: green\n", ["'nvidia-l4'", "colour: there is no such field"]),
        ("x1:\n  name: X\n", ["'x1'", "vendor: is missing", "memory: is missing"]),
        ("nvidia-l4: 5\n", ["'nvidia-l4'", "expected a map of fields, got '5'"]),
        ("- a\n", ["expected a map of device ids"]),
        ("nvidia-l4:\n  price: {usd: -1, year: 2026, source: me}\n", ["price.usd: expected more than 0, got -1"]),
        ("nvidia-l4:\n  engines: {vllm: good}\n", ["engines.vllm: expected 'well-trodden', 'works'", "got 'good'"]),
        ("nvidia-l4:\n  match: L4\n", ["match: expected a list, got 'L4'"]),
        ("nvidia-l4:\n  price: 5\n", ["price: expected a mapping, got 5"]),
        ("nvidia-l4:\n  tflops: {fp17: 3}\n", ["tflops.fp17: expected 'fp32', 'tf32'", "got 'fp17'"]),
        ("My Card:\n  name: X\n", ["the id: expected lower-case words"]),
        ("a: [\n", ["cannot read the device catalogue"]),
    ],
)
def test_a_slip_in_the_users_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """The message says which file, which device, which field, and what was expected there."""
    (tmp_path / "devices.yaml").write_text(text)
    with pytest.raises(InvalidError) as caught:
        load_devices(tmp_path)
    for word in (*words, str(tmp_path / "devices.yaml")):
        assert word in caught.value.message
    assert caught.value.hint


def test_a_damaged_file_is_an_error_of_ours_only(tmp_path: Path) -> None:
    """Whatever stands in the file: devices, or an `InvalidError`."""
    for text in damaged(OWN, count=300, seed=11):
        (tmp_path / "devices.yaml").write_text(text, encoding="utf-8")
        try:
            devices = load_devices(tmp_path)
        except InvalidError:
            continue
        assert len(devices) >= len(DEVICES)


def test_the_example_of_the_guide_is_accepted(tmp_path: Path) -> None:
    """What docs/guide/hardware.md tells people to write is what the catalogue reads."""
    guide = Path(__file__).parent.parent.parent.parent / "docs/guide/hardware.md"
    example = guide.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "devices.yaml").write_text(example, encoding="utf-8")
    devices = load_devices(tmp_path)
    assert devices["our-edge-box"].tflops == {"fp16": 15, "int8": 30}
    assert devices["nvidia-l4"].price is not None
    assert devices["nvidia-l4"].price.source == "offer of our supplier"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia-rtx-4090", "nvidia-rtx-4090"),
        ("rtx 4090", "nvidia-rtx-4090"),
        ("RTX4090", "nvidia-rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "nvidia-rtx-4090"),
        ("raspberry pi 5", "raspberry-pi-5-8gb"),
        ("rtx-5060-ti-16gb", "nvidia-rtx-5060-ti-16gb"),
        ("RTX 4070 Ti Super", "nvidia-rtx-4070-ti-super"),
        ("l4", "nvidia-l4"),
    ],
)
def test_people_write_names_in_many_ways(name: str, expected: str) -> None:
    """Case, spaces, dashes, vendor and the size of the memory may differ where one device is meant."""
    assert find_device(load_devices(), name).id == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("h100", "no device 'h100'; near it: nvidia-h100-pcie, nvidia-h100-sxm"),
        ("rtx-3060", "'rtx-3060' is several devices: nvidia-rtx-3060-12gb, nvidia-rtx-3060-8gb; expected one of them"),
        ("RTX 5060 Ti", "'RTX 5060 Ti' is several devices: nvidia-rtx-5060-ti-16gb, nvidia-rtx-5060-ti-8gb"),
    ],
)
def test_a_name_that_could_be_several_is_not_guessed(name: str, said: str) -> None:
    """Of several devices, or of one with another name, none is taken; the error names them."""
    with pytest.raises(NotFoundError, match=re.escape(said)):
        find_device(load_devices(), name)


def test_a_class_of_machines_is_planned_for_and_not_sold() -> None:
    """It is found by its id, has the memory that its name says and the speed of the slowest of its kind, and stands
    among no devices to buy."""
    found = find_device(DEVICES, "edge-8gb")
    assert (found.memory_bytes, found.price) == (8 * 1024**3, None)
    assert found.bandwidth_bytes == DEVICES["raspberry-pi-5-8gb"].bandwidth_bytes
    assert found.tflops == DEVICES["raspberry-pi-5-8gb"].tflops
    assert not machine_classes().keys() & DEVICES.keys()
    assert [one.memory_bytes for one in machine_classes().values()] == [n * 1024**3 for n in (2, 4, 8, 16)]


def test_a_class_that_is_written_wrongly_is_named() -> None:
    """The message holds the ids that are near."""
    with pytest.raises(NotFoundError, match=r"no device 'edge-9gb'; near it: .*edge-8gb"):
        find_device(DEVICES, "edge-9gb")
