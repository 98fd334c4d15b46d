"""Which path is answered by what, and what it takes to be let in.

path                        who may      answered by
──────────────────────────  ───────────  ───────────────────────────────────
/  /healthz  /readyz        everybody    the door
/v1/…  /metrics             any key      the door
/rerank  /classify          any key      the door
/v1/feedback                any key      the door, once control has kept it
/openapi.json               any key      control
/admin/…                    admin keys   control
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.classify import classify
from undercroft.gateway.openai.embeddings import embeddings
from undercroft.gateway.openai.generate import chat, completions
from undercroft.gateway.openai.listing import PREFIX, list_models, show_model
from undercroft.gateway.openai.rerank import rerank
from undercroft.gateway.openai.responses import responses

Handler = Callable[[Dispatcher, Exchange], Awaitable[None]]


class Entrance(Enum):
    """Who is let in."""

    OPEN = auto()
    KEY = auto()
    ADMIN = auto()


class Own(Enum):
    """Answered by the door process itself, not with an engine."""

    ROOT = auto()
    ALIVE = auto()
    READY = auto()
    METRICS = auto()
    FEEDBACK = auto()
    CONTROL = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One path.

    Args:
        name: For logs, metrics and usage; a fixed set, so that no client makes new ones.
        methods: What is allowed; empty is left to control.
        entrance: Who is let in.
        answer: By what.
    """

    name: str
    methods: tuple[str, ...]
    entrance: Entrance
    answer: Handler | Own


_GET = ("GET", "HEAD")
_POST = ("POST",)

_ROUTES: dict[str, Route] = {
    "/": Route("/", _GET, Entrance.OPEN, Own.ROOT),
    "/healthz": Route("/healthz", _GET, Entrance.OPEN, Own.ALIVE),
    "/readyz": Route("/readyz", _GET, Entrance.OPEN, Own.READY),
    "/metrics": Route("/metrics", _GET, Entrance.KEY, Own.METRICS),
    "/v1/models": Route("/v1/models", _GET, Entrance.KEY, list_models),
    "/v1/chat/completions": Route("/v1/chat/completions", _POST, Entrance.KEY, chat),
    "/v1/completions": Route("/v1/completions", _POST, Entrance.KEY, completions),
    "/v1/embeddings": Route("/v1/embeddings", _POST, Entrance.KEY, embeddings),
    "/v1/responses": Route("/v1/responses", _POST, Entrance.KEY, responses),
    "/v1/rerank": Route("/v1/rerank", _POST, Entrance.KEY, rerank),
    "/v2/rerank": Route("/v1/rerank", _POST, Entrance.KEY, rerank),
    "/rerank": Route("/v1/rerank", _POST, Entrance.KEY, rerank),
    "/v1/classify": Route("/v1/classify", _POST, Entrance.KEY, classify),
    "/classify": Route("/v1/classify", _POST, Entrance.KEY, classify),
    "/v1/feedback": Route("/v1/feedback", _POST, Entrance.KEY, Own.FEEDBACK),
    "/openapi.json": Route("/openapi.json", _GET, Entrance.KEY, Own.CONTROL),
}
_SHOW_MODEL = Route("/v1/models", _GET, Entrance.KEY, show_model)
_ADMIN = Route("/admin", (), Entrance.ADMIN, Own.CONTROL)


def find_route(method: str, path: str) -> Route:
    """The route of a request.

    Raises:
        DoorError: 404 where there is none, 405 with ``Allow`` where the method is another.
    """
    route = _ROUTES.get(path)
    if route is None:
        if path.startswith(PREFIX) and "/" not in path[len(PREFIX) :] and len(path) > len(PREFIX):
            route = _SHOW_MODEL
        elif path.startswith("/admin/"):
            route = _ADMIN
        else:
            shown = path if len(path) <= 80 else path[:80] + "…"
            raise DoorError(404, "no-such-route", f"there is nothing at '{shown}'; GET / says where to read on")
    if route.methods and method not in route.methods:
        allow = ", ".join(route.methods)
        raise DoorError(405, "wrong-method", f"'{path}' takes {allow}, got {method}", allow=allow)
    return route
