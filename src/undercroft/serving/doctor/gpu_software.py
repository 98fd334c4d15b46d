"""Whether what is installed fits the GPUs: the driver and the CUDA runtime, torch, the engine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from undercroft.hardware.machine import Accelerator
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

# CUDA's major version → the oldest driver branch that runs it.
# Source: NVIDIA, "CUDA Compatibility", table "CUDA Toolkit 11.x, 12.x and 13.x Driver Version Ranges" (2025); the last
# digits are those of the release notes of CUDA 11.0 and 12.0.
MINIMUM_DRIVERS: dict[int, tuple[int, ...]] = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580,)}
_DRIVER = re.compile(r"NVRM version:.*?\s(\d{3,}(?:\.\d+)+)\s")
_CUDA_LINE = re.compile(r"""^cuda(?:\s*:[^=]*)?\s*=\s*['"]([\d.]+)['"]""", re.MULTILINE)
_HIP_LINE = re.compile(r"""^hip(?:\s*:[^=]*)?\s*=\s*['"]([\d.]+)""", re.MULTILINE)
_LIBRARY = re.compile(r"libcudart\.so\.(\d+(?:\.\d+)*)$")
_TOOLKIT = re.compile(r"cuda-(\d+\.\d+)$")
_NEWER_DRIVER = "apt-get install nvidia-driver (Ubuntu: ubuntu-drivers install), a newer one; reboot"

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A CUDA runtime that is installed.

    Args:
        where: Package or folder.
        version: ``(12, 4, 127)``.
    """

    where: str
    version: Version


@dataclass(frozen=True, slots=True)
class Torch:
    """An installed torch.

    Args:
        version: ``2.13.0+cpu``.
        cuda: The CUDA that it was built for; empty for none.
        hip: The ROCm that it was built for; empty for none.
    """

    version: str
    cuda: str
    hip: str


def read_version(text: str) -> Version:
    """``550.54.15`` as ``(550, 54, 15)``; empty where it is no version."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def driver_version(text: str) -> Version:
    """The version of the loaded kernel module, out of ``/proc/driver/nvidia/version``; empty where it is not there."""
    found = _DRIVER.search(text + " ")
    return read_version(found[1]) if found else ()


def judge_driver(driver: Version, supported: Version, runtimes: Sequence[Runtime]) -> list[Verdict]:
    """Whether the driver is new enough for every CUDA runtime that is installed.

    Args:
        driver: Empty where no NVIDIA driver is loaded.
        supported: The newest CUDA that the driver says it supports; empty is not known.
        runtimes: What is installed.
    """
    if not driver:
        return [fine("no NVIDIA driver is loaded")]
    verdicts = []
    for runtime in runtimes:
        minimum = MINIMUM_DRIVERS.get(runtime.version[0])
        name = f"{runtime.where} (CUDA {_dotted(runtime.version[:2])})"
        if minimum and driver < minimum:
            saw = f"the driver {_dotted(driver)} is older than {name} needs: at least {minimum[0]}"
            verdicts.append(fail(saw, _NEWER_DRIVER))
        elif supported and runtime.version[:2] > supported[:2]:
            saw = f"the driver {_dotted(driver)} supports CUDA {_dotted(supported[:2])}, {name} is newer"
            verdicts.append(
                warn(
                    saw,
                    _NEWER_DRIVER,
                    why="What is compiled for this GPU works; kernels that are compiled at run time (PTX) are refused.",
                )
            )
    return verdicts or [fine(f"the driver {_dotted(driver)} is new enough for what is installed")]


def judge_torch(torch: Torch | None, vendors: Collection[str]) -> Verdict:
    """Whether torch can use the GPUs that there are.

    Args:
        torch: None where it is not installed.
        vendors: Of the GPUs.
    """
    if torch is None:
        return fine("torch is not installed")
    wanted = next((v for v in ("nvidia", "amd") if v in vendors), None)
    has_it = {"nvidia": bool(torch.cuda), "amd": bool(torch.hip), None: True}[wanted]
    if has_it:
        return fine(f"torch {torch.version} fits this machine")
    kind, index = ("CUDA", "cu128") if wanted == "nvidia" else ("ROCm", "rocm6.4")
    return warn(
        f"torch {torch.version} was built without {kind}, and there is a GPU for it",
        f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{index}",
    )


