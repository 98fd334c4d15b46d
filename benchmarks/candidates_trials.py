"""Bad candidates on a real server: who is never shown to users, and how many bad answers the others gave them."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import product
from benchmarks.care_bank import EMPTY, HOT, LANGUAGE, NAME, NONSENSE, TEMPLATE, TWO_LEVELS, Served
from benchmarks.processes import ROOT
from undercroft.watch.probes.door_client import DoorClient, RefusedAnswerError

CANDIDATES = (TEMPLATE, TWO_LEVELS, NONSENSE, LANGUAGE, HOT, EMPTY)
_TICKETS = ROOT / "tools" / "starter" / "handwritten.jsonl"
_ANSWER_TOKENS = 120
_COMPARED = ("language", "intent", "order_id", "summary")
_PER_SECOND = 4.0
_CANARY = "50%"
_PROMOTION_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a user writes, and what is right.

    Args:
        text: The question.
        right: Of the answer's fields, as what is in production answers.
    """

    text: str
    right: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """How a promotion of a bad candidate went.

    Args:
        state: In which it ended: ``reverted``, ``done`` …
        note: Why.
        answers: That users got of the candidate; count.
        bad: Of these; count.
    """

    state: str
    note: str
    answers: int
    bad: int


def tickets_of(served: Served, count: int) -> list[Ticket]:
    """Hand-written tickets of all languages that production answers with the true language, intent and order id.

    Args:
        served: As `care_bank.serving` gives it.
        count: That are asked; at most 60.
    """
    client = _client(served)
    found = []
    lines = _TICKETS.read_text(encoding="utf-8").splitlines()
    for line in lines[:: max(1, len(lines) // count)][:count]:
        known = json.loads(line)
        answer = _fields(_ask(client, f"{NAME}@1", known["text"]))
        if answer[:3] == (known["language"], known["intent"], known["order_id"]):
            found.append(Ticket(known["text"], answer))
    return found


def bad_share(served: Served, variant: str, tickets: Sequence[Ticket]) -> float:
    """Of a variant's answers to all tickets, greedy but for one whose release says otherwise."""
    wanted = f"{NAME}@{served.releases[variant]}"
    answers = [_request(served, wanted, ticket.text, "someone")[1] for ticket in tickets]
    return sum(_fields(text) != ticket.right for text, ticket in zip(answers, tickets, strict=True)) / len(tickets)


def try_candidate(served: Served, variant: str, tickets: Sequence[Ticket], seed: int, *, has_probes: bool) -> Trial:
    """Promotes a bad candidate with half of the users, who ask all the while; puts back what was there.

    Args:
        served: As `care_bank.serving` gives it.
        variant: Of the candidate.
        tickets: What users write.
        seed: Of who writes what.
        has_probes: Whether the standard questions are asked first.
    """
    number = served.releases[variant]
    users = _Users(served, tickets, seed)
    words = ["release", "promote", f"{NAME}@{number}", "--canary", _CANARY, "--json"]
    words += [] if has_probes else ["--no-probes"]
    users.start()
    try:
        done = subprocess.run(
            [str(product.COMMAND), *words],
            env=dict(served.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROMOTION_SECONDS,
        )
    finally:
        users.stop()
    ended = json.loads(done.stdout)
    if ended["state"] == "done":
        product.command("release", "rollback", NAME, variables=served.variables)
    theirs = [is_bad for release, is_bad in users.seen if release == f"{NAME}@{number}"]
    return Trial(ended["state"], ended["note"], len(theirs), sum(theirs))


class _Users(threading.Thread):
    """Ask one after the other at a steady pace, each request by another user, until they are stopped."""

    def __init__(self, served: Served, tickets: Sequence[Ticket], seed: int) -> None:
        super().__init__(name="users")
        self._served = served
        self._tickets = tickets
        self._rng = random.Random(seed)
        self._ending = threading.Event()
        self.seen: list[tuple[str, bool]] = []

    def run(self) -> None:
        """Asks."""
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            due += 1 / _PER_SECOND
            ticket = self._rng.choice(self._tickets)
            release, text = _request(self._served, NAME, ticket.text, f"user-{self._rng.random()}")
            self.seen.append((release, _fields(text) != ticket.right))

    def stop(self) -> None:
        """Waits for the last answer."""
        self._ending.set()
        self.join()


def _request(served: Served, model: str, text: str, user: str) -> tuple[str, str]:
    """The release that answered, and what it said; an error says nothing."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": _ANSWER_TOKENS,
        "user": user,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{served.server.port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {served.server.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            said = json.load(response)["choices"][0]["message"]["content"] or ""
            return response.headers.get("x-undercroft-release", ""), said
    except urllib.error.HTTPError as error:
        with error:
            return error.headers.get("x-undercroft-release", ""), ""


def _client(served: Served) -> DoorClient:
    return DoorClient(f"http://127.0.0.1:{served.server.port}", served.server.key)


def _ask(client: DoorClient, model: str, text: str) -> str:
    try:
        return client.chat(model, [{"role": "user", "content": text}], max_tokens=_ANSWER_TOKENS).text
    except RefusedAnswerError:
        return ""


def _fields(text: str) -> tuple[Any, ...]:
    """What counts of an answer; nothing where it is not the JSON that the starter gives."""
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    return tuple(found.get(name) for name in _COMPARED) if isinstance(found, dict) else ()
