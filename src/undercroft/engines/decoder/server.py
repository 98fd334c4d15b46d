"""The server of a replica that generates: OpenAI's routes over a Unix socket, with a key. In its own environment."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from undercroft.core.errors import InvalidError
from undercroft.engines.decoder.answers import Envelope, Said
from undercroft.engines.decoder.asked import Asked, read_request
from undercroft.engines.decoder.computer import Computer, Event
from undercroft.engines.decoder.folder import Decoder, read_decoder
from undercroft.engines.decoder.spoken import Spoken
from undercroft.engines.decoder.templates import ChatTemplate
from undercroft.engines.decoder.texts import Splitter
from undercroft.engines.own_server import (
    GoneError,
    Message,
    Receive,
    Send,
    error_content,
    has_key,
    ignored,
    key_of,
    metrics_text,
    parsed,
    read_body,
    respond,
    serve,
    too_long_content,
    until_gone,
)

_CHAT, _COMPLETIONS, _TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class _TooLongError(Exception):
    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(tokens, limit)
        self.tokens, self.limit = tokens, limit


class _FailedError(Exception):
    """It could not be computed."""


class _BadSchemaError(_FailedError):
    """No answer can keep to the schema."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a replica takes.

    Args:
        context_tokens: Of one request, prompt and answer together.
        slots: Requests at the same time; count.
    """

    context_tokens: int
    slots: int


class Server:
    """Answers requests; an ASGI application.

    Args:
        name: What answers call the model.
        template: Of conversations; None where the model has none.
        splitter: Its tokenizer.
        computer: What computes.
        limits: What it takes.
        key: That requests have to bring.
    """

    def __init__(
        self,
        name: str,
        template: ChatTemplate | None,
        splitter: Splitter,
        computer: Computer,
        limits: Limits,
        key: str,
    ) -> None:
        self._name, self._template, self._splitter = name, template, splitter
        self._computer, self._limits = computer, limits
        self._authorization = f"Bearer {key}".encode()
        self._splitting = ThreadPoolExecutor(1, thread_name_prefix="splitting")
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http"
        if not has_key(scope, self._authorization):
            await ignored(receive)
            await respond(send, 401, error_content("wrong or missing key", "authentication_error"))
            return
        try:
            await self._answer(scope["method"], scope["path"], receive, send)
        except GoneError:
            return
        except _TooLongError as error:
            await respond(send, 400, too_long_content(error.tokens, error.limit))
        except InvalidError as error:
            await respond(send, 400, error_content(error.message, "invalid_request_error"))
        except _BadSchemaError as error:
            await respond(send, 400, error_content(f"response_format: {error}", "invalid_request_error"))
        except Exception as error:  # noqa: BLE001  (the boundary of a request)
            print(f"undercroft: a request failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            await respond(send, 500, error_content(f"it could not be computed: {error}"[:400], "server_error"))

    async def _answer(self, method: str, path: str, receive: Receive, send: Send) -> None:
        if method == "GET":
            await respond(send, *self._look(path))
            return
        content = await read_body(receive)
        if method != "POST" or path not in (_CHAT, _COMPLETIONS, _TOKENIZE):
            await respond(send, 404, error_content(f"there is nothing at {path[:80]}", "not_found_error"))
            return
        body = parsed(content)
        if path == _TOKENIZE:
            await respond(send, 200, await self._in_thread(lambda: self._tokenized(body)))
            return
        asked = read_request(body, is_chat=path == _CHAT)
        prompts = await self._in_thread(lambda: self._prompts(asked))
        identity = f"{'chatcmpl' if path == _CHAT else 'cmpl'}-{os.urandom(6).hex()}{next(self._numbers)}"
        envelope = Envelope(identity, int(time.time()), self._name, path == _CHAT, self._splitter.piece)
        answers = [Said(Spoken(self._splitter.text, asked.stops)) for _ in range(len(prompts) * asked.choices)]
        counted = sum(map(len, prompts))
        async with aclosing(self._computed(asked, prompts, answers, receive)) as parts:
            if asked.is_streamed:
                await _stream(send, envelope, answers, parts, counted if asked.has_usage else None)
                return
            async for _ in parts:
                pass
        await respond(send, 200, envelope.whole(answers, counted))

    async def _in_thread(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._splitting, work)

    def _tokenized(self, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict) or not isinstance(body.get("content"), str):
            raise InvalidError("bad-request", "content: expected a text")
        return {"tokens": self._splitter.split(body["content"], has_special=bool(body.get("add_special")))}

    def _prompts(self, asked: Asked) -> list[list[int]]:
        """Token ids of what is asked, each short enough that a token can follow."""
        if asked.messages is not None:
            if self._template is None:
                raise InvalidError("bad-request", "messages: the model has no chat template; use /v1/completions")
            # The template itself writes what a conversation begins with.
            found = [self._splitter.split(self._template.render(asked.messages), has_special=False)]
        else:
            found = [self._ids(prompt) for prompt in asked.prompts]
        for prompt in found:
            if not prompt:
                raise InvalidError("bad-request", "the prompt has no token")
            if len(prompt) >= self._limits.context_tokens:
                raise _TooLongError(len(prompt), self._limits.context_tokens)
        return found

    def _ids(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self._splitter.split(prompt, has_special=True)
        if any(not 0 <= token < self._splitter.vocabulary for token in prompt):
            last = self._splitter.vocabulary - 1
            raise InvalidError("bad-request", f"prompt: expected token ids from 0 to {last}, got another one")
        return prompt

    async def _computed(
        self, asked: Asked, prompts: list[list[int]], answers: list[Said], receive: Receive
    ) -> AsyncGenerator[tuple[int, str, Event], None]:
        """Which answer got a token, what it adds to the text, and what is told of it; until all have ended.

        Raises:
            GoneError: The client left; nothing more of it is computed then.
        """
        heard: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        numbers: dict[int, int] = {}
        leaving = asyncio.ensure_future(until_gone(receive))
        try:
            for index in range(len(answers)):
                prompt = prompts[index // asked.choices]
                numbers[index] = self._begin(asked, prompt, index, heard)
            while numbers:
                index, event = await _next(heard, leaving)
                if index not in numbers:
                    continue
                if event["event"] == "failed":
                    raise (_BadSchemaError if event["is_schema"] else _FailedError)(event["message"])
                new = answers[index].take(event)
                if answers[index].finish is not None:
                    self._computer.drop(numbers.pop(index))
                yield index, new, event
        finally:
            leaving.cancel()
            for number in numbers.values():
                self._computer.drop(number)

    def _begin(self, asked: Asked, prompt: list[int], index: int, heard: asyncio.Queue[tuple[int, Event]]) -> int:
        seed = asked.sampling.seed
        sampling = asked.sampling if seed is None else replace(asked.sampling, seed=seed + index % asked.choices)
        room = self._limits.context_tokens - len(prompt)
        most = room if asked.most_tokens is None else min(asked.most_tokens, room)
        return self._computer.begin(
            prompt, most, sampling, lambda event: heard.put_nowait((index, event)), schema=asked.schema
        )

    def _look(self, path: str) -> tuple[int, Any]:
        if path == "/health":
            return 200, {"status": "ok"}
        if path == "/metrics":
            return 200, self._metrics()
        if path == "/props":
            has_template = self._template is not None
            return 200, {"max_tokens": self._limits.context_tokens, "has_chat_template": has_template}
        return 404, error_content(f"there is nothing at {path[:80]}", "not_found_error")

    def _metrics(self) -> str:
        counts = self._computer.counts
        lines: dict[str, tuple[str, str, float]] = {
            "requests_running": ("gauge", "Answers that are computed now.", self._computer.running),
            "requests_waiting": ("gauge", "Answers that wait for a slot.", self._computer.waiting),
            "prompt_tokens_total": ("counter", "Tokens of all prompts.", counts.prompt_tokens),
            "answer_tokens_total": ("counter", "Tokens of all answers.", counts.answer_tokens),
            "prefix_asked_tokens_total": ("counter", "Tokens that were looked for.", counts.prompt_tokens),
            "prefix_found_tokens_total": ("counter", "Tokens of prompts that were kept.", counts.found_tokens),
        }
        return metrics_text("decoder", lines)


async def _next(heard: asyncio.Queue[tuple[int, Event]], leaving: asyncio.Future[Any]) -> tuple[int, Event]:
    coming: asyncio.Future[Any] = asyncio.ensure_future(heard.get())
    await asyncio.wait([coming, leaving], return_when=asyncio.FIRST_COMPLETED)
    if leaving.done():
        coming.cancel()
        raise GoneError
    found: tuple[int, Event] = coming.result()
    return found


async def _stream(
    send: Send,
    envelope: Envelope,
    answers: list[Said],
    parts: AsyncIterator[tuple[int, str, Event]],
    prompt_tokens: int | None,
) -> None:
    """Sends an answer as it comes; ``prompt_tokens`` where it ends with the counts."""

    async def tell(*events: dict[str, Any] | None) -> None:
        frames = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events if event is not None)
        if frames:
            await send({"type": "http.response.body", "body": frames, "more_body": True})

    begun: set[int] = set()
    lengths = [0] * len(answers)
    told = [0] * len(answers)
    try:
        async for index, new, _ in parts:
            if not begun:
                await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            opening = envelope.opening(index) if index not in begun else None
            begun.add(index)
            answer = answers[index]
            part = None
            if new:
                part = envelope.part(index, new, answer.places[told[index] :], lengths[index])
                lengths[index] += len(new)
                told[index] = len(answer.places)
            await tell(opening, part, envelope.closing(index, answer.finish) if answer.finish is not None else None)
    except _FailedError as error:
        if not begun:
            raise
        await tell(error_content(f"it could not be computed: {error}", "server_error"))
        await send({"type": "http.response.body", "body": b""})
        return
    if prompt_tokens is not None:
        await tell(envelope.counts(answers, prompt_tokens))
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def main(run_dir: Path) -> int:
    """Serves until it is told to end; ends by itself where the model cannot be loaded.

    Args:
        run_dir: Of the replica: ``decoder.json`` and ``key`` lie there.
    """
    options = json.loads((run_dir / "decoder.json").read_bytes())
    folder = Path(options["model"])
    try:
        decoder: Decoder = read_decoder(folder)
        text = options["chat_template"] or decoder.chat_template
        template = ChatTemplate(text, decoder.special) if text else None
        splitter = Splitter(folder / "tokenizer.json")
        computer = Computer(run_dir)
    except InvalidError as error:
        print(f"undercroft: error loading model: {error.message}", file=sys.stderr, flush=True)
        return 1
    except RuntimeError as error:
        print(f"undercroft: {error}", file=sys.stderr, flush=True)
        return 1
    limits = Limits(int(options["context_tokens"]), int(options["slots"]))
    server = Server(options["name"], template, splitter, computer, limits, key_of(run_dir))
    print(f"undercroft: the decoder listens on {options['host']}", file=sys.stderr, flush=True)
    serve(server, host=options["host"], port=int(options["port"]))
    computer.close()
    return 0
