"""The engine's two trials."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from undercroft.core.settings import EngineSettings, Settings
from undercroft.serving.doctor.engine import CHECKS, closed_switches, judge_engine, judge_sealing, try_command
from undercroft.serving.doctor.examination import examine
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

    def attempt(code: str) -> str | None:
        return try_command([sys.executable, "-c", code], timeout_seconds=60.0)

    assert attempt("") is None
    assert attempt("import sys; sys.exit('it broke')") == "it broke"
    assert attempt("raise SystemExit(3)") == "it ended with 3"
    assert "No such file" in (try_command(["/nowhere/llama-server"], timeout_seconds=60.0) or "")


def test_a_program_that_does_not_end_is_not_judged(made_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """Nothing is claimed of it: the check counts as not finished, and the program is gone."""
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n", encoding="ascii")
    program.chmod(0o755)
    settings = Settings(engines=EngineSettings(llama_server=program))
    engine = next(check for check in CHECKS if check.name == "engine")
    with pytest.raises(subprocess.TimeoutExpired):
        engine.look(made_scene(settings=settings, patience_seconds=1.0))
    pid = tmp_path / "pid"
    assert not pid.exists() or not psutil.pid_exists(int(pid.read_text(encoding="ascii")))
    (finding,) = examine(made_scene(settings=settings, patience_seconds=1.0), [engine])
    assert (finding.name, finding.mend) == ("unfinished", "undercroft doctor --patience 10")


def test_an_engine_that_cannot_be_loaded_is_a_problem() -> None:
    """A missing library has its own remedy; a binary of the user's is theirs to correct."""
    missing = "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory"
    assert judge_engine(missing, None).mend == "apt-get install libgomp1"
    assert judge_engine("Illegal instruction", None).mend == "pip install --force-reinstall xllamacpp"
    assert "engines.llama_server" in judge_engine("exec format error", Path("/opt/llama-server")).mend
    assert judge_engine(None, None).level == judge_engine(None, Path("/opt/llama-server")).level == "ok"
