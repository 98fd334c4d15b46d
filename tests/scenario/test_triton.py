"""Encoders become Triton repositories by jobs, and are really served: by the Triton that nvidia-pytriton ships.

That Triton has one backend, Python: there the network runs in ONNX Runtime, and settings, ensemble, tokenizer and
answer are what Undercroft made. GPU, TensorRT and the backends for ONNX and plans are not tried here. A gigabyte is
installed, so this runs at full size only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cellar import Cellar
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.engines import free_port, wait_until
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines.contract import EngineRecord, EngineSpec, Health, Task
from undercroft.engines.encoder.folder import files_in, read_encoder
from undercroft.engines.triton import Triton
from undercroft.environments import installing
from undercroft.environments.installed import Environment
from undercroft.environments.recipes import find
from undercroft.optimize.onnx.verifying import TEXTS, answers_of
from undercroft.registry.triton.fields import ENUMS, MESSAGES
from undercroft.registry.triton.text_format import parse
from undercroft.storage.database import Database

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

_SUPPORT = Path(__file__).parents[1] / "support"
_TASKS = (Task.EMBED, Task.RERANK, Task.CLASSIFY)
_PACKAGES = ("nvidia-pytriton==0.7.0", "onnxruntime==1.31.1", "tokenizers==0.23.3")


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellar]:
    """A home; what is in it goes when the last test has ended."""
    cellar = Cellar(tmp_path_factory.mktemp("triton"))
    yield cellar
    shutil.rmtree(cellar.home, ignore_errors=True)  # not there where all was skipped


@pytest.fixture(scope="module")
def runner(cellar: Cellar, request: pytest.FixtureRequest) -> Environment:
    """The environment ``onnxruntime``."""
    if not request.config.getoption("--full"):
        pytest.skip("environments of a gigabyte are installed at full size only: pytest -m long --full")
    home = Home(cellar.home)
    home.prepare()
    return installing.install(home, Database(home.database_file), find("onnxruntime"), actor="cli:test")


@pytest.fixture(scope="module")
def sources(runner: Environment, cellar: Cellar, tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Path]:
    """A tiny encoder of each task, registered by the task's name; its folder."""
    folder = tmp_path_factory.mktemp("sources")
    for task in _TASKS:
        command = [str(runner.python), str(_SUPPORT / "tiny_encoder.py"), str(task), str(folder / task)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        cellar.run("model", "pull", str(folder / task), "--name", str(task))
    return {task: folder / task for task in _TASKS}


@pytest.fixture(scope="module")
def repository(sources: dict[Task, Path], cellar: Cellar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One repository with what was made of all of them, as it is exported."""
    whole = tmp_path_factory.mktemp("repository")
    for task in sources:
        cellar.run("optimize", "convert", str(task), "--to", "triton", "--name", f"{task}-served")
        exported = whole.parent / f"exported-{task}"
        cellar.run("model", "export", f"{task}-served", str(exported))
        for model in exported.iterdir():
            if model.is_dir():
                shutil.move(model, whole / model.name)
    return whole


@pytest.fixture(scope="module")
def packages(runner: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with a Triton in it, from the package index; its folder."""
    del runner  # it has asked for the full size
    folder = tmp_path_factory.mktemp("packages") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "pip"), "install", "--quiet", *_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nvidia-pytriton cannot be installed here: {done.stderr[-300:]}")
    return folder


@dataclass(frozen=True, slots=True)
class Server:
    """A Triton that runs.

    Args:
        url: Where it answers.
        grpc_url: Where it answers over gRPC.
        metrics_port: Where it tells its metrics.
    """

    url: str
    grpc_url: str
    metrics_port: int


@pytest.fixture(scope="module")
def server(packages: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Triton with the repository, its networks in the one backend that it has."""
    folder = tmp_path_factory.mktemp("server")
    (installed,) = packages.glob("lib/python3*/site-packages/pytriton/tritonserver")
    triton = folder / "tritonserver"
    shutil.copytree(installed, triton)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    libraries = installed.parents[1] / "nvidia_pytriton.libs"
    environment = {
        "PATH": f"{packages / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "LD_LIBRARY_PATH": str(libraries),
    }
    found = subprocess.run(["ldd", str(stub)], env=environment, capture_output=True, text=True, check=False)
    if not stub.exists() or "not found" in found.stdout:
        pytest.skip(f"the Triton of the package needs a library of Python {version} that this machine lacks")
    shutil.copy(stub, triton / "backends" / "python" / "triton_python_backend_stub")
    for program in (triton / "bin" / "tritonserver", triton / "backends" / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    models = folder / "models"
    shutil.copytree(repository, models)
    for task in _TASKS:
        _in_python(models / f"{task}-served_network")
    port, grpc_port, metrics_port = free_port(), free_port(), free_port()
    command = [
        *(str(triton / "bin" / "tritonserver"), f"--model-repository={models}", "--disable-auto-complete-config"),
        *(f"--backend-directory={triton / 'backends'}", "--http-address=127.0.0.1", f"--http-port={port}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={metrics_port}"),
    ]
    log = folder / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
    made = Server(f"http://127.0.0.1:{port}", f"grpc://127.0.0.1:{grpc_port}", metrics_port)
    try:
        record, _ = _attached(made, Task.EMBED, folder)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-3000:]
            return Triton(EngineSettings()).look(record, timeout_seconds=5) is Health.HEALTHY

        wait_until(is_ready, what="Triton has loaded the repository", seconds=300)
        yield made
    finally:
        process.terminate()
        process.wait()


def _in_python(network: Path) -> None:
    """Has a network run by the Python backend; nothing else of its settings changes."""
    settings = network / "config.pbtxt"
    text = settings.read_text(encoding="utf-8")
    changed = text.replace('backend: "onnxruntime"', 'backend: "python"')
    changed = changed.replace('default_model_filename: "model.onnx"', 'default_model_filename: "model.py"')
    assert changed != text
    settings.write_text(changed, encoding="utf-8")
    shutil.copyfile(_SUPPORT / "triton_network_model.py", network / "1" / "model.py")


def _attached(server: Server, task: Task, folder: Path, over: str = "http") -> tuple[EngineRecord, EngineSpec]:
    replica_id = new_id("rep")
    spec = EngineSpec(
        replica_id=replica_id, name="bot", task=task, run_dir=folder / replica_id, log_path=folder / "log",
        url=server.grpc_url if over == "grpc" else server.url, upstream_model=f"{task}-served",
        metrics_port=server.metrics_port, slots=4,
    )  # fmt: skip
    return Triton(EngineSettings()).start(spec), spec


def _definition(packages: Path, *files: Path) -> dict[str, Any]:
    command = [str(packages / "bin" / "python"), "-W", "ignore", str(_SUPPORT / "triton_definition.py")]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_settings_are_what_triton_defines(packages: Path, repository: Path) -> None:
    """Every rendered file is read by Triton's own definition as by ours, and our table lacks no field that it has."""
    files = sorted(repository.rglob("config.pbtxt"))
    assert len(files) == 12
    found = _definition(packages, *files)
    for file, theirs in zip(files, found["read"], strict=True):
        ours = parse(file.read_text(encoding="utf-8"), file.name)
        assert _as_numbers(theirs) == _as_numbers(ours)
    for message, fields in found["fields"].items():
        assert fields.items() <= MESSAGES[message].items(), message
    assert all(set(names) <= set(ENUMS[enum]) for enum, names in found["enums"].items())


def _as_numbers(data: Any) -> Any:
    """Long numbers are texts in Protocol Buffers' JSON, and what is as it is by itself is left out."""
    if isinstance(data, dict):
        return {name: _as_numbers(value) for name, value in data.items() if value not in ([], "KIND_AUTO")}
    if isinstance(data, list):
        return [_as_numbers(value) for value in data]
    is_number = isinstance(data, str) and data.lstrip("-").isdigit()
    return int(data) if is_number else data


@pytest.mark.parametrize("over", ["http", "grpc"])
@pytest.mark.parametrize("task", _TASKS)
def test_triton_says_what_the_source_says(
    server: Server, sources: dict[Task, Path], runner: Environment, tmp_path: Path, task: Task, over: str
) -> None:
    """Asked through the door in OpenAI's words, the served ensemble says what the source says in our own engine."""
    record, spec = _attached(server, task, tmp_path, over)
    triton = Triton(EngineSettings())
    assert triton.look(record, timeout_seconds=5) is Health.HEALTHY
    found = triton.capabilities(record, spec)
    assert found.kserve is not None
    assert found.kserve.is_grpc is (over == "grpc")
    assert triton.warm_up(record, spec, timeout_seconds=60).seconds > 0
    figures = triton.figures(record)
    assert figures is not None
    assert figures.waiting == 0
    encoder = read_encoder(files_in(sources[task]))
    texts = [text for text in TEXTS for _ in range(3)]
    assert found.kserve is not None
    assert len(texts) > found.kserve.most_inputs  # so that it is asked in pieces
    inputs = [(texts[0], text) for text in texts] if task is Task.RERANK else texts
    wanted = answers_of(sources[task], encoder, inputs, runner, EngineSettings(), threads=1)
    one = replica(
        record.replica_id, protocol="openai", base_url=spec.url, key=None, upstream_model=record.upstream_model,
        kserve=found.kserve,
    )  # fmt: skip
    with DoorProcess(tmp_path / "home") as door:
        door.start(door.snapshot(deployment("bot", one, tasks=tuple(found.tasks))), has_control=True)
        if task is Task.RERANK:
            body = {"model": "bot", "query": texts[0], "documents": texts, "truncate": True}
            answer = door.post("/v1/rerank", body).json()
            told = [[one["relevance_score"]] for one in sorted(answer["results"], key=lambda one: int(one["index"]))]
        else:
            path, field = ("/v1/embeddings", "embedding") if task is Task.EMBED else ("/v1/classify", "probs")
            answer = door.post(path, {"model": "bot", "input": texts, "truncate": True}).json()
            told = [one[field] for one in answer["data"]]
    assert answer["usage"]["prompt_tokens"] > len(texts)
    assert len(told) == len(wanted)
    for mine, its in zip(told, wanted, strict=True):
        assert mine == pytest.approx(its, abs=1e-5)


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_what_triton_refuses_is_told(server: Server, tmp_path: Path, over: str) -> None:
    """A name that Triton does not have is loading and says so; a text that is too long is told with both numbers."""
    spec = EngineSpec(
        replica_id="rep_a", name="bot", task=Task.EMBED, run_dir=tmp_path / "rep_a", log_path=tmp_path / "log",
        url=server.grpc_url if over == "grpc" else server.url, upstream_model="nobody",
        metrics_port=server.metrics_port,
    )  # fmt: skip
    triton = Triton(EngineSettings())
    record = triton.start(spec)
    assert triton.look(record, timeout_seconds=5) is Health.LOADING
    assert "got 400" in (triton.failure(record) or "")
    with pytest.raises(UnavailableError, match="Request for unknown model" if over == "grpc" else "got 404"):
        triton.capabilities(record, spec)
    served, its = _attached(server, Task.EMBED, tmp_path, over)
    found = triton.capabilities(served, its).kserve
    one = replica(served.replica_id, protocol="openai", base_url=its.url, key=None, kserve=found)
    with DoorProcess(tmp_path / "home") as door:
        door.start(door.snapshot(deployment("bot", one, tasks=("embeddings",))), has_control=True)
        reply = door.post("/v1/embeddings", {"model": "bot", "input": "w1 " * 500})
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert "takes 64 tokens, the request has 502" in reply.error["message"]


def test_a_plan_is_built_where_trtexec_is(cellar: Cellar, sources: dict[Task, Path], tmp_path: Path) -> None:
    """Without ``trtexec`` the job says that nothing was built, and how it is; with one on PATH it builds."""
    del sources  # they are registered
    done = cellar.run("optimize", "convert", "classify", "--to", "tensorrt", "--type", "f16", "--name", "unbuilt")
    assert "trtexec is not on PATH: the plan is not built here" in " ".join(done.stderr.split())
    plan = cellar.json("model", "show", "unbuilt")["lineage"]["steps"][0]["found"]["plan"]
    assert plan["is_built"] is False
    assert plan["command"].startswith("trtexec --onnx=model.onnx --minShapes=")
    exported = cellar.json("model", "export", "unbuilt", str(tmp_path / "unbuilt"))
    assert exported["plans_to_build"] == {"unbuilt_network": plan["command"]}
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor o in "$@"; do :; done\nprintf ftrt > "${o#--saveEngine=}"\n', encoding="utf-8")
    program.chmod(0o755)
    path = cellar.environment["PATH"]
    cellar.environment["PATH"] = f"{program.parent}:{path}"
    try:
        cellar.run("optimize", "convert", "classify", "--to", "tensorrt", "--name", "built")
    finally:
        cellar.environment["PATH"] = path
    shown = cellar.json("model", "show", "built")
    assert shown["lineage"]["steps"][0]["found"]["plan"]["is_built"] is True
    assert "built_network/1/model.plan" in [file["path"] for file in shown["files"]]
    assert cellar.json("model", "export", "built", str(tmp_path / "built"))["plans_to_build"] == {}


def test_token_ids_are_those_of_our_engine(runner: Environment, repository: Path, tmp_path: Path) -> None:
    """The tokenizer inside Triton splits every text as the engine onnxruntime does, and cuts it there."""
    texts = [*TEXTS, "w1 " * 500, ""]
    configs = {
        folder.name: parse((folder / "config.pbtxt").read_text(encoding="utf-8"), folder.name)
        for folder in repository.glob("embed-served*")
    }
    order = {
        **{"repository": str(repository), "ensemble": "embed-served", "version": 1, "configs": configs},
        **{"network": "model.onnx", "inputs": texts, "threads": 1},
    }
    package = Path(sys.modules["undercroft"].__file__ or "").parent
    program = package / "optimize" / "triton" / "programs" / "run_ensemble.py"
    done = subprocess.run(
        [str(runner.python), str(program)], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours = f"""
import json, sys
sys.path.insert(0, {str(package.parent)!r})
from undercroft.engines.encoder.texts import TextReader
from pathlib import Path
reader = TextReader(Path({str(repository / "embed-served_tokenizer" / "1" / "tokenizer.json")!r}), 64)
print(json.dumps([one.ids for one in reader.read(json.load(sys.stdin), may_cut=True)]))
"""
    read = subprocess.run(
        [str(runner.python), "-c", ours], input=json.dumps(texts), capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    assert json.loads(done.stdout)["ids"] == json.loads(read.stdout)
