"""The process that computes: requests come in on stdin, tokens go out on stdout, a JSON object each line.

    in     begin: number, tokens, most_tokens, sampling, schema (JSON schema, or null)       drop: number
    out    ready                                               begun: number, found (tokens that need not be computed)
           token: number, token, logprob, top, end             failed: number, message, is_schema (it is of no use)

Requests take turns: one token each, or one piece of a prompt, so that a long prompt holds nobody up for long. Each is
computed by itself, so that an answer never depends on who else asks. (What the library calls its engine computes
several as one batch on processors, too, but lets nobody in until the last of a batch has ended.)

An answer that keeps to a schema is drawn by the library, which holds the grammar, from scores of ours. Its slot keeps
nothing for those that come after.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime_genai

from undercroft.engines.decoder.sampling import Choice, Sampler, Sampling
from undercroft.engines.decoder.turns import Slot, Turns

_PIECE_TOKENS = 64
_ENDED = None
_BAD_SCHEMA = "Error creating grammar"


@dataclass(slots=True)
class _Request:
    prompt: list[int]
    most_tokens: int
    sampler: Sampler
    schema: str | None = None
    told: int = 0


class Computing:
    """Computes requests in their slots.

    Args:
        model: As the library has loaded it.
        slots: Requests at the same time; count.
        context_tokens: Of one, prompt and answer together.
        ending: Tokens that end an answer.
        out: Where events go, lines of JSON.
    """

    def __init__(self, model: Any, slots: int, context_tokens: int, ending: frozenset[int], out: IO[str]) -> None:
        self._model, self._context_tokens, self._ending, self._out = model, context_tokens, ending, out
        self._turns = Turns(slots)
        self._generators = [self._fresh() for _ in range(slots)]
        self._guided: set[int] = set()
        self._requests: dict[int, _Request] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a token."""
        return not self._turns.running and not self._turns.waiting

    def take(self, order: dict[str, Any]) -> None:
        """Takes a request in, or drops one."""
        number = int(order["number"])
        if order["do"] == "drop":
            self._forget(number)
            return
        given = order["sampling"]
        bias = {int(token): float(value) for token, value in given.pop("logit_bias").items()}
        sampler = Sampler(Sampling(**given, logit_bias=bias), order["tokens"])
        self._requests[number] = _Request(order["tokens"], int(order["most_tokens"]), sampler, order["schema"])
        self._turns.add(number, order["tokens"])

    def step(self) -> None:
        """Lets in who waits, and gives the next its turn."""
        while (admitted := self._turns.admit()) is not None:
            slot, found = admitted
            assert slot.request is not None  # it was admitted
            asked, schema = slot.request, self._requests[slot.request].schema
            try:
                self._ready(slot, found, schema)
            except Exception as error:  # noqa: BLE001  (the boundary of a request)
                self._forget(asked)
                self._tell(event="failed", number=asked, message=_why(error, schema), is_schema=schema is not None)
                continue
            self._tell(event="begun", number=asked, found=len(slot.kept))
        slot_ = self._turns.next()
        if slot_ is None or slot_.request is None:
            return
        number = slot_.request
        try:
            self._advance(slot_, self._requests[number])
        except Exception as error:  # noqa: BLE001  (the boundary of a request)
            self._forget(number)
            slot_.kept = []
            self._generators[slot_.number] = self._fresh()
            self._guided.discard(slot_.number)
            self._tell(event="failed", number=number, message=str(error)[:300], is_schema=False)

    def _advance(self, slot: Slot, request: _Request) -> None:
        left = request.prompt[len(slot.kept) : len(slot.kept) + _PIECE_TOKENS] if not request.told else []
        if left:
            self._append(slot, left)
        if len(slot.kept) < len(request.prompt):
            return
        if request.schema is None:
            choice = request.sampler.choose(self._generators[slot.number].get_logits()[0, -1])
        else:
            choice = self._drawn(slot, request.sampler)
        request.told += 1
        end = self._end(choice, request)
        self._tell(event="token", number=slot.request, end=end, **asdict(choice))
        if end is None and request.schema is None:
            self._append(slot, [choice.token])
        elif end is None:
            slot.kept = [*slot.kept, choice.token]
        elif slot.request is not None:
            self._forget(slot.request)

    def _drawn(self, slot: Slot, sampler: Sampler) -> Choice:
        """The token of the largest score that the schema allows; the library has read it then."""
        generator = self._generators[slot.number]
        logits = np.array(generator.get_logits())  # what the library gives is changed with what is set
        plain = logits[0, -1].copy()
        logits[0, -1] = sampler.scores(plain)
        generator.set_logits(logits)
        generator.generate_next_token()
        return sampler.take(int(generator.get_next_tokens()[0]), plain)

    def _end(self, choice: Choice, request: _Request) -> str | None:
        if choice.token in self._ending:
            return "stop"
        return "length" if request.told >= request.most_tokens else None

    def _append(self, slot: Slot, tokens: list[int]) -> None:
        self._generators[slot.number].append_tokens(np.asarray(tokens, np.int32))
        slot.kept = slot.kept + tokens

    def _ready(self, slot: Slot, found: int, schema: str | None) -> None:
        """Makes a slot ready for a request."""
        if schema is None and slot.number not in self._guided:
            self._rewind(slot, found)
            return
        self._generators[slot.number] = self._fresh(schema)
        slot.kept = []
        if schema is None:
            self._guided.discard(slot.number)
        else:
            self._guided.add(slot.number)

    def _rewind(self, slot: Slot, found: int) -> None:
        """Keeps the first tokens of a slot; a kind of model whose state cannot go back begins anew."""
        if found < len(slot.kept):
            try:
                self._generators[slot.number].rewind_to(found)
            except Exception:  # noqa: BLE001  (the library says it so)
                self._generators[slot.number] = self._fresh()
                found = 0
        slot.kept = slot.kept[:found]

    def _fresh(self, schema: str | None = None) -> Any:
        settings = onnxruntime_genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=self._context_tokens, do_sample=False)
        if schema is not None:
            settings.set_guidance("json_schema", schema)
        return onnxruntime_genai.Generator(self._model, settings)

    def _forget(self, number: int) -> None:
        self._requests.pop(number, None)
        self._turns.drop(number)

    def _tell(self, **event: Any) -> None:
        print(json.dumps(event), file=self._out, flush=True)


