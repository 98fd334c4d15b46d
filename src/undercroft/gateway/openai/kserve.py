"""Between the door's routes and a server that speaks KServe's protocol: what is asked, and what is answered. Pure."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson

from undercroft.engines.contract import KserveModel
from undercroft.engines.grpc.messages import infer_message, read_infer
from undercroft.engines.kserve import infer_body, read_answer
from undercroft.gateway.door.engine_errors import context_overflow
from undercroft.gateway.errors import DoorError, invalid
from undercroft.serving.snapshot import ReplicaEntry


class TooManyError(Exception):
    """A request has more inputs than the server takes at once.

    Args:
        most_inputs: That it takes.
    """

    def __init__(self, most_inputs: int) -> None:
        super().__init__(f"at most {most_inputs} inputs at once")
        self.most_inputs = most_inputs


def request_body(data: dict[str, Any], model: KserveModel) -> bytes:
    """What the server gets.

    Args:
        data: A checked request of ``/v1/embeddings``, ``/v1/classify`` or ``/v1/rerank``.
        model: That is asked.

    Raises:
        DoorError: It has token ids, which the server does not take.
        TooManyError: It has to be asked in pieces.
    """
    columns = _columns(data)
    if len(columns[0]) > model.most_inputs:
        raise TooManyError(model.most_inputs)
    body = infer_body(model, columns)
    return infer_message(model.name, body) if model.is_grpc else orjson.dumps(body)


def answer_body(data: dict[str, Any], entry: ReplicaEntry, body: bytes) -> bytes:
    """OpenAI's answer; as it came where the replica speaks OpenAI's protocol itself.

    Args:
        data: The checked request.
        entry: Of the replica that answered.
        body: Its answer.

    Raises:
        DoorError: A text is too long and may not be cut, or the answer is another one.
    """
    model = entry.kserve
    if model is None:
        return body
    columns = _columns(data)
    try:
        answer = read_infer(body) if model.is_grpc else orjson.loads(body)
        rows, tokens = read_answer(model, answer, len(columns[0]))
    except ValueError as error:
        raise DoorError(
            502, "engine-error", f"the engine answered with something else: {error}"[:300], source="engine"
        ) from error
    longest = max(tokens, default=0) if tokens is not None else 0
    if 0 < model.most_tokens < longest and not data.get("truncate"):
        raise context_overflow(longest, model.most_tokens, "documents" if "documents" in data else "input")
    limit = model.most_tokens or longest
    counted = sum(min(count, limit) for count in tokens) if tokens is not None else None
    return orjson.dumps(_told(data, model, rows, counted))


def pieces_of(data: dict[str, Any], most_inputs: int) -> list[dict[str, Any]]:
    """A request as several, each with no more inputs than the server takes, in order."""
    field = "documents" if "documents" in data else "input"
    given = data[field]
    return [{**data, field: given[at : at + most_inputs]} for at in range(0, len(given), most_inputs)]


def joined(answers: list[bytes], most_inputs: int) -> bytes:
    """The answer of all pieces together.

    Args:
        answers: Of each piece, in order.
        most_inputs: Of all pieces but the last.
    """
    read = [orjson.loads(answer) for answer in answers]
    field = "results" if "results" in read[0] else "data"
    whole = [
        {**one, "index": one["index"] + number * most_inputs}
        for number, answer in enumerate(read)
        for one in answer[field]
    ]
    made = {**read[0], field: whole}
    if "usage" in made:
        made["usage"] = {name: sum(answer["usage"][name] for answer in read) for name in made["usage"]}
    return orjson.dumps(made)


def _columns(data: dict[str, Any]) -> list[list[str]]:
    if "documents" in data:
        return [[data["query"]] * len(data["documents"]), data["documents"]]
    given = data["input"]
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(one, str) for one in texts):
        raise invalid("input: expected texts: the server of this model splits them into tokens by itself", "input")
    return [texts]


def _told(data: dict[str, Any], model: KserveModel, rows: list[list[float]], tokens: int | None) -> dict[str, Any]:
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    if "documents" in data:
        results = [{"index": index, "relevance_score": row[0]} for index, row in enumerate(rows)]
        return {"object": "list", "model": model.name, "results": results, **usage}
    one = _vector if len(model.labels) == 0 else _classes
    told = [{"index": index, **one(data, model, row)} for index, row in enumerate(rows)]
    return {"object": "list", "model": model.name, "data": told, **usage}


def _vector(data: dict[str, Any], _model: KserveModel, row: list[float]) -> dict[str, Any]:
    if data.get("encoding_format") != "base64":
        return {"object": "embedding", "embedding": row}
    return {"object": "embedding", "embedding": base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()}


def _classes(_data: dict[str, Any], model: KserveModel, row: list[float]) -> dict[str, Any]:
    best = max(range(len(row)), key=row.__getitem__)
    names = list(model.labels)
    return {"label": names[best], "probs": row, "num_classes": len(row), "labels": names}
