"""ONNX Runtime: BERT-size encoders for embeddings, reranking and classification, in a Python environment of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.engines import encoder, own_process
from undercroft.engines.contract import (
    Capabilities,
    EngineRecord,
    EngineSpec,
    Task,
    WarmUp,
)
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.launcher import LaunchOrder
from undercroft.engines.own_process import OwnProcess, Place, ask, launch_order
from undercroft.hardware.processors import compute_threads

_PROGRAM = Path(encoder.__file__).with_name("program.py")
_OPTIONS_FILE = "encoder.json"
# Padded tokens of one batch, for each thread that computes: 256 and 512 were the fastest of 256 to 2,048 with
# all-MiniLM-L6-v2 on one core, since what lies between two layers then stays near the processor.
_BATCH_TOKENS = 512
_PADDING_RATIO = 0.2


class OnnxRuntime(OwnProcess):
    """See `undercroft.engines.contract.Engine`. It listens once its model is loaded."""

    name = "onnxruntime"

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract."""
        environment = _checked(spec)
        return own_process.start(spec, engine=self.name, order=lambda place: _order(spec, place, environment))

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract. Its context is what the model itself takes, where that is less than was asked for."""
        properties = ask(record, "GET", "/props", None, timeout_seconds=30.0)
        return Capabilities(
            tasks=ROUTES[spec.task],
            has_tools=False,
            context_tokens=int(properties.get("max_tokens") or 0),
            slots=spec.slots,
            protocol="openai",
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract."""
        begun = time.monotonic()
        path, body = first_request(spec.task, spec.answers_as, max_tokens=1)
        ask(record, "POST", path, body, timeout_seconds=timeout_seconds)
        return WarmUp(time.monotonic() - begun, None)


def _checked(spec: EngineSpec) -> Path:
    """Refuses what this engine cannot do; the folder of its environment."""
    if spec.model_path is None:
        raise InvalidError("no-model", f"deployment {spec.name!r} needs a model for engine 'onnxruntime', got none")
    if spec.task is Task.GENERATE:
        raise InvalidError(
            "wrong-task",
            f"deployment {spec.name!r}: engine 'onnxruntime' runs models that embed, rerank or classify, not one that "
            "generates",
            hint="convert the original to GGUF: undercroft optimize convert MODEL --to gguf",
        )
    if spec.adapters:
        raise InvalidError("no-adapters", f"deployment {spec.name!r}: engine 'onnxruntime' takes no adapters")
    if spec.environment is None:
        raise InvalidError("no-environment", f"deployment {spec.name!r}: engine 'onnxruntime' needs its environment")
    network_file(spec.model_path)
    return spec.environment


def inputs_at_once(spec: EngineSpec) -> int:
    """Inputs of the largest length that one batch holds; at least 1."""
    return max(1, _BATCH_TOKENS * (spec.threads or compute_threads()) // max(1, spec.context_tokens))


def network_file(folder: Path) -> Path:
    """The ``.onnx`` file of a model's folder.

    Raises:
        InvalidError: ``no-model-file``: there is none, or several.
    """
    found = sorted(folder.rglob("*.onnx"))
    if len(found) != 1:
        raise InvalidError("no-model-file", f"{folder} expected one file .onnx, got {len(found)}")
    return found[0]


def _order(spec: EngineSpec, place: Place, environment: Path) -> LaunchOrder:
    assert spec.model_path is not None  # it was checked
    threads = spec.threads or compute_threads()
    options = {
        "model": str(spec.model_path),
        "file": str(network_file(spec.model_path).relative_to(spec.model_path)),
        "task": str(spec.task),
        "name": spec.answers_as,
        "context_tokens": spec.context_tokens,
        "threads": threads,
        "batch_tokens": _BATCH_TOKENS * threads,
        "padding_ratio": _PADDING_RATIO,
        "host": place.host,
        "port": place.port,
    }
    write_atomically(spec.run_dir / _OPTIONS_FILE, json.dumps(options).encode())
    python = environment / "bin" / "python"
    own = {
        "HOME": str(spec.run_dir),
        "TMPDIR": str(spec.run_dir),
        "RAYON_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }
    return launch_order(
        spec,
        place,
        program=python,
        arguments=[str(python), "-P", str(_PROGRAM), str(spec.run_dir)],
        environment={**clean_environment(), **own},
        files=[environment, spec.model_path, *_stored(spec.model_path)],
    )


def _stored(folder: Path) -> list[Path]:
    """Files of the folder, which may be links to where they are stored."""
    return [path for path in folder.rglob("*") if path.is_file()]
