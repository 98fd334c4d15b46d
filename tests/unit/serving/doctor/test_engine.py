"""The engine's two trials."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.serving.doctor.engine import closed_switches, judge_engine, judge_sealing, try_command
from undercroft.serving.doctor.scene import Scene


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_the_switch_that_forbids_namespaces_is_named(
    made_scene: Callable[..., Scene], name: str, value: str, mend: str
) -> None:
    """The command opens the switch that is closed, not all there are."""
    scene = made_scene({"proc/sys/user/max_net_namespaces": "63500\n", f"proc/sys/{name}": f"{value}\n"})
    verdict = judge_sealing("Operation not permitted", closed_switches(scene), is_required=False)
    assert (verdict.level, verdict.mend) == ("warning", mend)


def test_open_switches_are_not_named(made_scene: Callable[..., Scene]) -> None:
    """With everything open, nothing is to be done; where it fails all the same, the container forbids it."""
    files = {"proc/sys/kernel/unprivileged_userns_clone": "1\n", "proc/sys/user/max_user_namespaces": "63500\n"}
    assert closed_switches(made_scene(files)) == []
    assert judge_sealing(None, [], is_required=True).level == "ok"
    required = judge_sealing("Operation not permitted", [], is_required=True)
    assert (required.level, "in a container" in required.mend) == ("problem", True)


def test_a_program_is_tried() -> None:
    """Its last line is the reason; one that is not there says so; one that ends well says nothing."""
    assert try_command([sys.executable, "-c", ""]) is None
    assert try_command([sys.executable, "-c", "import sys; sys.exit('it broke')"]) == "it broke"
    assert try_command([sys.executable, "-c", "raise SystemExit(3)"]) == "it ended with 3"
    assert "No such file" in (try_command(["/nowhere/llama-server"]) or "")


def test_an_engine_that_cannot_be_loaded_is_a_problem() -> None:
    """A missing library has its own remedy; a binary of the user's is theirs to correct."""
    missing = "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory"
    assert judge_engine(missing, None).mend == "apt-get install libgomp1"
    assert judge_engine("Illegal instruction", None).mend == "pip install --force-reinstall xllamacpp"
    assert "engines.llama_server" in judge_engine("exec format error", Path("/opt/llama-server")).mend
    assert judge_engine(None, None).level == judge_engine(None, Path("/opt/llama-server")).level == "ok"
