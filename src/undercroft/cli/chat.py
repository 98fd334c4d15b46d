"""``undercroft chat``: talk to a model through the door, like every other client."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import ssl
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from undercroft.cli.encoding import typed
from undercroft.cli.opening import running_home
from undercroft.cli.output import AsJson, print_json
from undercroft.core.environment import environment
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError, UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.serving.keeper_client import ask_control

_TIMEOUT_SECONDS = 660.0
_COMMANDS = "/new forgets, an empty line ends"
_COMMAND = re.compile(r"/[a-z]+")
_KINDS: dict[int, type[UndercroftError]] = {
    400: InvalidError,
    401: RefusedError,
    403: RefusedError,
    404: NotFoundError,
    503: UnavailableError,
}


def chat(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Deployment; the first that is ready.")] = None,
    message: Annotated[
        str | None, typer.Option("--message", callback=typed, help="Ask once and end; '-' reads stdin.")
    ] = None,
    system: Annotated[str | None, typer.Option(callback=typed, help="System prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is the same answer every time.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Talk to a model. Type a message, Enter sends it; an empty line or Ctrl-D ends.

    Each line starts a new turn of one conversation; /new forgets what was said.
    """
    home = running_home()
    talk = Conversation(home, model, system=system, max_tokens=max_tokens, temperature=temperature)
    if message is None and not sys.stdin.isatty():
        message = "-"
    if message is not None:
        text = (typed(sys.stdin.read()) if message == "-" else message) or ""
        if not text.strip():
            raise InvalidError("empty-message", "there is nothing to send", hint="undercroft chat --message 'Hello'")
        if as_json:
            print_json({"model": talk.model, "answer": "".join(talk.say(text)), "usage": talk.usage})
        else:
            _print_stream(talk.say(text))
        return
    if as_json:
        raise InvalidError("needs-message", "--json needs a message", hint="undercroft chat --json --message 'Hello'")
    _converse(talk)


def _converse(talk: Conversation) -> None:
    """Turn by turn until an empty line; Ctrl-C ends an answer while one comes, and the conversation at the prompt."""
    with contextlib.suppress(ImportError):  # some builds of Python have no line editing
        importlib.import_module("readline")
    typer.echo(f"{talk.model} answers; {_COMMANDS}.")
    while (text := _next_line().strip()) != "":
        if text == "/new":
            talk.forget()
            typer.echo("Forgotten.")
        elif _COMMAND.fullmatch(text):
            typer.echo(f"There is no {text}; {_COMMANDS}.")
        else:
            _say(talk, text)


def _next_line() -> str:
    try:
        return typed(input("> ")) or ""
    except EOFError:
        typer.echo()
        return ""
    except KeyboardInterrupt:
        typer.echo()
        raise


def _say(talk: Conversation, text: str) -> None:
    try:
        _print_stream(talk.say(text))
    except UndercroftError as error:
        typer.echo(error, err=True)
    except KeyboardInterrupt:
        typer.echo("\nStopped; what was asked is forgotten.")


def _print_stream(pieces: Iterator[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


class Conversation:
    """Turns so far, and the connection's coordinates.

    Args:
        home: Of the server that runs.
        model: Deployment; None takes the first that is ready or loads on demand.

    Raises:
        UnavailableError: Control is away.
        NotFoundError: Nothing is deployed that chats.
    """

    def __init__(
        self, home: Home, model: str | None, *, system: str | None, max_tokens: int | None, temperature: float
    ) -> None:
        status = ask_control(home, "GET", "/internal/status")
        if status is None:
            raise UnavailableError("control-away", "the control process is away just now", hint="undercroft status")
        self.url = urlsplit(status["url"])
        self.model = model or _first_that_chats(status)
        self.usage: dict[str, Any] = {}
        self._key = _own_key(home)
        self._options: dict[str, Any] = {"temperature": temperature}
        if max_tokens is not None:
            self._options["max_tokens"] = max_tokens
        self._start: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._start)

    def forget(self) -> None:
        """Begins anew."""
        self._messages = list(self._start)

    def say(self, text: str) -> Iterator[str]:
        """Sends a user's turn; yields the answer as it comes and keeps both.

        Raises:
            UndercroftError: The door refused it, or the answer broke off; the turn is forgotten.
        """
        messages = [*self._messages, {"role": "user", "content": text}]
        body = {
            **self._options,
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer = []
        connection = self._connect()
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
            with connection.getresponse() as response:
                for piece in self._pieces(response):
                    answer.append(piece)
                    yield piece
        except (OSError, HTTPException) as error:
            raise UnavailableError(
                "door-away", f"the door does not answer: {error}", hint="undercroft status"
            ) from error
        finally:
            connection.close()
        self._messages = [*messages, {"role": "assistant", "content": "".join(answer)}]

    def _connect(self) -> HTTPConnection:
        host, port = self.url.hostname or "127.0.0.1", self.url.port
        if self.url.scheme == "https":
            return HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context())
        return HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)

    def _pieces(self, response: HTTPResponse) -> Iterator[str]:
        if response.status != 200:
            raise _as_error(response.status, response.read())
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise _as_error(503, line[6:])
            self.usage = event.get("usage") or self.usage
            for choice in event.get("choices", ()):
                yield choice.get("delta", {}).get("content") or ""


def _own_key(home: Home) -> str:
    if key := environment().get("UNDERCROFT_KEY"):
        return key
    answer = ask_control(home, "POST", "/internal/local-key")
    if answer is None:
        raise UnavailableError("control-away", "the control process is away just now", hint="undercroft status")
    return str(answer["key"])


def _first_that_chats(status: dict[str, Any]) -> str:
    chatting = [d for d in status["deployments"] if "chat" in d["tasks"] and d["state"] != "stopped"]
    best = next((d for d in chatting if d["state"] == "ready"), chatting[0] if chatting else None)
    if best is None:
        raise NotFoundError("nothing-chats", "no deployment that chats runs here", hint="undercroft deployment list")
    return str(best["name"])


def _as_error(status: int, content: bytes) -> UndercroftError:
    try:
        error = json.loads(content)["error"]
        message, code = str(error["message"]), str(error.get("code") or "refused")
    except (ValueError, KeyError, TypeError):
        message, code = content[:200].decode(errors="replace"), "bad-answer"
    kind = _KINDS.get(status, UnavailableError)
    return kind(code.replace("_", "-").lower(), message)
