"""all-MiniLM-L6-v2 in every form: size, how like its vectors are to the published model's, speed, memory.

Part of `benchmarks.quality`. Every form is made by a job of the product and asked through the door.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embed import need_home, need_model, need_peer, peer, sentences, serving, speed, through_door
from benchmarks.product import command
from benchmarks.reporting import Report
from undercroft.optimize.evaluation.intervals import mean, proportion

_FORMS = {
    "minilm-onnx-f32": ("optimize", "convert", "minilm", "--to", "onnx"),
    "minilm-onnx-int8": ("optimize", "quantize", "minilm-onnx-f32", "--to", "int8"),
    "minilm-gguf-f16": ("optimize", "convert", "minilm", "--to", "gguf", "--type", "f16"),
    "minilm-gguf-q8_0": ("optimize", "quantize", "minilm-gguf-f16", "--to", "Q8_0"),
    "minilm-gguf-q4_k_m": ("optimize", "quantize", "minilm-gguf-f16", "--to", "Q4_K_M"),
}
_EXACT = ("minilm-onnx-f32", "minilm-gguf-f16")
_CLIENTS, _INPUTS, _ROUNDS = 4, 32, 3
_SEED = 5
_LEAST_COSINE, _EXACT_COSINE = 0.99, 0.9999


def measure_encoder(report: Report, count: int) -> None:
    """Adds a row a form to the report.

    Args:
        report: Gets figures, rows and aims.
        count: Sentences.

    Raises:
        MissingError: Something is not there and cannot be installed.
    """
    texts, model, python = sentences(count), need_model(), need_peer()
    variables = need_home("quality-home", model, ("convert", "onnx", "onnxruntime"), _FORMS)
    with ExitStack() as stack:
        texts_file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "texts.json")
        texts_file.write_text(json.dumps(texts), encoding="utf-8")
        with peer(python, "sentence-transformers", model, 1, texts_file) as published:
            reference = np.array(published.ask("vectors"))
        port, key = stack.enter_context(serving(variables, _FORMS))
        for form in _FORMS:
            seconds = []
            for _ in range(_ROUNDS):
                taken, vectors = through_door(port, key, form, texts, clients=_CLIENTS, inputs=_INPUTS)
                seconds.append(taken)
            size = command("model", "show", form, variables=variables)["size_bytes"]
            _add(report, form, size, vectors, reference)
            report.rows[-1] |= {"sentences_per_second": speed(seconds, count), "memory_bytes": _memory(variables, form)}
    for form in _FORMS:
        report.at_least(f"{form}_cosine_mean", _figure(report, f"{form}_cosine_mean"), _aim(form))


def _aim(form: str) -> float:
    return _EXACT_COSINE if form in _EXACT else _LEAST_COSINE


def _figure(report: Report, name: str) -> float | None:
    found = report.figures[name]
    return found if isinstance(found, float) else None


def _add(report: Report, form: str, size_bytes: int, vectors: Any, reference: Any) -> None:
    """One form's row: cosines to the published vectors, and how often the nearest other sentence is still the same."""
    cosines = (vectors * reference).sum(1)
    kept = int((_nearest(vectors) == _nearest(reference)).sum())
    likeness, same = mean(cosines.tolist(), seed=_SEED), proportion(kept, len(cosines))
    report.figures |= {f"{form}_bytes": size_bytes, f"{form}_cosine_mean": likeness.value}
    report.rows.append(
        {
            "form": form,
            "bytes": size_bytes,
            "cosine": likeness.value,
            "cosine_lower": likeness.lower,
            "cosine_upper": likeness.upper,
            "cosine_least": float(cosines.min()),
            "nearest_kept": same.value,
            "nearest_kept_lower": same.lower,
            "nearest_kept_upper": same.upper,
        }
    )


def _nearest(vectors: Any) -> Any:
    """For each sentence the number of the one that is most like it."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return likeness.argmax(1)


def _memory(variables: dict[str, str], form: str) -> int | None:
    """Private memory of a form's process; bytes."""
    found = {one["name"]: one for one in command("status", variables=variables)["deployments"]}
    return next((replica["private_bytes"] for replica in found[form]["replicas"]), None)
