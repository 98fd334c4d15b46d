"""Environment variables: each check warns of its mistake, and is silent without it."""

from __future__ import annotations

import pytest

from undercroft.hardware.machine import Accelerator, Vendor
from undercroft.serving.doctor.variables import (
    judge_locale,
    judge_openmp,
    judge_proxy,
    judge_visible_devices,
    shown_devices,
)

UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1d7b6c55-0002-4c0e-8e7a-444444444444", "", "")


def gpus(count: int, vendor: Vendor = "nvidia") -> list[Accelerator]:
    return [
        Accelerator(vendor, i, "L4", 24 * 1024**3, facts={"uuid": UUIDS[i]} if UUIDS[i] else {}) for i in range(count)
    ]


@pytest.mark.parametrize(
    ("value", "count", "wrong"),
    [
        ("0,1", 2, ""),
        ("3", 1, ""),
        ("0,2,-1,1", 2, ""),
        ("0,4,1", 1, "4"),
        ("GPU-8932f937", 1, ""),
        ("GPU-8932F937-D72C", 1, ""),
        ("MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0", 1, ""),
        ("gpu0", 0, "gpu0"),
        ("", 0, ""),
        ("NoDevFiles", 0, ""),
    ],
)
def test_a_list_of_devices_counts_up_to_the_first_wrong_one(value: str, count: int, wrong: str) -> None:
    """As the CUDA Programming Guide says: entries after one that names no device are not seen."""
    shown = shown_devices(value, UUIDS)
    assert (shown.count, shown.wrong) == (count, wrong)


def test_a_uuid_of_another_machine_is_no_device_here() -> None:
    """Where all UUIDs are known, one that is not among them is wrong."""
    assert shown_devices("GPU-ffff", UUIDS[:2]).wrong == "GPU-ffff"


@pytest.mark.parametrize(
    ("variables", "saw"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, "hides all 2 GPUs"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "hides all 2 GPUs"),
        ({"CUDA_VISIBLE_DEVICES": "2"}, "'2' names no GPU; 0 of 2 are seen"),
        ({"HIP_VISIBLE_DEVICES": "0"}, "no such GPU here"),
        ({"ROCR_VISIBLE_DEVICES": "0"}, "no such GPU here"),
    ],
)
def test_hidden_gpus_are_warned_of(variables: dict[str, str], saw: str) -> None:
    """Empty lists, and lists that name what is not there, with the command that removes them."""
    (verdict,) = judge_visible_devices(variables, gpus(2))
    assert verdict.level == "warning"
    assert saw in verdict.saw
    assert verdict.mend.startswith(f"unset {next(iter(variables))}")


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 2),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, 2),
    ],
)
def test_chosen_gpus_are_no_mistake(variables: dict[str, str], count: int) -> None:
    """A choice among the GPUs that there are is silent."""
    assert [v.level for v in judge_visible_devices(variables, gpus(count))] == ["ok"]


@pytest.mark.parametrize("value", ["", "-1", "none"])
def test_a_list_that_hides_everything_is_warned_of_where_there_is_no_gpu_yet(value: str) -> None:
    """Nothing is hidden today; who puts a GPU in would not find it."""
    (verdict,) = judge_visible_devices({"CUDA_VISIBLE_DEVICES": value}, [])
    assert verdict.level == "warning"
    assert f"CUDA_VISIBLE_DEVICES is {value!r}: it would hide every GPU" in verdict.saw
    assert verdict.mend.startswith("unset CUDA_VISIBLE_DEVICES")


def test_amd_gpus_are_counted_by_themselves() -> None:
    """A list for ROCm is held against AMD's GPUs only."""
    both = [*gpus(4), *gpus(1, "amd")]
    assert judge_visible_devices({"HIP_VISIBLE_DEVICES": "1"}, both)[0].level == "warning"
    assert judge_visible_devices({"HIP_VISIBLE_DEVICES": "0"}, both)[0].level == "ok"


