"""A conversation as the model's own chat template writes it, in Jinja's immutable sandbox. As transformers renders it.

Source: ``transformers/utils/chat_template_utils.py`` of transformers 5.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from undercroft.core.errors import InvalidError

_LIMIT_CHARACTERS = 32 * 1024 * 1024


class _GenerationTag(Extension):
    """``{% generation %}`` marks the model's own words for training; here its body is all that counts."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Renders conversations.

    Args:
        text: Jinja.
        special: Names of special tokens → their text.

    Raises:
        InvalidError: ``bad-decoder``: it does not compile.
    """

    def __init__(self, text: str, special: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationTag]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(text)
        except TemplateError as error:
            raise InvalidError("bad-decoder", f"its chat template does not compile: {error}") from error
        self._special = dict(special)

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """A conversation as text, up to where the model goes on.

        Args:
            messages: ``role`` and ``content``, a text.

        Raises:
            InvalidError: ``bad-request``: the template does not take this conversation.
        """
        pieces, length = [], 0
        try:
            for piece in self._template.generate(
                messages=list(messages), add_generation_prompt=True, tools=None, documents=None, **self._special
            ):
                pieces.append(piece)
                length += len(piece)
                if length > _LIMIT_CHARACTERS:
                    raise InvalidError("bad-request", "messages: the chat template makes too long a text of them")
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            told = str(error)[:200]
            raise InvalidError(
                "bad-request", f"messages: the model's chat template does not take them: {told}"
            ) from error
        return "".join(pieces)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
