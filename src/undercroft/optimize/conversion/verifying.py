"""Runs a converted model in its own engine and holds it against what the published one said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import Task
from undercroft.optimize.conversion.comparing import (
    Agreement,
    Answer,
    Continuation,
    compare_continuations,
    compare_embeddings,
)
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.measures.continuations import continue_greedily

_CONTEXT_TOKENS = 512
_TIMEOUT_SECONDS = 600.0


def verify_generation(
    model: Path,
    texts: Sequence[str],
    source: Sequence[Continuation],
    weight_type: str,
    *,
    adapter: Path | None = None,
) -> Agreement:
    """How well greedy answers agree.

    Args:
        model: The converted GGUF.
        texts: What the source went on with.
        source: What it said.
        weight_type: What the converted weights are kept in.
        adapter: A GGUF adapter that was converted for the model; None where the model itself was.

    Raises:
        InvalidError: ``not-the-same``: they do not agree; or llama.cpp cannot load it.
        UnavailableError: Memory is short.
    """
    most = max(len(continuation.tokens) for continuation in source)
    found = continue_greedily(model, texts, most_tokens=most, adapter=adapter)
    answers = [Answer(one.prompt, one.tokens, one.log_probabilities, one.ending) for one in found]
    return _checked(compare_continuations(source, answers, weight_type), weight_type, "tokens")


def verify_embeddings(
    model: Path, texts: Sequence[str], source: Sequence[Sequence[float]], weight_type: str, settings: EngineSettings
) -> Agreement:
    """How well embeddings agree.

    Args:
        model: The converted GGUF.
        texts: What the source embedded.
        source: Its vectors, of length 1.
        weight_type: What the converted weights are kept in.
        settings: How the engine is run.

    Raises:
        InvalidError: ``not-the-same``.
        UnavailableError: The engine does not load it or does not answer.
    """
    with running(model, Setup(_CONTEXT_TOKENS, slots=1), settings, task=Task.EMBED) as replica:
        said = _asked(replica.endpoint, "/v1/embeddings", {"input": list(texts)})
    vectors = [item["embedding"] for item in sorted(said["data"], key=lambda item: int(item["index"]))]
    return _checked(compare_embeddings(source, vectors, weight_type), weight_type, "embeddings")


def _asked(endpoint: wire.Endpoint, path: str, body: dict[str, Any]) -> Any:
    answer = wire.request(endpoint, "POST", path, body, timeout_seconds=_TIMEOUT_SECONDS)
    if answer.status != 200:
        raise UnavailableError(
            "engine-refused", f"the engine answered {path} with status {answer.status}: {answer.message()}"
        )
    return answer.json()


def _checked(found: Agreement, weight_type: str, what: str) -> Agreement:
    if found.holds:
        return found
    raise InvalidError(
        "not-the-same",
        f"the converted model is not its source: {found.same} of {found.compared} {what} came out the same, "
        f"mean difference {found.mean_difference:.2g}, at most {found.tolerance:.2g} allowed for {weight_type}",
        hint="keep the weights in f32 or bf16, or report it: its converter and its engine disagree",
    )