def test_a_container_that_asked_for_a_gpu_and_has_none() -> None:
    """Images for GPUs set ``NVIDIA_VISIBLE_DEVICES=all``; without a GPU the container was started wrongly."""
    (verdict,) = judge_visible_devices({"NVIDIA_VISIBLE_DEVICES": "all"}, [])
    assert verdict.level == "warning"
    assert "--device nvidia.com/gpu=all" in verdict.mend
    assert judge_visible_devices({"NVIDIA_VISIBLE_DEVICES": "void"}, [])[0].level == "ok"
    assert judge_visible_devices({"NVIDIA_VISIBLE_DEVICES": "all"}, gpus(1))[0].level == "ok"


@pytest.mark.parametrize(
    "variables",
    [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "64"}, {"OMP_PROC_BIND": "true"}, {"GOMP_CPU_AFFINITY": "0-3"}],
)
def test_openmp_variables_that_hurt(variables: dict[str, str]) -> None:
    """One thread on many cores, more threads than cores, everything bound to the same cores."""
    verdict = judge_openmp(variables, 8)
    assert verdict.level == "warning"
    assert verdict.mend == f"unset {next(iter(variables))}"


@pytest.mark.parametrize(
    "variables", [{}, {"OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS": "4,2"}, {"OMP_PROC_BIND": "false"}]
)
def test_openmp_variables_that_do_not_hurt(variables: dict[str, str]) -> None:
    """No variable, or one that fits."""
    assert judge_openmp(variables, 8).level == "ok"


@pytest.mark.parametrize(
    ("variables", "encoding"),
    [
        ({"LC_ALL": "C"}, "utf-8"),
        ({"LANG": "de_DE.ISO-8859-1"}, "iso8859-1"),
        ({"LANG": "th_TH"}, "utf-8"),
        ({}, "ascii"),
    ],
)
def test_locales_that_cannot_print_thai(variables: dict[str, str], encoding: str) -> None:
    """The C locale, an old encoding, an output that is no UTF-8."""
    verdict = judge_locale(variables, encoding)
    assert verdict.level == "warning"
    assert verdict.mend.endswith("=C.UTF-8")


@pytest.mark.parametrize(
    "variables", [{"LANG": "C.UTF-8"}, {"LC_ALL": "ar_EG.utf8", "LANG": "C"}, {"LANG": "de_DE.UTF-8@euro"}, {}]
)
def test_locales_that_can(variables: dict[str, str]) -> None:
    """UTF-8 in any spelling; LC_ALL wins over LANG; none at all with an output that is UTF-8."""
    assert judge_locale(variables, "UTF8").level == "ok"


@pytest.mark.parametrize(
    ("variables", "mend"),
    [
        ({"HTTP_PROXY": "http://p:3128"}, "export NO_PROXY=localhost,127.0.0.1,::1"),
        ({"https_proxy": "p", "NO_PROXY": "localhost,.corp"}, "export NO_PROXY=localhost,.corp,127.0.0.1,::1"),
    ],
)
def test_a_proxy_without_an_exception_for_loopback(variables: dict[str, str], mend: str) -> None:
    """The remedy keeps the exceptions that there are."""
    verdict = judge_proxy(variables)
    assert (verdict.level, verdict.mend) == ("warning", mend)


@pytest.mark.parametrize(
    "exceptions", ["*", "localhost,127.0.0.1", "localhost, 127.0.0.0/8,10.0.0.0/8", ".localhost,127.0.0.1"]
)
def test_a_proxy_with_exceptions_for_loopback(exceptions: str) -> None:
    """A star, names and networks are understood, in either spelling of the variable."""
    assert judge_proxy({"http_proxy": "p", "no_proxy": exceptions}).level == "ok"


def test_no_proxy_at_all() -> None:
    """Without a proxy NO_PROXY does not matter."""
    assert judge_proxy({"NO_PROXY": "corp"}).level == "ok"
