"""The process that computes, as the one that answers sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undercroft.engines.decoder.sampling import Sampling

Event = dict[str, Any]
Hear = Callable[[Event], None]
_PROGRAM = Path(__file__).with_name("program.py")


@dataclass(slots=True)
class Counts:
    """What was computed since the start; counts.

    Args:
        prompt_tokens: Of all prompts.
        found_tokens: Of these, that were kept from an earlier request.
        answer_tokens: Of all answers.
        begun: Requests that got a slot.
    """

    prompt_tokens: int = 0
    found_tokens: int = 0
    answer_tokens: int = 0
    begun: int = 0


class Computer:
    """Starts the process and passes requests to it. For one event loop.

    Args:
        run_dir: Of the replica.

    Raises:
        RuntimeError: It did not load the model; its own words are in the log.
    """

    def __init__(self, run_dir: Path) -> None:
        self.counts = Counts()
        self._numbers = itertools.count()
        self._hearing: dict[int, Hear] = {}
        self._begun: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(run_dir), "compute"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the process that computes ended with status {self._process.wait()}")
        self._loop: asyncio.AbstractEventLoop | None = None
        # A pipe is full soon, and whoever computes does not read: the loop must not wait for that.
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._pass_on, name="passing on", daemon=True).start()

    @property
    def running(self) -> int:
        """Requests in slots."""
        return len(self._begun)

    @property
    def waiting(self) -> int:
        """Requests without one."""
        return len(self._hearing) - len(self._begun)

    def begin(
        self, tokens: list[int], most_tokens: int, sampling: Sampling, hear: Hear, *, schema: str | None = None
    ) -> int:
        """Asks for an answer.

        Args:
            tokens: The prompt.
            most_tokens: Of the answer.
            sampling: How its tokens are chosen.
            hear: Gets each event of it, in the loop.
            schema: JSON schema that the answer keeps to, as text; None is any text.

        Returns:
            Its number, to drop it by.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._listen, name="listening", daemon=True).start()
        number = next(self._numbers)
        self._hearing[number] = hear
        self.counts.prompt_tokens += len(tokens)
        order = {"do": "begin", "number": number, "tokens": tokens, "most_tokens": most_tokens}
        self._orders.put({**order, "sampling": asdict(sampling), "schema": schema})
        return number

    def drop(self, number: int) -> None:
        """Computes no more of an answer; does nothing where it has ended."""
        self._begun.discard(number)
        if self._hearing.pop(number, None) is not None:
            self._orders.put({"do": "drop", "number": number})

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _pass_on(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, which whoever listens to it will notice
            while True:
                self._process.stdin.write(json.dumps(self._orders.get()) + "\n")
                self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._loop is not None
        for line in self._process.stdout:
            self._loop.call_soon_threadsafe(self._take, json.loads(line))
        # Without it there is nothing left to do: who watches this replica starts another.
        print("undercroft: the process that computes has ended", file=sys.stderr, flush=True)
        os._exit(1)

    def _take(self, event: Event) -> None:
        number = event["number"]
        if event["event"] == "begun":
            self.counts.found_tokens += event["found"]
            self.counts.begun += 1
            if number in self._hearing:
                self._begun.add(number)
            return
        if event["event"] == "token":
            self.counts.answer_tokens += 1
        hear = self._hearing.get(number)
        if hear is None:
            return  # it was dropped meanwhile
        if event["event"] == "failed" or event["end"] is not None:
            del self._hearing[number]
            self._begun.discard(number)
        hear(event)
