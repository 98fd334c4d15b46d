"""``/v1/rerank`` in the form that Jina and Cohere share; ``/rerank`` and ``/v2/rerank`` are the same."""

from __future__ import annotations

from typing import Any

import orjson

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.calls import answer_by_release
from undercroft.gateway.openai.encoders import ask_rows
from undercroft.gateway.openai.fields import RERANK, read
from undercroft.serving.snapshot import ReleaseEntry

_ENGINE_ROUTE = "/v1/rerank"


async def rerank(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/rerank``."""
    data = read(RERANK, exchange.body)
    texts = [one if isinstance(one, str) else one["text"] for one in data["documents"]]
    plain = {"model": data["model"], "query": data["query"], "documents": texts}
    if data.get("truncate"):
        plain["truncate"] = True

    async def ask_release(deployment: Deployment, _release: ReleaseEntry | None) -> bytes:
        return await ask_rows(
            dispatcher, exchange, deployment, RERANK, plain, orjson.dumps(plain), route=_ENGINE_ROUTE, task="rerank"
        )

    body = await answer_by_release(dispatcher, exchange, data, "rerank", ask_release)
    results = ranked(orjson.loads(body), texts, data.get("top_n"), has_documents=bool(data.get("return_documents")))
    prompt = exchange.trace.prompt_tokens or 0
    answer = {
        "id": "rerank-" + exchange.id,
        "object": "list",
        "model": data["model"],
        "results": results,
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    }
    exchange.respond(200, orjson.dumps(answer))


def ranked(answer: dict[str, Any], texts: list[str], top_n: int | None, *, has_documents: bool) -> list[dict[str, Any]]:
    """The engine's scores, best first.

    Args:
        answer: What the engine said: ``results`` with ``index`` and ``relevance_score``.
        texts: The documents as they were sent.
        top_n: How many results; None is all.
        has_documents: Repeat each document in its result.

    Raises:
        DoorError: 502; the engine's answer has no such results.
    """
    try:
        scores = {int(one["index"]): float(one["relevance_score"]) for one in answer["results"]}
        order = sorted(scores, key=lambda index: (-scores[index], index))[:top_n]
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
        if has_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        return results
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DoorError(
            502, "engine-error", "the engine answered with something other than scores", source="engine"
        ) from error
