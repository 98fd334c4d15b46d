"""What computer this is: the name of its board, and whether we run in a container."""

from __future__ import annotations

from pathlib import Path

from undercroft.hardware.readings import as_text

_ROOT = Path("/")
_MEANINGLESS = ("to be filled by o.e.m.", "system product name", "default string", "not specified", "standard pc")


def read_model(root: Path = _ROOT) -> str:
    """Name of the board or computer: of the device tree (ARM boards), else of the firmware; empty is not known."""
    tree = root / "proc/device-tree/model"
    names = [_read(tree)]
    firmware = root / "sys/class/dmi/id"
    names.append(" ".join(part for part in (_read(firmware / "sys_vendor"), _read(firmware / "product_name")) if part))
    return next((name for name in names if name and not any(word in name.lower() for word in _MEANINGLESS)), "")


def is_container(root: Path = _ROOT) -> bool:
    """Whether this process runs in a container, by the marks that runtimes leave."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    variables = _read(root / "run/systemd/container")
    groups = _read(root / "proc/1/cgroup")
    return bool(variables) or any(word in groups for word in ("docker", "kubepods", "containerd", "libpod", "lxc"))


def _read(path: Path) -> str:
    try:
        return as_text(path.read_text(encoding="utf-8", errors="replace").replace("\x00", " ")[:4096])
    except OSError:
        return ""
