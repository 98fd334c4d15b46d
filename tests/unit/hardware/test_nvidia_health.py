"""What nvidia-smi says of a GPU's health."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.hardware.test_nvml import COMPILER, build
from undercroft.hardware.nvidia_smi import parse_xml
from undercroft.hardware.nvml import read_gpus

RECORDED = (Path(__file__).parent / "recordings/nvidia-smi-h100-ill.xml").read_text(encoding="utf-8")


def test_errors_rows_and_persistence_are_read() -> None:
    """Uncorrected errors since the driver's start are summed over SRAM and DRAM; corrected and older ones are not."""
    ill, well = parse_xml(RECORDED)
    assert (ill.facts["ecc uncorrected"], ill.facts["row remapping"]) == ("3", "pending")
    assert ill.facts["persistence"] == "Disabled"
    assert (well.facts["ecc uncorrected"], well.facts["persistence"]) == ("0", "Enabled")
    assert "row remapping" not in well.facts


def test_a_row_that_cannot_be_replaced_is_worse_than_one_that_waits() -> None:
    """A failed remapping is told before a pending one."""
    failed = RECORDED.replace("<remapped_row_failure>No<", "<remapped_row_failure>Yes<", 1)
    assert parse_xml(failed)[0].facts["row remapping"] == "failed"


def test_counters_that_are_not_there_are_not_known() -> None:
    """A GPU without ECC says N/A, which is not zero."""
    without = RECORDED.replace(">0</", ">N/A</").replace(">1</", ">N/A</").replace(">2</", ">N/A</")
    assert "ecc uncorrected" not in parse_xml(without)[1].facts


def test_counters_of_older_gpus_are_read() -> None:
    """Before Ampere, errors of two bits stand under ``double_bit``."""
    older = """<nvidia_smi_log><gpu><product_name>Tesla V100-SXM2-16GB</product_name><ecc_errors><volatile>
        <single_bit><total>7</total></single_bit><double_bit><device_memory>2</device_memory><total>2</total></double_bit>
        </volatile></ecc_errors></gpu></nvidia_smi_log>"""
    assert parse_xml(older)[0].facts["ecc uncorrected"] == "2"


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler to build the library that is called")
def test_the_library_tells_the_same(tmp_path: Path) -> None:
    """Of all its counters that of uncorrected errors since the driver's start; what it refuses is not known."""
    gpus = read_gpus(build(tmp_path, "-DHEALTH"))
    assert gpus is not None
    ill, well = gpus[0].facts, gpus[1].facts
    assert (ill["persistence"], ill["ecc uncorrected"], ill["row remapping"]) == ("Disabled", "3", "pending")
    assert well["persistence"] == "Enabled"
    assert not {"ecc uncorrected", "row remapping"} & set(well)
