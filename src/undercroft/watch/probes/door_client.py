"""Asking the door, as every client does: over HTTP, with a key, an answer as a stream."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from undercroft.core.errors import UnavailableError
from undercroft.engines.chat_stream import Answer, StreamRefusedError, read_chat_stream

# As long as the door itself waits for an engine, and a little more, so that its own words are heard.
_TIMEOUT_SECONDS = 660.0
_ANSWER_LIMIT_BYTES = 64 * 1024 * 1024


class RefusedAnswerError(Exception):
    """The door answered with an error.

    Args:
        code: Of the door's error.
        message: What it said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class DoorClient:
    """The door of a server.

    Args:
        url: ``http://127.0.0.1:8440``.
        key: One that it knows.
        certificate_file: Trusted beside those of the system, for a door with a certificate of its own.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        certificate_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = urlsplit(url)
        self._key = key
        self._certificate_file = certificate_file
        self._clock = clock

    def chat(
        self,
        model: str,
        messages: Sequence[dict[str, str]],
        *,
        max_tokens: int,
        variables: Mapping[str, str] | None = None,
    ) -> Answer:
        """One answer, as deterministic as the engine makes it: temperature 0, seed 1.

        Args:
            model: Deployment.
            messages: ``role`` and ``content`` of each turn.
            max_tokens: Longest answer.
            variables: Values for those of the release's prompt, which refuses one that it does not have.

        Raises:
            RefusedAnswerError: The door answered with an error, or the answer broke off.
            UnavailableError: ``door-away``: nobody answers there.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if variables:
            body["prompt_variables"] = dict(variables)
        connection = self._connect()
        try:
            began = self._clock()
            with self._send(connection, "/v1/chat/completions", body) as response:
                return read_chat_stream(response, began, self._clock)
        except StreamRefusedError as error:
            raise _refused(error.content) from None
        except (OSError, HTTPException, ValueError) as error:
            raise RefusedAnswerError("answer-broke-off", str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text.

        Args:
            model: Deployment that makes embeddings.
            texts: At least one.

        Raises:
            RefusedAnswerError: The door answered with an error, or with something else.
            UnavailableError: ``door-away``: nobody answers there.
        """
        connection = self._connect()
        try:
            with self._send(connection, "/v1/embeddings", {"model": model, "input": list(texts)}) as response:
                found = json.loads(response.read(_ANSWER_LIMIT_BYTES))["data"]
            return [[float(value) for value in item["embedding"]] for item in found]
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            raise RefusedAnswerError("bad-answer", str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        host, port = self._url.hostname or "127.0.0.1", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            if self._certificate_file is not None:
                context.load_verify_locations(self._certificate_file)
            connection: HTTPConnection = HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)
        else:
            connection = HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise UnavailableError(
                "door-away", f"nobody answers at {self._url.geturl()}: {error}", hint="undercroft status"
            ) from error
        return connection

    def _send(self, connection: HTTPConnection, path: str, body: dict[str, Any]) -> HTTPResponse:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        if response.status != 200:
            with response:
                raise _refused(response.read(_ANSWER_LIMIT_BYTES))
        return response


def _refused(content: bytes) -> RefusedAnswerError:
    try:
        error = json.loads(content)["error"]
        return RefusedAnswerError(str(error.get("code") or "refused"), str(error["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return RefusedAnswerError("bad-answer", content[:200].decode(errors="replace"))