def judge_engine_build(vendors: Collection[str], *, has_own_binary: bool, has_gpu_wheel: bool) -> Verdict:
    """Whether the embedded engine can use the GPUs.

    Args:
        vendors: Of the GPUs.
        has_own_binary: ``engines.llama_server`` is set.
        has_gpu_wheel: The wheel's engine was built for a GPU.
    """
    usable = sorted(set(vendors) & {"nvidia", "amd", "intel"})
    if not usable or has_own_binary or has_gpu_wheel:
        return fine("the engine is the right one for this machine")
    return warn(
        f"there is a GPU ({', '.join(usable)}), and the embedded engine is built for CPUs",
        "set engines.llama_server to a llama-server built for it (docs/guide/engines.md)",
    )


def find_runtimes(scene: Scene) -> Iterator[Runtime]:
    """CUDA runtimes in Python packages and where the toolkit is installed."""
    for name in (
        "nvidia-cuda-runtime",
        "nvidia-cuda-runtime-cu13",
        "nvidia-cuda-runtime-cu12",
        "nvidia-cuda-runtime-cu11",
    ):
        for package in _installed(scene, name):
            if version := read_version(package.version):
                yield Runtime(name, version)
    for folder in scene.find("usr/local/cuda-*"):
        if found := _TOOLKIT.search(folder.name):
            yield Runtime(f"/usr/local/{folder.name}", read_version(found[1]))
    for pattern in ("usr/lib/*-linux-gnu/libcudart.so.*", "usr/lib64/libcudart.so.*"):
        for library in scene.find(pattern):
            found = _LIBRARY.search(library.name)
            if found and "." in found[1]:
                yield Runtime(library.name, read_version(found[1]))


def find_torch(scene: Scene) -> Torch | None:
    """The installed torch, read and not imported: importing it takes seconds."""
    for package in _installed(scene, "torch"):
        text = _read(Path(str(package.locate_file("torch/version.py"))))
        cuda, hip = _CUDA_LINE.search(text), _HIP_LINE.search(text)
        built = re.search(r"\+cu(\d+)$", package.version)
        return Torch(package.version, cuda[1] if cuda else built[1] if built else "", hip[1] if hip else "")
    return None


def _installed(scene: Scene, name: str) -> list[Distribution]:
    if scene.package_folders is None:
        return list(distributions(name=name))
    return list(distributions(name=name, path=list(scene.package_folders)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _dotted(version: Version) -> str:
    return ".".join(str(part).zfill(2) if place == 2 else str(part) for place, part in enumerate(version))


def _gpu_vendors(accelerators: Sequence[Accelerator]) -> set[str]:
    """Of discrete GPUs: a desktop processor's own graphics is no reason for another torch or engine."""
    return {a.vendor for a in accelerators if not (a.is_unified and a.vendor in ("amd", "intel"))}


def _look_at_driver(scene: Scene) -> list[Verdict]:
    driver = driver_version(scene.read("proc/driver/nvidia/version"))
    if not driver:
        return judge_driver((), (), [])
    supported = next((a.runtime_version for a in scene.machine().accelerators if a.vendor == "nvidia"), "")
    return judge_driver(driver, read_version(supported), list(find_runtimes(scene)))


def _look_at_engine_build(scene: Scene) -> Verdict:
    vendors = _gpu_vendors(scene.machine().accelerators)
    words = [
        text
        for package in _installed(scene, "xllamacpp")
        for text in (package.version.partition("+")[2], *(file.name for file in package.files or []))
    ]
    return judge_engine_build(
        vendors,
        has_own_binary=scene.settings.engines.llama_server is not None,
        has_gpu_wheel=any(re.match("cu[0-9]|rocm|vulkan", w) or re.search("cuda|cublas|vulkan|hip", w) for w in words),
    )


CHECKS = (
    Check(
        "GPU driver",
        "the NVIDIA driver against every CUDA runtime that is installed (Python packages, `/usr/local/cuda-*`)",
        "Programs built with that runtime end at once: CUDA driver version is insufficient for CUDA runtime version.",
        _look_at_driver,
    ),
    Check(
        "torch",
        "a torch without CUDA or ROCm beside a GPU; read, not imported",
        "Conversion, training and vLLM run on the CPU, ten to a hundred times slower, and say nothing.",
        lambda scene: judge_torch(find_torch(scene), _gpu_vendors(scene.machine().accelerators)),
    ),
    Check(
        "GPU engine",
        "an embedded engine for CPUs beside a GPU",
        "The GPU stays idle while the CPU does all the work.",
        _look_at_engine_build,
    ),
)
