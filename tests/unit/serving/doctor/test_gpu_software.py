"""Drivers, runtimes, torch and the engine's build, on packages as pip installs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.serving.doctor.gpu_software import (
    Runtime,
    Torch,
    driver_version,
    find_runtimes,
    find_torch,
    judge_driver,
    judge_engine_build,
    judge_torch,
)
from undercroft.serving.doctor.scene import Scene

TORCH_VERSION = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']
__version__ = '{version}'
debug = False
cuda: Optional[str] = {cuda}
git_version = '134179474539648ba7dee1317959529fbd0e7f89'
hip: Optional[str] = {hip}
xpu: Optional[str] = None
"""


def install(folder: Path, name: str, version: str) -> None:
    """A package's metadata as pip writes it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def install_torch(folder: Path, version: str, *, cuda: str = "None", hip: str = "None") -> None:
    install(folder, "torch", version)
    (folder / "torch").mkdir()
    (folder / "torch/version.py").write_text(
        TORCH_VERSION.format(version=version, cuda=cuda, hip=hip), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", (535, 104, 5)),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\n"
            "GCC version:  gcc version 12.2.0\n",
            (580, 65, 6),
        ),
        ("", ()),
        ("NVRM version: something else\n", ()),
    ],
)
def test_the_loaded_driver_is_read(text: str, version: tuple[int, ...]) -> None:
    """Both kernel modules, the closed and the open one; nothing where there is none."""
    assert driver_version(text) == version


@pytest.mark.parametrize(
    ("driver", "runtime", "level"),
    [
        ((535, 104, 5), (12, 4, 127), "ok"),
        ((525, 60, 13), (12, 0), "ok"),
        ((525, 60, 12), (12, 0), "problem"),
        ((550, 54, 15), (13, 0, 48), "problem"),
        ((580, 65, 6), (13, 0, 48), "ok"),
        ((450, 80, 2), (11, 8), "ok"),
        ((440, 33, 1), (11, 8), "problem"),
    ],
)
def test_the_driver_must_be_as_new_as_the_family_of_the_runtime(
    driver: tuple[int, ...], runtime: tuple[int, ...], level: str
) -> None:
    """The limits of NVIDIA's table of minor version compatibility, each from both sides."""
    (verdict,) = judge_driver(driver, (), [Runtime("nvidia-cuda-runtime", runtime)])
    assert verdict.level == level


def test_a_runtime_newer_than_the_driver_says_it_supports_is_a_warning() -> None:
    """Within a family it runs, but for what is compiled at run time."""
    (verdict,) = judge_driver((535, 104, 5), (12, 2), [Runtime("nvidia-cuda-runtime-cu12", (12, 4, 127))])
    assert verdict.level == "warning"
    assert verdict.saw == "the driver 535.104.05 supports CUDA 12.2, nvidia-cuda-runtime-cu12 (CUDA 12.4) is newer"
    assert judge_driver((550, 54, 15), (12, 4), [Runtime("r", (12, 4, 127))])[0].level == "ok"


def test_runtimes_are_found_in_packages_and_folders(made_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """Python packages, the toolkit's folders, and libraries of the system."""
    install(tmp_path / "site", "nvidia-cuda-runtime-cu12", "12.4.127")
    files = {"usr/local/cuda-13.0/version.json": "{}", "usr/lib/x86_64-linux-gnu/libcudart.so.11.8.89": ""}
    found = list(find_runtimes(made_scene(files, package_folders=[str(tmp_path / "site")])))
    assert [(runtime.where, runtime.version) for runtime in found] == [
        ("nvidia-cuda-runtime-cu12", (12, 4, 127)),
        ("/usr/local/cuda-13.0", (13, 0)),
        ("libcudart.so.11.8.89", (11, 8, 89)),
    ]


@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        ("2.13.0+cpu", {}, Torch("2.13.0+cpu", "", "")),
        ("2.13.0", {"cuda": "'12.8'"}, Torch("2.13.0", "12.8", "")),
        ("2.13.0+rocm6.4", {"hip": "'6.4.43482-0f2d60242'"}, Torch("2.13.0+rocm6.4", "", "6.4.43482")),
    ],
)
def test_torch_is_read_and_not_imported(
    made_scene: Callable[..., Scene], tmp_path: Path, version: str, options: dict[str, str], expected: Torch
) -> None:
    """What it was built for stands in its version file."""
    install_torch(tmp_path / "site", version, **options)
    assert find_torch(made_scene(package_folders=[str(tmp_path / "site")])) == expected


def test_no_torch_is_found_where_there_is_none(made_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """An empty folder of packages."""
    assert find_torch(made_scene(package_folders=[str(tmp_path)])) is None


@pytest.mark.parametrize(
    ("torch", "vendors", "level"),
    [
        (Torch("2.13.0+cpu", "", ""), {"nvidia"}, "warning"),
        (Torch("2.13.0", "12.8", ""), {"amd"}, "warning"),
        (Torch("2.13.0", "12.8", ""), {"nvidia"}, "ok"),
        (Torch("2.13.0+rocm6.4", "", "6.4"), {"amd"}, "ok"),
        (Torch("2.13.0+cpu", "", ""), set(), "ok"),
        (None, {"nvidia"}, "ok"),
    ],
)
def test_a_torch_that_cannot_use_the_gpu_is_warned_of(torch: Torch | None, vendors: set[str], level: str) -> None:
    """Only where there is a GPU that another build could use."""
    assert judge_torch(torch, vendors).level == level


def test_an_engine_for_cpus_beside_a_gpu_is_warned_of() -> None:
    """Unless a binary is set or the wheel was built for a GPU."""
    judged = judge_engine_build({"nvidia"}, has_own_binary=False, has_gpu_wheel=False)
    assert (judged.level, "engines.llama_server" in judged.mend) == ("warning", True)
    assert judge_engine_build({"nvidia"}, has_own_binary=True, has_gpu_wheel=False).level == "ok"
    assert judge_engine_build({"nvidia"}, has_own_binary=False, has_gpu_wheel=True).level == "ok"
    assert judge_engine_build(set(), has_own_binary=False, has_gpu_wheel=False).level == "ok"
