"""Runs an encoder in its engine, sealed, and holds it against what its source said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import Task
from undercroft.engines.encoder.folder import Encoder
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import Agreement
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.onnx.comparing import compare_scores, compare_vectors

_TIMEOUT_SECONDS = 600.0
TEXTS = (*PROMPTS, *SPLIT_TEXTS)

Inputs = Sequence[str | tuple[str, str]]


def sample_inputs(encoder: Encoder, more: Sequence[str] = ()) -> Inputs:
    """What source and result are asked: texts of many scripts and lengths; to rerank, each for the same query.

    Args:
        encoder: What it is.
        more: Further texts.
    """
    texts = (*TEXTS, *more)
    return [(PROMPTS[0], text) for text in texts] if encoder.task == "rerank" else texts


def read_inputs(encoder: Encoder, texts: Sequence[str]) -> Inputs:
    """What an encoder reads before it is rounded: texts; to rerank, each with the one after it as its query."""
    if encoder.task != "rerank":
        return texts
    return [(query, text) for query, text in zip((*texts[1:], *texts[:1]), texts, strict=True)]


def answers_of(
    folder: Path,
    encoder: Encoder,
    inputs: Inputs,
    environment: Environment,
    settings: EngineSettings,
    *,
    threads: int = 0,
) -> list[list[float]]:
    """What a model in ONNX says, run as it is run when it is served, all inputs in one request.

    Args:
        folder: Of the model.
        encoder: What it is.
        inputs: As `sample_inputs` gives them.
        environment: The installed ``onnxruntime``.
        settings: Whether it has to be sealed.
        threads: Processors to use; 0 means the physical cores there are.

    Raises:
        UnavailableError: It does not load or does not answer.
    """
    setup = Setup(context_tokens=encoder.max_tokens, slots=1, threads=threads)
    task = Task(encoder.task)
    with running(folder, setup, settings, task=task, engine="onnxruntime", environment=environment.folder) as replica:
        if encoder.task == "rerank":
            body = {"query": inputs[0][0], "documents": [one[1] for one in inputs], "truncate": True}
            results = _asked(replica.endpoint, "/v1/rerank", body)["results"]
            return [[one["relevance_score"]] for one in sorted(results, key=lambda one: int(one["index"]))]
        path, field = ("/v1/embeddings", "embedding") if encoder.task == "embed" else ("/v1/classify", "probs")
        said = _asked(replica.endpoint, path, {"input": list(inputs), "truncate": True})
        return [one[field] for one in sorted(said["data"], key=lambda one: int(one["index"]))]


def compare(
    encoder: Encoder, source: Sequence[Sequence[float]], made: Sequence[Sequence[float]], weight_type: str
) -> Agreement:
    """Holds what two models said against each other.

    Args:
        encoder: What they are.
        source: What the source said.
        made: What the new model said.
        weight_type: ``f32`` or ``int8``.

    Raises:
        InvalidError: ``not-the-same``.
    """
    same_kind = compare_vectors if encoder.task == "embed" else compare_scores
    found = same_kind(source, made, weight_type)
    if found.holds:
        return found
    what = "vectors" if encoder.task == "embed" else "scores"
    raise InvalidError(
        "not-the-same",
        f"the new model is not its source: {found.same} of {found.compared} {what} came out the same, mean difference "
        f"{found.mean_difference:.2g}, at most {found.tolerance:.2g} allowed for {weight_type}",
        hint="keep the model as it is; this one cannot be had so",
    )


def _asked(endpoint: wire.Endpoint, path: str, body: dict[str, Any]) -> Any:
    answer = wire.request(endpoint, "POST", path, body, timeout_seconds=_TIMEOUT_SECONDS)
    if answer.status != 200:
        raise UnavailableError(
            "engine-refused", f"the engine answered {path} with status {answer.status}: {answer.message()}"
        )
    return answer.json()
