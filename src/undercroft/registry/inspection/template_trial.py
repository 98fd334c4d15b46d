"""The child process that tries a chat template: JSON text on stdin, ``{"problem": …}`` on stdout.

Run by path with an environment of its own; it imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 3
MEMORY_BYTES = 512 * 1024 * 1024
OUTPUT_LIMIT_CHARACTERS = 1024 * 1024


class GenerationTag(Extension):
    """``{% generation %}``: marks the model's own words for training; here its body is all that counts."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


CONVERSATIONS: tuple[dict[str, Any], ...] = (
    {
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "Who are you?"},
        ]
    },
    {"messages": [{"role": "user", "content": "Hello."}]},
    {
        "messages": [{"role": "user", "content": "How warm is it?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "warmth",
                    "description": "Degrees outside.",
                    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
                },
            }
        ],
    },
)


def find_problem(text: str) -> str | None:
    """What is wrong with a template, as the rest of a sentence; None where nothing is."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag]
    )
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: "2026-01-01"
    environment.filters["tojson"] = _to_json
    try:
        problem = _reach(environment.parse(text))
        if problem is not None:
            return problem
        template = environment.from_string(text)
    except TemplateSyntaxError as error:
        return f"line {error.lineno} does not compile: {error.message}"
    except RecursionError:
        return "it is nested too deeply"
    for conversation in CONVERSATIONS:
        problem = _render(template, conversation)
        if problem is not None:
            return problem
    return None


def _reach(tree: nodes.Template) -> str | None:
    """What of a template's text reaches out of it, whether or not a conversation gets there."""
    if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None) is not None:
        return "it asks for another file"
    names: list[Any] = [node.attr for node in tree.find_all(nodes.Getattr)]
    names += [getattr(node.arg, "value", None) for node in tree.find_all(nodes.Getitem)]
    for name in names:
        if isinstance(name, str) and name.startswith("__"):
            return f"it reaches for what the sandbox forbids: {name[:40]!r}"
    return None


def _render(template: Any, conversation: dict[str, Any]) -> str | None:
    variables = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, "tools": None}
    length = 0
    try:
        for piece in template.generate(**variables, **{**conversation}):
            length += len(piece)
            if length > OUTPUT_LIMIT_CHARACTERS:
                return f"a conversation of four short messages became more than {OUTPUT_LIMIT_CHARACTERS:,} characters"
    except SecurityError as error:
        return f"it reaches for what the sandbox forbids: {error.message}"
    except (MemoryError, OverflowError, RecursionError) as error:
        return f"rendering it ended in {type(error).__name__}"
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, LookupError):
        # It does not take this conversation: a role it does not know, a field that it wants. Not ours to judge.
        return None
    return None


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def main() -> None:
    """Limits itself, tries, answers."""
    text = json.loads(sys.stdin.buffer.read())
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        # Not every system lets the address space be limited; the time is limited everywhere.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))
    print(json.dumps({"problem": find_problem(text)}))


if __name__ == "__main__":
    main()