def _why(error: Exception, schema: str | None) -> str:
    said = str(error)[:300]
    if schema is None or said.startswith(_BAD_SCHEMA):
        return said
    return f"the tokenizer of this model is of a kind that the library has no grammars for ({said})"


def _listen(orders: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(_ENDED)


def main(run_dir: Path) -> int:
    """Computes until stdin ends.

    Args:
        run_dir: Of the replica: ``decoder.json`` lies there.
    """
    # What the library prints must not come between the events.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    options = json.loads((run_dir / "decoder.json").read_bytes())
    onnxruntime_genai.disable_telemetry_events()
    try:
        config = onnxruntime_genai.Config(options["model"])
        threads: dict[str, int | str] = {"intra_op_num_threads": int(options["threads"]), "inter_op_num_threads": 1}
        # Threads that wait for work by looking for it all the time take the processor from the door.
        quiet = {"session.intra_op.allow_spinning": "0"}
        session = {"model": {"decoder": {"session_options": threads | quiet}}}
        config.overlay(json.dumps(session))
        model = onnxruntime_genai.Model(config)
        computing = Computing(
            model, int(options["slots"]), int(options["context_tokens"]), frozenset(options["ending"]), out
        )
    except Exception as error:  # noqa: BLE001  (whatever the library finds wrong with the model)
        print(f"undercroft: error loading model: {error}", file=sys.stderr, flush=True)
        return 1
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    print(json.dumps({"event": "ready"}), file=out, flush=True)
    while True:
        while computing.is_idle or not orders.empty():
            order = orders.get()
            if order is _ENDED:
                os._exit(0)
            computing.take(order)
        computing.step()
