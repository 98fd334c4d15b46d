"""What is remembered of one request while it is served: counts and times, never its text."""

from __future__ import annotations

from typing import Any

from undercroft.gateway.errors import Source
from undercroft.gateway.histogram import Histogram


class Trace:
    """Filled in on a request's way, read once at its end by metrics, usage and the access log.

    Times are `time.monotonic`; 0.0 means that it did not come to that. ``headers`` go out with the answer. Tokens are
    None where an engine has the request and did not tell how many they are, and 0 where none came to it.
    ``deployment`` is the name that was asked for, ``served_by`` the deployment whose replicas answered; it is another
    where the name has releases. ``is_tried``: a candidate is being tried for the name; ``is_on_trial``: it answers this
    very request, though nobody asked for it. ``adapter``: the LoRA that was asked for by its name; None is the base.
    """

    __slots__ = (
        "adapter",
        "completion_tokens",
        "deployment",
        "ended_at",
        "error_source",
        "first_token_at",
        "headers",
        "input_language",
        "input_topic",
        "inter_token",
        "is_background",
        "is_on_trial",
        "is_tried",
        "prompt_tokens",
        "queue_seconds",
        "release",
        "replica",
        "route",
        "served_by",
        "signs",
        "status",
    )

    def __init__(self) -> None:
        self.route = ""
        self.deployment = ""
        self.adapter: str | None = None
        self.served_by = ""
        self.release: int | None = None
        self.replica = ""
        self.status = 0
        self.error_source: Source | None = None
        self.prompt_tokens: int | None = 0
        self.completion_tokens: int | None = 0
        self.queue_seconds = 0.0
        self.first_token_at = 0.0
        self.ended_at = 0.0
        self.headers: list[tuple[bytes, bytes]] = []
        self.inter_token: Histogram | None = None
        self.input_language: str | None = None
        self.input_topic: int | None = None
        self.is_background = False
        self.is_tried = False
        self.is_on_trial = False
        self.signs: dict[str, Any] | None = None
