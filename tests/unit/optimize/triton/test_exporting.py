"""A repository as Triton loads it: data of the registry and our programs, and the script of a plan."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.engines import wait_until
from tests.support.triton_repositories import write
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.optimize.triton import plan
from undercroft.optimize.triton.exporting import export_repository

# Takes options as trtexec does, refuses others, needs the ONNX file, and writes what begins like a plan.
_BUILDER = """#!/bin/sh
for option in "$@"; do
  case "$option" in
    --onnx=*) test -f "${option#--onnx=}" || { echo "no network"; exit 3; };;
    --saveEngine=*) target="${option#--saveEngine=}";;
    --minShapes=*|--optShapes=*|--maxShapes=*|--fp16) ;;
    *) echo "unknown option $option"; exit 2;;
  esac
done
printf 'ftrt%s' "$*" > "$target"
"""


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """A program that takes what ``trtexec`` takes; TensorRT itself needs a GPU."""
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text(_BUILDER, encoding="utf-8")
    program.chmod(0o755)
    return program


def test_programs_come_with_exporting(tmp_path: Path) -> None:
    """Each model has a folder for its version, and those of the Python backend their program, whatever runs there."""
    made = tmp_path / "out"
    assert export_repository(write(tmp_path / "kept"), made) == {}
    assert (made / "mini" / "1").is_dir()
    for model in ("mini_tokenizer", "mini_answer"):
        assert "class TritonPythonModel" in (made / model / "1" / "model.py").read_text(encoding="utf-8")
    assert not list(made.rglob("*.sh"))
    with pytest.raises(ConflictError, match="not an empty folder"):
        export_repository(write(tmp_path / "again"), made)


def test_the_script_builds_the_plan(tmp_path: Path, builder: Path) -> None:
    """The script runs the very command that was told, and leaves the plan where Triton looks for it."""
    made = tmp_path / "out"
    commands = export_repository(write(tmp_path / "kept", runtime="tensorrt"), made)
    assert commands == {"mini_network": "trtexec --onnx=model.onnx --fp16 --saveEngine=model.plan"}
    script = made / "mini_network" / "build_plan.sh"
    environment = {"PATH": f"{builder.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trtexec --onnx=model.onnx --fp16\n"
    assert (made / "mini_network" / "1" / "model.plan").read_bytes().startswith(b"ftrt--onnx=model.onnx --fp16")
    missing = subprocess.run(["sh", str(script), "7"], env=environment, capture_output=True, text=True, check=False)
    assert missing.returncode != 0


def test_a_plan_is_built_where_the_builder_is(tmp_path: Path, builder: Path) -> None:
    """The job builds beside the network; what the builder says when it fails is told."""
    (tmp_path / "model.onnx").write_bytes(b"a network")
    plan.build_plan(str(builder), ["--onnx=model.onnx"], tmp_path, tmp_path / "log")
    assert (tmp_path / "model.plan").read_bytes().startswith(b"ftrt")
    with pytest.raises(UnavailableError, match="status 2 and built no plan:\\n  unknown option --int3"):
        plan.build_plan(str(builder), ["--int3"], tmp_path, tmp_path / "log")


def test_a_builder_that_finds_the_disk_full_is_an_error_of_the_system(tmp_path: Path, builder: Path) -> None:
    """As if the job itself had written, so that it is told what is missing."""
    builder.write_text("#!/bin/sh\necho 'write error: No space left on device'\nexit 1\n", encoding="utf-8")
    with pytest.raises(OSError, match="No space left on device") as caught:
        plan.build_plan(str(builder), ["--fp16"], tmp_path, tmp_path / "log")
    assert caught.value.errno == errno.ENOSPC


def test_a_builder_ends_with_the_job_that_has_started_it(tmp_path: Path, builder: Path) -> None:
    """Plans take a GPU for minutes; a job that was killed leaves none behind."""
    builder.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from undercroft.optimize.triton.plan import build_plan\n"
        "build_plan(sys.argv[1], [], Path(sys.argv[2]), Path(sys.argv[2]) / 'log')"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(builder), str(tmp_path)])
    wait_until(lambda: [one.name() for one in psutil.Process(job.pid).children()] == ["sleep"], what="it builds")
    (child,) = psutil.Process(job.pid).children()
    job.kill()
    job.wait(timeout=30)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="it ended")
