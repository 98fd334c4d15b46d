"""The engine: can be loaded, can be sealed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.engines.openmp import LIBRARY, with_library
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

# A trial ends before its check is given up, so that no process is left behind.
_TRY_RATIO = 0.95
# Switch of the kernel → (value that forbids user namespaces, command that allows them).
_SWITCHES = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=15000"),
    "user/max_net_namespaces": ("0", "sysctl user.max_net_namespaces=15000"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
}


def judge_sealing(failure: str | None, closed_switches: list[str], *, is_required: bool) -> Verdict:
    """Whether an engine can get an empty network.

    Args:
        failure: Why a trial failed; None where it did not.
        closed_switches: Commands that open what the kernel's switches forbid.
        is_required: As set in engines.seal.
    """
    if failure is None:
        return fine("engines get an empty network of their own: prompts cannot leave")
    saw = f"engines are NOT SEALED here: {failure}; they still listen on a Unix socket with a key"
    mend = "; ".join(closed_switches) or "allow user namespaces (in a container: podman, or --security-opt seccomp=…)"
    return (fail if is_required else warn)(saw, mend)


def judge_engine(failure: str | None, binary: Path | None) -> Verdict:
    """Whether the engine's program can be loaded.

    Args:
        failure: Why a trial failed; None where it did not.
        binary: The llama-server that is set; None for the one that comes with us.
    """
    if binary is not None:
        if failure is None:
            return fine(f"llama-server at {binary} runs")
        return fail(f"{binary} does not run: {failure}", "correct engines.llama_server; undercroft config show")
    if failure is None:
        return fine("llama.cpp (xllamacpp) can be loaded")
    mend = "apt-get install libgomp1" if LIBRARY in failure else "pip install --force-reinstall xllamacpp"
    return fail(f"xllamacpp cannot be loaded: {failure}", mend)


def closed_switches(scene: Scene) -> list[str]:
    """Commands for the switches of the kernel that forbid user namespaces."""
    return [
        command
        for name, (forbidding, command) in _SWITCHES.items()
        if scene.read(f"proc/sys/{name}").strip() == forbidding
    ]


def try_command(command: list[str], *, timeout_seconds: float, environment: dict[str, str] | None = None) -> str | None:
    """Runs a program to its end.

    Args:
        command: Program and arguments.
        timeout_seconds: After which it is killed.
        environment: All that it gets; None is ours.

    Returns:
        None where it ended well, else its last line.

    Raises:
        subprocess.TimeoutExpired: It did not end in time.
    """
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except OSError as error:
        return str(error)
    if result.returncode == 0:
        return None
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"it ended with {result.returncode}"


def _look_at_sealing(scene: Scene) -> Verdict:
    """Tries it, in a process of its own: the only proof that the kernel allows it."""
    code = "from undercroft.engines.sealing.namespaces import enter_empty_network; enter_empty_network()"
    failure = try_command([sys.executable, "-P", "-c", code], timeout_seconds=_TRY_RATIO * scene.patience_seconds)
    return judge_sealing(failure, closed_switches(scene), is_required=scene.settings.engines.seal == "required")


def _look_at_engine(scene: Scene) -> Verdict:
    binary, seconds = scene.settings.engines.llama_server, _TRY_RATIO * scene.patience_seconds
    if binary is not None:
        return judge_engine(try_command([str(binary), "--version"], timeout_seconds=seconds), binary)
    with tempfile.TemporaryDirectory() as folder:
        found = with_library(clean_environment(), Path(folder))
        command = [sys.executable, "-P", "-c", "import xllamacpp"]
        return judge_engine(try_command(command, timeout_seconds=seconds, environment=found), None)


CHECKS = (
    Check(
        "sealing",
        "whether the kernel gives engines an empty network (tried), and which switch forbids it",
        "An engine with a hole in it could send prompts somewhere.",
        _look_at_sealing,
    ),
    Check(
        "engine",
        "whether the engine's program can be loaded (tried)",
        "No model can be served.",
        _look_at_engine,
    ),
)
