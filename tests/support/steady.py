"""Clients that ask at a steady rate, whatever becomes of their requests: an open loop, as users are one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests

from tests.support.server import Server, wait_for

_WORKERS = 128
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Args:
        user: Who asked.
        asked_at: Monotonic seconds.
        status: HTTP status; 0 where the connection broke.
        release: The header ``x-undercroft-release``; empty where there is none.
        tokens: Of the answer; count.
        text: The answer, or why there is none.
        request_id: As ``X-Request-Id`` says it; empty where the connection broke.
    """

    user: str
    asked_at: float
    status: int
    release: str
    tokens: int
    text: str
    request_id: str = ""


def ask(server: Server, model: str, user: str = "", text: str = "Where is my order AB-1234?", **fields: Any) -> Answer:
    """One chat request."""
    asked_at = time.monotonic()
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if user:
        body["user"] = user
    try:
        response = requests.post(
            f"{server.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {server.key}"},
            json=body,
            timeout=_PATIENCE_SECONDS,
        )
    except requests.RequestException as error:
        return Answer(user, asked_at, 0, "", 0, f"{type(error).__name__}: {error}")
    release = response.headers.get("x-undercroft-release", "")
    request_id = response.headers.get("x-request-id", "")
    if response.status_code != 200:
        return Answer(user, asked_at, response.status_code, release, 0, response.text, request_id)
    found = response.json()
    tokens, said = found["usage"]["completion_tokens"], found["choices"][0]["message"]["content"]
    return Answer(user, asked_at, 200, release, tokens, said or "", request_id)


def rate(server: Server, answer: Answer, rating: str) -> int:
    """What a user says of an answer; the status of the reply."""
    reply = requests.post(
        f"{server.url}/v1/feedback",
        headers={"Authorization": f"Bearer {server.key}"},
        json={"request_id": answer.request_id, "rating": rating},
        timeout=_PATIENCE_SECONDS,
    )
    return reply.status_code


class Steady:
    """Asks from its beginning to its end; each request by another user, unless told otherwise.

    Args:
        server: Whom.
        model: Which model.
        per_second: Requests a second; count.
        user: Request number → who asks.
        fields: More of the request's fields.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        per_second: float,
        user: Callable[[int], str] = lambda number: f"user-{number}",
        **fields: Any,
    ) -> None:
        self.answers: list[Answer] = []
        self._server = server
        self._model = model
        self._per_second = per_second
        self._user = user
        self._fields = fields
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def failed(self) -> list[Answer]:
        """Those that are no answer."""
        return [answer for answer in self.answers if answer.status != 200]

    def wait_for_more(self, count: int, release: str = "") -> None:
        """Waits until so many requests that are asked from now on were answered, by one release where one is named."""
        now = time.monotonic()

        def enough() -> bool:
            since = [a for a in list(self.answers) if a.asked_at > now and a.status == 200]
            return sum(not release or answer.release == release for answer in since) >= count

        wait_for(enough, f"{count} answers{f' of {release}' if release else ''}")

    def _run(self) -> None:
        began, number = time.monotonic(), 0
        with ThreadPoolExecutor(_WORKERS) as pool:
            while not self._ending.wait(max(0.0, began + number / self._per_second - time.monotonic())):
                pool.submit(self._ask, number)
                number += 1

    def _ask(self, number: int) -> None:
        answer = ask(self._server, self._model, self._user(number), f"Where is order AB-{number}?", **self._fields)
        self.answers.append(answer)
