"""How GPUs are, on what nvidia-smi printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from undercroft.hardware.nvidia_smi import parse_xml
from undercroft.serving.doctor.gpu_state import judge_gpu_errors, judge_holders, judge_persistence, judge_throttling

RECORDINGS = Path(__file__).parents[2] / "hardware/recordings"
ILL, WELL = parse_xml((RECORDINGS / "nvidia-smi-h100-ill.xml").read_text(encoding="utf-8"))
MIB = 1024**2


def test_memory_held_by_others_is_told_with_pid_name_and_size() -> None:
    """The one that holds most comes first and is in the command."""
    gpu = replace(ILL, processes={4711: 29000 * MIB, 99: 600 * MIB})
    (verdict,) = judge_holders([gpu], ours=set(), names={4711: "python3"})
    assert verdict.saw == ("GPU 0 is held by other processes: 4711 (python3) 28.3 GiB, 99 (name not known) 600.0 MiB")
    assert verdict.mend == "ps -fp 4711; kill 4711"


def test_our_own_engines_and_a_desktop_are_no_mistake() -> None:
    """What our replicas hold does not count, nor the little that windows take."""
    gpu = replace(ILL, processes={4711: 29000 * MIB, 800: 200 * MIB})
    assert [v.level for v in judge_holders([gpu, WELL], ours={4711}, names={})] == ["ok"]


def test_heat_and_power_limits_are_told_apart() -> None:
    """A GPU that is too hot needs air; one at its power limit is only told of."""
    (hot,) = judge_throttling([ILL, WELL])
    assert hot.saw == "GPU 0 lowers its clock at 89 °C: hw slowdown, hw thermal slowdown"
    assert "fans" in hot.mend
    (full,) = judge_throttling([replace(WELL, throttle_reasons=("sw power cap",))])
    assert (full.level, "-pl WATTS" in full.mend) == ("warning", True)


def test_an_idle_gpu_is_not_throttled() -> None:
    """A clock that is low because there is no work is no mistake."""
    assert [v.level for v in judge_throttling([WELL, replace(WELL, throttle_reasons=("sync boost",))])] == ["ok"]


def test_memory_errors_are_problems() -> None:
    """Errors that could not be corrected, rows that wait, rows that cannot be replaced: each by itself."""
    (errors,) = judge_gpu_errors([ILL, WELL])
    assert (errors.level, errors.saw) == ("problem", "GPU 0: 3 memory errors that could not be corrected")
    waiting = replace(WELL, facts={"row remapping": "pending"})
    assert judge_gpu_errors([waiting])[0].level == "warning"
    broken = replace(WELL, facts={"row remapping": "failed", "ecc uncorrected": "3"})
    assert "cannot be replaced" in judge_gpu_errors([broken])[0].saw


def test_a_gpu_without_errors_is_silent() -> None:
    """Zero errors, or a GPU that counts none."""
    assert [v.level for v in judge_gpu_errors([WELL, replace(WELL, facts={})])] == ["ok"]


def test_persistence_mode_off_is_told_with_the_gpu() -> None:
    """Only GPUs that say it is off; the command has sudo for those who need it."""
    verdict = judge_persistence([ILL, WELL], {"USER": "anna"})
    assert (verdict.saw, verdict.mend) == ("persistence mode is off: GPU 0", "sudo nvidia-smi -pm 1")
    assert judge_persistence([WELL], {}).level == "ok"
    assert judge_persistence([], {}).level == "ok"
