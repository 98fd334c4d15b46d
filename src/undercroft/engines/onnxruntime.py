"""ONNX Runtime: encoders for embeddings, reranking and classification, and models that generate with onnxruntime-genai.

In a Python environment of its own; what runs there is ours: `undercroft.engines.encoder`, `undercroft.engines.decoder`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.engines import decoder, encoder, own_process
from undercroft.engines.contract import (
    Capabilities,
    EngineRecord,
    EngineSpec,
    Task,
    WarmUp,
)
from undercroft.engines.decoder.folder import CONFIG, Decoder, read_decoder
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.launcher import LaunchOrder
from undercroft.engines.own_process import OwnProcess, Place, ask, launch_order
from undercroft.hardware.processors import compute_threads

_ENCODER = Path(encoder.__file__).with_name("program.py")
_DECODER = Path(decoder.__file__).with_name("program.py")
_WARM_UP_TOKENS = 8
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
        is_chat = bool(properties.get("has_chat_template"))
        can = ROUTES[spec.task]
        return Capabilities(
            tasks=can if spec.task is not Task.GENERATE or is_chat else can - {"chat"},
            has_tools=False,
            context_tokens=int(properties.get("max_tokens") or 0),
            slots=spec.slots,
            protocol="openai",
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract."""
        begun = time.monotonic()
        path, body = first_request(spec.task, spec.answers_as, max_tokens=1)
        if spec.task is not Task.GENERATE:
            ask(record, "POST", path, body, timeout_seconds=timeout_seconds)
            return WarmUp(time.monotonic() - begun, None)
        # Not every model has a chat template. The second time the prompt is known, so that what is timed is the answer.
        asked = {"model": spec.answers_as, "prompt": "Hello", "max_tokens": 1}
        ask(record, "POST", "/v1/completions", asked, timeout_seconds=timeout_seconds)
        again = time.monotonic()
        told = ask(
            record, "POST", "/v1/completions", {**asked, "max_tokens": _WARM_UP_TOKENS}, timeout_seconds=timeout_seconds
        )
        ended = time.monotonic()
        return WarmUp(ended - begun, told["usage"]["completion_tokens"] / (ended - again))


def _checked(spec: EngineSpec) -> Path:
    """Refuses what this engine cannot do; the folder of its environment."""
    if spec.model_path is None:
        raise InvalidError("no-model", f"deployment {spec.name!r} needs a model for engine 'onnxruntime', got none")
    if spec.adapters:
        raise InvalidError("no-adapters", f"deployment {spec.name!r}: engine 'onnxruntime' takes no adapters")
    if spec.environment is None:
        raise InvalidError("no-environment", f"deployment {spec.name!r}: engine 'onnxruntime' needs its environment")
    network_file(spec.model_path)
    if spec.task is Task.GENERATE:
        decoder_of(spec)
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


def decoder_of(spec: EngineSpec) -> Decoder:
    """What the files of a model that generates say of it.

    Raises:
        InvalidError: ``bad-decoder``: it was not made for onnxruntime-genai.
    """
    assert spec.model_path is not None  # it was checked
    try:
        return read_decoder(spec.model_path)
    except InvalidError as error:
        raise InvalidError(
            "bad-decoder",
            f"deployment {spec.name!r} cannot start: {error.message}",
            hint=f"take the model as it was published: undercroft optimize convert MODEL --to onnx makes {CONFIG}",
        ) from error


def _order(spec: EngineSpec, place: Place, environment: Path) -> LaunchOrder:
    assert spec.model_path is not None  # it was checked
    threads = spec.threads or compute_threads()
    options = {
        "model": str(spec.model_path),
        "name": spec.answers_as,
        "threads": threads,
        "host": place.host,
        "port": place.port,
    }
    is_decoder = spec.task is Task.GENERATE
    options |= _of_decoder(spec) if is_decoder else _of_encoder(spec, threads)
    write_atomically(spec.run_dir / ("decoder.json" if is_decoder else "encoder.json"), json.dumps(options).encode())
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
        arguments=[str(python), "-P", str(_DECODER if is_decoder else _ENCODER), str(spec.run_dir)],
        environment={**clean_environment(), **own},
        files=[environment, spec.model_path, *_stored(spec.model_path)],
    )


def _of_encoder(spec: EngineSpec, threads: int) -> dict[str, object]:
    assert spec.model_path is not None  # it was checked
    return {
        "file": str(network_file(spec.model_path).relative_to(spec.model_path)),
        "task": str(spec.task),
        "context_tokens": spec.context_tokens,
        "batch_tokens": _BATCH_TOKENS * threads,
        "padding_ratio": _PADDING_RATIO,
    }


def _of_decoder(spec: EngineSpec) -> dict[str, object]:
    found = decoder_of(spec)
    return {
        "context_tokens": min(spec.context_tokens, found.context_tokens),
        "slots": max(1, spec.slots),
        "ending": sorted(found.ending),
        "chat_template": spec.chat_template,
    }


def _stored(folder: Path) -> list[Path]:
    """Files of the folder, which may be links to where they are stored."""
    return [path for path in folder.rglob("*") if path.is_file()]
