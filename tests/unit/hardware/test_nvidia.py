"""NVIDIA GPUs out of what nvidia-smi prints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.damaged_texts import damaged
from undercroft.hardware.nvidia_smi import QUERY_FIELDS, is_unified, merge, parse_query, parse_xml, refused_field

MIB = 1024**2


def test_a_query_tells_of_each_gpu(recording: Callable[[str], str]) -> None:
    """Memory, capability, power, heat, error correction and driver stand in the CSV; N/A is not known."""
    first, second = parse_query(recording("nvidia-smi-query-a100.csv"))
    assert (first.name, first.index, first.compute_capability) == ("NVIDIA A100-SXM4-80GB", 0, "8.0")
    assert (first.memory_bytes, first.free_bytes) == (81920 * MIB, 81037 * MIB)
    assert (first.power_limit_watts, first.power_draw_watts, first.temperature_celsius) == (400.0, 61.52, 33.0)
    assert first.has_ecc is True
    assert first.driver_version == "535.129.03"
    assert (second.free_bytes, second.power_draw_watts) == (None, None)


def test_the_log_tells_what_the_query_does_not(recording: Callable[[str], str]) -> None:
    """Processes, throttle reasons, MIG parts and the CUDA version stand in the XML; an idle clock is no throttling."""
    first, second = parse_xml(recording("nvidia-smi-a100.xml"))
    assert first.runtime_version == "12.2"
    assert first.processes == {4711: 40960 * MIB, 4712: 0}
    assert first.throttle_reasons == ("sw power cap", "sw thermal slowdown")
    assert first.power_draw_watts == 398.21
    assert first.facts["pcie width"] == "16x"
    assert second.mig_instances == ("0: 39.2 GiB", "1")
    assert second.throttle_reasons == ()
    assert second.power_limit_watts == 400.0


def test_both_looks_become_one(recording: Callable[[str], str]) -> None:
    """GPUs are paired by UUID, whatever their order; the newer figure of the query stays, gaps are filled."""
    queried = parse_query(recording("nvidia-smi-query-a100.csv"))
    merged = merge(queried, list(reversed(parse_xml(recording("nvidia-smi-a100.xml")))))
    assert [gpu.index for gpu in merged] == [0, 1]
    assert merged[0].free_bytes == 81037 * MIB
    assert merged[0].processes
    assert merged[0].compute_capability == "8.0"
    assert merged[1].mig_instances
    assert merged[1].facts["mig"] == "Enabled"


def test_one_look_is_enough(recording: Callable[[str], str]) -> None:
    """Where one of the two said nothing, the other's GPUs are kept."""
    logged = parse_xml(recording("nvidia-smi-a100.xml"))
    assert merge([], logged) == logged
    assert merge(logged, []) == logged


def test_a_gpu_in_the_hosts_memory_says_so(recording: Callable[[str], str]) -> None:
    """A GB10 reports no memory of its own, because it has none."""
    (gpu,) = parse_query(recording("nvidia-smi-query-spark.csv"))
    assert gpu.is_unified
    assert gpu.memory_bytes is None
    assert not is_unified("Tesla T4")


def test_an_older_tool_names_the_field_it_does_not_know() -> None:
    """The refusal of nvidia-smi is understood, so that the question can be asked again without that field."""
    assert refused_field('nvidia-smi: Field "compute_cap" is not a valid field to query.') == "compute_cap"
    assert refused_field("nvidia-smi: No devices were found") is None


def test_fewer_fields_are_read_too() -> None:
    """Without compute capability the rest is still known."""
    fields = [field for field in QUERY_FIELDS if field != "compute_cap"]
    (gpu,) = parse_query("0, Tesla K80, GPU-1, 11441, 11441, 149.00, 26.05, 30, Enabled, [N/A], 418.67\n", fields)
    assert (gpu.memory_bytes, gpu.compute_capability, gpu.driver_version) == (11441 * MIB, "", "418.67")


@pytest.mark.parametrize("name", ["nvidia-smi-query-t4.csv", "nvidia-smi-query-a100.csv", "nvidia-smi-a100.xml"])
def test_damaged_output_is_never_an_exception(recording: Callable[[str], str], name: str) -> None:
    """Cut, garbled, foreign or empty output gives fewer GPUs or fewer figures, and every figure is plausible."""
    for text in damaged(recording(name), count=400, seed=7):
        for gpu in merge(parse_query(text), parse_xml(text)):
            assert gpu.name
            assert gpu.index >= 0
            assert gpu.memory_bytes is None or 0 <= gpu.memory_bytes < 2**60
