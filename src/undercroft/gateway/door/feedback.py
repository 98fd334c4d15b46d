"""``/v1/feedback``: what users say of answers. The door checks it and control, which has the usage rows, keeps it."""

from __future__ import annotations

import orjson

from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.proxy import ControlProxy, away
from undercroft.gateway.door.upstream import UpstreamError
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.fields import FEEDBACK, read


async def take_feedback(control: ControlProxy, exchange: Exchange) -> None:
    """Answers ``POST /v1/feedback``.

    Args:
        control: Where it is kept.
        exchange: Of a key that was checked.

    Raises:
        DoorError: 400; a field is wrong. 404; the key has no such request. 503; control is away.
    """
    assert exchange.key is not None
    data = read(FEEDBACK, exchange.body)
    given = {name: data[name] for name in FEEDBACK.required}
    try:
        body = await control.post("/internal/feedback", orjson.dumps({**given, "key_id": exchange.key.id}))
    except UpstreamError as error:
        raise away(error) from error
    rated = orjson.loads(body)["rated"]
    if rated is None:
        raise DoorError(
            404,
            "request-not-found",
            f"request_id: this key has no answered request '{data['request_id']}' that is still known; the header "
            "X-Request-Id of an answer says its id, and usage.retention_days how long it is known",
            param="request_id",
        )
    name, release = rated["deployment"], rated["release"]
    kept = {
        "object": "feedback",
        **given,
        "model": name,
        "release": f"{name}@{release}" if release is not None else None,
    }
    exchange.respond(200, orjson.dumps(kept))
