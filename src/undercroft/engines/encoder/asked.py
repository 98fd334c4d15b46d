"""What requests ask, and how they are answered: OpenAI's embeddings, Jina's rerank, vLLM's classify. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.folder import EncoderTask
from undercroft.engines.encoder.inputs import Input
from undercroft.engines.encoder.pooling import Floats

ROUTES: Mapping[str, EncoderTask] = {"/v1/embeddings": "embed", "/v1/rerank": "rerank", "/v1/classify": "classify"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read.

    Args:
        inputs: What is computed, in the order of the answer.
        may_cut: Whether inputs that are too long are cut at their end.
        is_base64: Whether vectors are told as base64 of little-endian 32-bit floats.
        best: How many results of a ranking; None is all.
    """

    inputs: Sequence[Input]
    may_cut: bool
    is_base64: bool = False
    best: int | None = None


def read_request(task: EncoderTask, body: Any) -> Asked:
    """Reads a request's body.

    Args:
        task: What it asks for.
        body: JSON.

    Raises:
        InvalidError: ``bad-request``: a field is missing or is something else.
    """
    if not isinstance(body, dict):
        raise _bad("the body: expected an object")
    may_cut = body.get("truncate", False)
    if not isinstance(may_cut, bool):
        raise _bad("truncate: expected true or false")
    if task == "rerank":
        query, documents, best = body.get("query"), body.get("documents"), body.get("top_n")
        if not isinstance(query, str) or not isinstance(documents, list) or not documents:
            raise _bad("query: expected a text, and documents: a list of texts")
        if not all(isinstance(one, str) for one in documents):
            raise _bad("documents: expected texts")
        if best is not None and (not isinstance(best, int) or isinstance(best, bool) or best < 1):
            raise _bad("top_n: expected a number from 1")
        return Asked([(query, document) for document in documents], may_cut, best=best)
    kind = body.get("encoding_format", "float")
    if kind not in ("float", "base64"):
        raise _bad("encoding_format: expected 'float' or 'base64'")
    return Asked(_inputs(body.get("input")), may_cut, is_base64=kind == "base64")


def _inputs(given: Any) -> list[Input]:
    """A text, texts, token ids, or lists of token ids."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise _bad("input: expected a text, a list of texts, token ids, or a list of lists of token ids")
    if all(isinstance(one, str) for one in given):
        return list(given)
    several = [given] if all(_is_token(one) for one in given) else given
    if not all(isinstance(one, list) and one and all(_is_token(token) for token in one) for one in several):
        raise _bad("input: expected a text, a list of texts, token ids, or a list of lists of token ids")
    return list(several)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def embeddings_answer(model: str, rows: Floats, tokens: int, *, is_base64: bool) -> dict[str, Any]:
    """The answer of ``/v1/embeddings``.

    Args:
        model: What the answer calls the model.
        rows: A vector for each input, in their order.
        tokens: Of all inputs.
        is_base64: How vectors are told.
    """
    told = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows] if is_base64 else list(rows)
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(told)]
    return {"object": "list", "model": model, "data": data, "usage": _usage(tokens)}


def rerank_answer(model: str, rows: Floats, tokens: int, *, best: int | None) -> dict[str, Any]:
    """The answer of ``/v1/rerank``: documents by their score, the best first.

    Args:
        model: What the answer calls the model.
        rows: Shape ``(documents, 1)``.
        tokens: Of all pairs.
        best: How many results; None is all.
    """
    scores = rows[:, 0]
    order = sorted(range(len(scores)), key=lambda index: (-float(scores[index]), index))[:best]
    results = [{"index": index, "relevance_score": float(scores[index])} for index in order]
    return {"object": "list", "model": model, "results": results, "usage": _usage(tokens)}


def classify_answer(model: str, rows: Floats, tokens: int, labels: Sequence[str]) -> dict[str, Any]:
    """The answer of ``/v1/classify``, as vLLM gives it, with the names of the classes.

    Args:
        model: What the answer calls the model.
        rows: Shape ``(inputs, classes)``: probabilities.
        tokens: Of all inputs.
        labels: Names of the classes.
    """
    data = [
        {
            "index": index,
            "label": labels[int(row.argmax())],
            "probs": row,
            "num_classes": len(labels),
            "labels": list(labels),
        }
        for index, row in enumerate(rows)
    ]
    return {"object": "list", "model": model, "data": data, "usage": _usage(tokens)}


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _bad(problem: str) -> InvalidError:
    return InvalidError("bad-request", problem)
