"""The first real request of a replica, and the routes of each task, as every OpenAI-compatible engine knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undercroft.engines.contract import Task

ROUTES: Mapping[Task, frozenset[str]] = {
    Task.GENERATE: frozenset({"chat", "completions"}),
    Task.EMBED: frozenset({"embeddings"}),
    Task.RERANK: frozenset({"rerank"}),
    Task.CLASSIFY: frozenset({"classify"}),
}


def first_request(task: Task, model: str, *, max_tokens: int) -> tuple[str, dict[str, Any]]:
    """Path and body of a short request.

    Args:
        task: What the model is for.
        model: What the engine calls it.
        max_tokens: Longest answer of a model that generates.
    """
    if task is Task.EMBED:
        return "/v1/embeddings", {"model": model, "input": "Hello"}
    if task is Task.RERANK:
        return "/v1/rerank", {"model": model, "query": "Hello", "documents": ["Hello", "Goodbye"]}
    if task is Task.CLASSIFY:
        return "/v1/classify", {"model": model, "input": "Hello"}
    message = {"role": "user", "content": "Hello"}
    return "/v1/chat/completions", {"model": model, "messages": [message], "max_tokens": max_tokens}
