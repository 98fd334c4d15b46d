"""Users say what they think of answers, and it stands in the row of the request."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from sqlalchemy import select

from tests.support.server import Server
from undercroft.core.home import Home
from undercroft.storage.database import Database
from undercroft.storage.tables import usage


def post(server: Server, path: str, key: str, **body: Any) -> requests.Response:
    """One request with a key."""
    return requests.post(
        f"{server.url}{path}", headers={"Authorization": f"Bearer {key}"}, json=body, timeout=60, stream=True
    )


def answered(server: Server, **fields: Any) -> str:
    """A question that was answered; its id."""
    messages = [{"role": "user", "content": "Where is my order AB-1234?"}]
    reply = post(server, "/v1/chat/completions", server.key, model="ticket-pilot", messages=messages, **fields)
    assert reply.status_code == 200
    assert reply.content
    return reply.headers["X-Request-Id"]


def rate(server: Server, request_id: str, rating: str, *, key: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
    """What the door says of a rating."""
    reply = post(server, "/v1/feedback", key or server.key, request_id=request_id, rating=rating, **more)
    return reply.status_code, reply.json()


def kept(server: Server, request_id: str) -> str | None:
    """The rating in the row of a request."""
    database = Database(Home(server.home).database_file)
    with database.read() as connection:
        found = connection.execute(select(usage.c.rating).where(usage.c.request_id == request_id)).scalar_one()
    database.close()
    return str(found) if found is not None else None


def test_answers_are_rated_at_once_and_again(server: Server) -> None:
    """Right after the answer, streamed or not, a rating finds its request; a later one takes its place; status counts
    both requests."""
    whole, streamed = answered(server, max_tokens=8), answered(server, max_tokens=8, stream=True)
    expected = {"object": "feedback", "model": "ticket-pilot", "release": None}
    assert rate(server, streamed, "good") == (200, {**expected, "request_id": streamed, "rating": "good"})
    assert rate(server, whole, "good")[0] == 200
    assert rate(server, whole, "bad") == (200, {**expected, "request_id": whole, "rating": "bad"})
    assert (kept(server, whole), kept(server, streamed)) == ("bad", "good")
    assert {"name": "ticket-pilot", "bad": 1, "rated": 2} in server.status()["ratings"]
    assert "ticket-pilot 1 of 2" in server.run("status").stdout


@pytest.mark.parametrize("whose", ["nobody", "another key"])
def test_only_whoever_asked_rates(server: Server, whose: str) -> None:
    """An id that nobody knows and one that another key asked are the same 404, and nothing is kept."""
    request_id = "req-of-nobody" if whose == "nobody" else answered(server, max_tokens=4)
    key = server.key if whose == "nobody" else server.json("key", "create", "other")["key"]
    status, body = rate(server, request_id, "bad", key=key)
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "request-not-found", "request_id")
    assert request_id in body["error"]["message"]
    if whose != "nobody":
        assert kept(server, request_id) is None


def test_a_wrong_field_is_named(server: Server) -> None:
    """As on every route; a comment is refused with the reason."""
    status, body = rate(server, "req-1", "good", comment="Anna was rude")
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "refused-field", "comment")
    assert "no text is kept" in body["error"]["message"]
    assert rate(server, "req-1", "fine")[1]["error"]["message"] == "rating: expected 'good' or 'bad', got 'fine'"
    assert rate(server, "req-1", "good", key="uc-wrong")[0] == 401
