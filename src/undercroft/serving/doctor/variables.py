"""Environment variables that hide GPUs, slow engines down or send prompts astray."""

from __future__ import annotations

import codecs
import ipaddress
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from undercroft.hardware.machine import Accelerator
from undercroft.serving.doctor.findings import Check, Verdict, fine, warn
from undercroft.serving.doctor.scene import Scene

_VISIBLE = {
    "CUDA_VISIBLE_DEVICES": "nvidia",
    "HIP_VISIBLE_DEVICES": "amd",
    "ROCR_VISIBLE_DEVICES": "amd",
    "GPU_DEVICE_ORDINAL": "amd",
}
_NOTHING = {"", "-1", "none", "void", "nodevfiles"}
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_LOOPBACKS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a list of visible devices lets through.

    Args:
        count: GPUs that can be seen.
        wrong: The entry that names no GPU, after which nothing counts; empty where there is none.
    """

    count: int
    wrong: str


def shown_devices(value: str, uuids: Sequence[str]) -> Shown:
    """Reads a list of visible devices as CUDA and ROCm do: all up to the first entry that names no device.

    Args:
        value: ``0,2``, ``GPU-8932f937``, ``MIG-…``; empty shows none.
        uuids: Of the GPUs that there are, in their order; an entry may be empty where it is not known.

    Source:
        CUDA Programming Guide, "CUDA Environment Variables".
    """
    count = 0
    for entry in (part.strip() for part in value.split(",")):
        if entry.lower() in _NOTHING:
            return Shown(count, "")
        is_index = entry.isascii() and entry.isdigit()
        if is_index and int(entry) >= len(uuids):
            return Shown(count, entry)
        if not is_index and not entry.startswith("MIG-") and not _is_uuid(entry, uuids):
            return Shown(count, entry)
        count += 1
    return Shown(count, "")


def _is_uuid(entry: str, uuids: Sequence[str]) -> bool:
    return entry.startswith("GPU-") and any(not uuid or uuid.lower().startswith(entry.lower()) for uuid in uuids)


def judge_visible_devices(variables: Mapping[str, str], accelerators: Sequence[Accelerator]) -> list[Verdict]:
    """Whether a variable hides GPUs, or names some that are not there."""
    verdicts = []
    for name, vendor in _VISIBLE.items():
        if name in variables:
            uuids = [a.facts.get("uuid", "") for a in accelerators if a.vendor == vendor]
            verdicts.append(_judge_visible(name, variables[name], uuids))
    if not any(a.vendor == "nvidia" for a in accelerators) and "NVIDIA_VISIBLE_DEVICES" in variables:
        verdicts.append(_judge_container(variables["NVIDIA_VISIBLE_DEVICES"]))
    return verdicts or [fine("no variable hides a GPU")]


def _judge_visible(name: str, value: str, uuids: Sequence[str]) -> Verdict:
    shown = shown_devices(value, uuids)
    mend = f"unset {name}; undercroft down; undercroft up"
    if not uuids and value.strip().lower() in _NOTHING:
        return warn(
            f"{name} is {value!r}: it would hide every GPU; none was found here",
            mend,
            why="Whoever puts a GPU in later, or starts this shell's script elsewhere, computes on the CPU unawares.",
        )
    if not uuids:
        return warn(f"{name} is {value!r}, and there is no such GPU here", mend)
    if shown.wrong:
        return warn(f"{name} is {value!r}: {shown.wrong!r} names no GPU; {shown.count} of {len(uuids)} are seen", mend)
    if shown.count == 0:
        return warn(f"{name} is {value!r}: it hides all {len(uuids)} GPUs", mend)
    return fine(f"{name} shows {shown.count} of {len(uuids)} GPUs")


def _judge_container(value: str) -> Verdict:
    if value.strip().lower() in _NOTHING:
        return fine(f"NVIDIA_VISIBLE_DEVICES is {value!r}: this container asked for no GPU")
    return warn(
        f"NVIDIA_VISIBLE_DEVICES is {value!r}, and no NVIDIA GPU is here",
        "podman run --device nvidia.com/gpu=all … (docker run --gpus all …)",
        why="The image is made for a GPU and the container was started without one.",
    )


def judge_openmp(variables: Mapping[str, str], cores: int) -> Verdict:
    """Whether OpenMP variables slow down what is started from this shell.

    Args:
        variables: The environment.
        cores: Logical cores that this process may use.
    """
    threads = variables.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if threads.isdigit() and int(threads) > cores:
        return warn(f"OMP_NUM_THREADS is {threads}, and there are {cores} cores", "unset OMP_NUM_THREADS")
    if threads == "1" and cores > 1:
        return warn(f"OMP_NUM_THREADS is 1, and there are {cores} cores", "unset OMP_NUM_THREADS")
    bound = [n for n in ("GOMP_CPU_AFFINITY", "KMP_AFFINITY") if variables.get(n)]
    if variables.get("OMP_PROC_BIND", "false").lower() not in ("false", ""):
        bound.append("OMP_PROC_BIND")
    if bound:
        return warn(
            f"{' and '.join(bound)} is set",
            f"unset {' '.join(bound)}",
            why="Every process is bound to the same cores, and several of them wait for each other there.",
        )
    return fine("no OpenMP variable stands in the way")


def judge_locale(variables: Mapping[str, str], encoding: str) -> Verdict:
    """Whether text in any language can be printed.

    Args:
        variables: The environment.
        encoding: Of standard output.
    """
    name = next((n for n in ("LC_ALL", "LC_CTYPE", "LANG") if variables.get(n)), "LANG")
    value = variables.get(name, "")
    mend = f"export {name}=C.UTF-8"
    if not _is_utf8(encoding):
        return warn(f"output is {encoding}, not UTF-8 ({name} is {value!r})", mend)
    suffix = value.partition(".")[2].partition("@")[0]
    if value and not _is_utf8(suffix):
        return warn(f"{name} is {value!r}, not UTF-8", mend)
    return fine(f"{name} is {value!r}" if value else "no locale is set, output is UTF-8")


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def judge_proxy(variables: Mapping[str, str]) -> Verdict:
    """Whether requests to this machine would go through a proxy."""
    set_here = [name for name in _PROXIES if variables.get(name)]
    if not set_here:
        return fine("no proxy is set")
    exceptions = [e.strip() for e in f"{variables.get('NO_PROXY', '')},{variables.get('no_proxy', '')}".split(",")]
    missing = [host for host in _LOOPBACKS if not any(_is_excepted(host, e) for e in exceptions)]
    if not missing:
        return fine(f"{set_here[0]} is set, and loopback goes past it")
    kept = ",".join([*(e for e in exceptions if e), *missing, *([] if "::1" in exceptions else ["::1"])])
    return warn(f"{set_here[0]} is set, NO_PROXY names no {' and no '.join(missing)}", f"export NO_PROXY={kept}")


def _is_excepted(host: str, exception: str) -> bool:
    if exception == "*" or exception.lstrip(".") == host:
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
    except ValueError:
        return False


def _look_at_visible_devices(scene: Scene) -> list[Verdict]:
    return judge_visible_devices(scene.variables, scene.machine().accelerators)


CHECKS = (
    Check(
        "visible devices",
        "`CUDA_VISIBLE_DEVICES`, `HIP_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`, `NVIDIA_VISIBLE_DEVICES`: empty, or "
        "naming a GPU that is not there",
        "Engines see no GPU, or fewer than there are, and quietly compute on the CPU.",
        _look_at_visible_devices,
    ),
    Check(
        "OpenMP",
        "`OMP_NUM_THREADS`, `OMP_PROC_BIND`, `GOMP_CPU_AFFINITY` against the cores that there are",
        "Our own engines do not see it; vLLM, training and tools from the same shell compute several times slower.",
        lambda scene: judge_openmp(scene.variables, scene.machine().processor.logical_cores),
    ),
    Check(
        "locale",
        "`LC_ALL`, `LC_CTYPE`, `LANG` and the encoding of the output",
        "Terminals, pagers and other tools show answers in Thai, Arabic or Chinese as question marks.",
        lambda scene: judge_locale(scene.variables, sys.stdout.encoding or ""),
    ),
    Check(
        "proxy",
        "`HTTP_PROXY` and its kin without `NO_PROXY` for loopback",
        "Clients on this machine send prompts and keys to the proxy instead of to the server beside them.",
        lambda scene: judge_proxy(scene.variables),
    ),
)
