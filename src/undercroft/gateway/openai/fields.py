"""Every field that a request may have, with its range. What is not here is refused by name and never reaches an engine.

One table for three readers: `read` checks bodies with it, `undercroft.gateway.openai.openapi` documents it, and
`forwarded` keeps from engines what means nothing to them.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from undercroft.gateway.errors import invalid
from undercroft.gateway.openai.kinds import (
    Choice,
    Field,
    Flag,
    FreeObject,
    JsonText,
    ListOf,
    MapOf,
    Number,
    OneOf,
    Prompts,
    Record,
    Tagged,
    Text,
)

_FUNCTION_NAME = Text(1, 64, re.compile(r"[A-Za-z0-9_.-]+"))
_TOKEN_COUNT = Number(1, 10_000_000, is_whole=True)
_ANY_NAME = re.compile(r"(?s).{1,64}")
PROMPTS_LIMIT = 128
CHOICES_LIMIT = 8

_ONLY_TEXT = "the door takes text only"
_PARTS_REFUSED = dict.fromkeys(("image_url", "input_audio", "file", "input_image", "input_file"), _ONLY_TEXT)
_ENGINE_INTERNAL = "it reaches into the engine and into other requests"

_TEXT_PART = Tagged("type", {"text": Record({"type": Field(Text()), "text": Field(Text(), "", True)})}, _PARTS_REFUSED)
_CONTENT = OneOf({str: Text(), list: ListOf(_TEXT_PART, 1, 4096)})

_CALLED = Record({"name": Field(_FUNCTION_NAME, "", True), "arguments": Field(JsonText(), "", True)})
_TOOL_CALL = Tagged(
    "type",
    {
        "function": Record(
            {
                "type": Field(Text()),
                "id": Field(Text(0, 256)),
                "index": Field(Number(0, 1024, is_whole=True)),
                "function": Field(_CALLED, "", True),
            }
        )
    },
    {"custom": "only function tools are offered"},
    default="function",
)


def _message(**others: Field) -> Record:
    return Record({"role": Field(Text()), "content": Field(_CONTENT), "name": Field(Text(0, 256)), **others})


_SPOKEN = _message(content=Field(_CONTENT, "", True))

MESSAGE = Tagged(
    "role",
    {
        "system": _SPOKEN,
        "developer": _SPOKEN,
        "user": _SPOKEN,
        "assistant": _message(
            tool_calls=Field(ListOf(_TOOL_CALL, 0, 128)),
            reasoning_content=Field(Text()),
            # What OpenAI's client sends back when it repeats an answer that it got.
            refusal=Field(Text(), is_forwarded=False),
            annotations=Field(ListOf(FreeObject(), 0, 1024), is_forwarded=False),
            audio=Field(Choice((None,)), is_forwarded=False),
            function_call=Field(Choice((None,)), is_forwarded=False),
        ),
        "tool": _message(
            content=Field(_CONTENT, "", True),
            tool_call_id=Field(Text(0, 256), "", True),
        ),
    },
    {"function": "use the role 'tool'"},
)

_FUNCTION = {
    "name": Field(_FUNCTION_NAME, "", True),
    "description": Field(Text(0, 65536)),
    "parameters": Field(FreeObject()),
    "strict": Field(Flag()),
}
_ONLY_FUNCTIONS = dict.fromkeys(
    (
        "custom",
        "allowed_tools",
        "web_search",
        "web_search_preview",
        "file_search",
        "computer_use_preview",
        "code_interpreter",
        "image_generation",
        "mcp",
        "local_shell",
        "shell",
        "apply_patch",
    ),
    "only function tools are offered",
)
_TOOL = Tagged(
    "type",
    {"function": Record({"type": Field(Text()), "function": Field(Record(_FUNCTION), "", True)})},
    _ONLY_FUNCTIONS,
)
_CHOICE_WORDS = Choice(("none", "auto", "required"))
_TOOL_CHOICE = OneOf(
    {
        str: _CHOICE_WORDS,
        dict: Tagged(
            "type",
            {
                "function": Record(
                    {
                        "type": Field(Text()),
                        "function": Field(Record({"name": Field(_FUNCTION_NAME, "", True)}), "", True),
                    }
                )
            },
            _ONLY_FUNCTIONS,
        ),
    }
)
_SCHEMA = {
    "name": Field(_FUNCTION_NAME, "", True),
    "description": Field(Text(0, 65536)),
    "schema": Field(FreeObject(), "JSON Schema that the answer keeps to.", True),
    "strict": Field(Flag()),
}
_RESPONSE_FORMAT = Tagged(
    "type",
    {
        "text": Record({"type": Field(Text())}),
        "json_object": Record({"type": Field(Text())}),
        "json_schema": Record({"type": Field(Text()), "json_schema": Field(Record(_SCHEMA), "", True)}),
    },
    {"grammar": "use json_schema"},
)

_MODEL = {"model": Field(Text(1, 256), "Name of a deployment or adapter; GET /v1/models lists them.", True)}
_VARIABLES = {
    "prompt_variables": Field(
        MapOf(Text(0, 200_000), re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}"), 64),
        "Values for the variables of the release's prompt. Not OpenAI's.",
        is_forwarded=False,
    )
}
_ACCEPTED = {
    "user": Field(Text(0, 1024), "Accepted and kept from the engine.", is_forwarded=False),
    "metadata": Field(MapOf(Text(0, 512), _ANY_NAME, 16), "Accepted and kept from the engine.", is_forwarded=False),
    "store": Field(Choice((False,)), "Nothing is stored.", is_forwarded=False),
    "service_tier": Field(Choice(("auto", "default")), "Accepted; there is one tier.", is_forwarded=False),
    "safety_identifier": Field(Text(0, 1024), "Accepted and kept from the engine.", is_forwarded=False),
    "prompt_cache_key": Field(Text(0, 1024), "Accepted and kept from the engine.", is_forwarded=False),
}
_STREAM = {
    "stream": Field(Flag(), "Send the answer as server-sent events."),
    "stream_options": Field(
        Record({"include_usage": Field(Flag()), "include_obfuscation": Field(Choice((False,)))}),
        "Only with stream.",
    ),
}
_SAMPLING = {
    "temperature": Field(Number(0, 2), "0 takes the likeliest token."),
    "top_p": Field(Number(0, 1), "Nucleus sampling."),
    "top_k": Field(Number(0, 1000, is_whole=True), "Of the likeliest tokens; 0 is all. Not OpenAI's."),
    "min_p": Field(Number(0, 1), "Least probability, relative to the likeliest token. Not OpenAI's."),
    "repeat_penalty": Field(Number(0.5, 2), "Not OpenAI's."),
    "seed": Field(Number(0, 2**32 - 2, is_whole=True), "The same seed and request give the same answer."),
    "presence_penalty": Field(Number(-2, 2)),
    "frequency_penalty": Field(Number(-2, 2)),
    "logit_bias": Field(MapOf(Number(-100, 100), re.compile(r"\d{1,9}"), 1024), "Token number → bias."),
    "stop": Field(OneOf({str: Text(1, 256), list: ListOf(Text(1, 256), 0, 16)}), "Texts that end the answer."),
    "n": Field(Number(1, CHOICES_LIMIT, is_whole=True), "How many answers."),
}
_ENGINE_FIELDS = dict.fromkeys(
    ("id_slot", "slot_id", "cache_prompt", "n_cache_reuse", "samplers", "chat_template_kwargs"),
    _ENGINE_INTERNAL,
) | {
    "lora": "an adapter is asked for by its own name, as the model",
    "adapter": "an adapter is asked for by its own name, as the model",
    "n_predict": "use max_tokens",
    "ignore_eos": "use max_tokens",
    "grammar": "use response_format with a json_schema",
    "json_schema": "use response_format",
    "repetition_penalty": "use repeat_penalty",
    "chat_template": "the template belongs to the deployment",
    "truncate": "nothing is ever silently cut",
}

CHAT = Record(
    {
        **_MODEL,
        "messages": Field(ListOf(MESSAGE, 1, 10_000), "The conversation so far.", True),
        "max_tokens": Field(_TOKEN_COUNT, "Most tokens of the answer; older name of max_completion_tokens."),
        "max_completion_tokens": Field(_TOKEN_COUNT, "Most tokens of the answer."),
        **_SAMPLING,
        **_STREAM,
        "tools": Field(ListOf(_TOOL, 0, 128), "Functions that the model may call."),
        "tool_choice": Field(_TOOL_CHOICE, "Which of the tools may or must be called."),
        "parallel_tool_calls": Field(Flag(), "Several calls in one answer."),
        "response_format": Field(_RESPONSE_FORMAT, "What the answer is made of; kept to by a grammar."),
        "logprobs": Field(Flag(), "Log probabilities of the answer's tokens."),
        "top_logprobs": Field(Number(0, 20, is_whole=True), "Likeliest tokens at each place; needs logprobs."),
        "modalities": Field(ListOf(Choice(("text",)), 0, 1), "Text is all there is.", is_forwarded=False),
        **_VARIABLES,
        **_ACCEPTED,
    },
    _ENGINE_FIELDS
    | {
        "functions": "use tools",
        "function_call": "use tool_choice",
        "audio": _ONLY_TEXT,
        "prediction": "it is not offered",
        "reasoning_effort": "it is not offered",
        "verbosity": "it is not offered",
        "web_search_options": "nothing leaves this machine",
    },
)

COMPLETIONS = Record(
    {
        **_MODEL,
        "prompt": Field(Prompts(PROMPTS_LIMIT, True), "Text or tokens to go on with; one or several.", True),
        "max_tokens": Field(_TOKEN_COUNT, "Most tokens of the answer."),
        **_SAMPLING,
        **_STREAM,
        "logprobs": Field(Number(0, 5, is_whole=True), "Likeliest tokens at each place."),
        "echo": Field(Choice((False,)), "Not offered.", is_forwarded=False),
        "best_of": Field(Choice((1,)), "Not offered.", is_forwarded=False),
        **_ACCEPTED,
    },
    _ENGINE_FIELDS | {"suffix": "it is not offered"},
)

_TRUNCATE = {
    "truncate": Field(Flag(), "Cut what is too long at its end; else it is refused. For engine onnxruntime."),
}

EMBEDDINGS = Record(
    {
        **_MODEL,
        "input": Field(Prompts(2048, False), "Texts or tokens to embed; one or several.", True),
        "encoding_format": Field(Choice(("float", "base64")), "base64 is little-endian 32-bit floats."),
        "dimensions": Field(
            Number(1, 1_000_000, is_whole=True), "Must be what the model gives: nothing is cut.", is_forwarded=False
        ),
        **_TRUNCATE,
        **_ACCEPTED,
    },
    _ENGINE_FIELDS,
)

# Not OpenAI's: vLLM's form.
CLASSIFY = Record(
    {
        **_MODEL,
        "input": Field(Prompts(2048, False), "Texts or tokens to classify; one or several.", True),
        **_TRUNCATE,
        **_ACCEPTED,
    },
    _ENGINE_FIELDS,
)

RERANK = Record(
    {
        **_MODEL,
        "query": Field(Text(1), "What is looked for.", True),
        "documents": Field(
            ListOf(OneOf({str: Text(1), dict: Record({"text": Field(Text(1), "", True)})}), 1, 1024),
            "What is put in order.",
            True,
        ),
        "top_n": Field(Number(1, 1024, is_whole=True), "How many results; all where it is missing."),
        "return_documents": Field(Flag(), "Repeat the documents in the results."),
        **_TRUNCATE,
        **_ACCEPTED,
    },
    _ENGINE_FIELDS
    | dict.fromkeys(("max_chunks_per_doc", "max_tokens_per_doc", "rank_fields"), "nothing is ever silently cut"),
)

_OUTPUT_PART = Tagged(
    "type",
    {
        name: Record(
            {
                "type": Field(Text()),
                "text": Field(Text(), "", True),
                "annotations": Field(ListOf(FreeObject(), 0, 1024)),
                "logprobs": Field(ListOf(FreeObject(), 0, 100_000)),
            }
        )
        for name in ("input_text", "output_text", "text")
    },
    _PARTS_REFUSED,
)
_ITEM_IDENTITY = {"id": Field(Text(0, 256)), "status": Field(Choice(("completed", "incomplete", "in_progress")))}
_ITEM = Tagged(
    "type",
    {
        "message": Record(
            {
                "type": Field(Text()),
                "role": Field(Choice(("user", "assistant", "system", "developer")), "", True),
                "content": Field(OneOf({str: Text(), list: ListOf(_OUTPUT_PART, 1, 4096)}), "", True),
                **_ITEM_IDENTITY,
                "phase": Field(Text(0, 64)),
            }
        ),
        "function_call": Record(
            {
                "type": Field(Text()),
                "call_id": Field(Text(1, 256), "", True),
                "name": Field(_FUNCTION_NAME, "", True),
                "arguments": Field(JsonText(), "", True),
                **_ITEM_IDENTITY,
                # What the openai client adds to the calls that its helpers parsed.
                "parsed_arguments": Field(FreeObject()),
            }
        ),
        "function_call_output": Record(
            {
                "type": Field(Text()),
                "call_id": Field(Text(1, 256), "", True),
                "output": Field(OneOf({str: Text(), list: ListOf(_OUTPUT_PART, 0, 4096)}), "", True),
                **_ITEM_IDENTITY,
            }
        ),
    },
    {
        "item_reference": "nothing is stored that could be referred to",
        "reasoning": "it is not offered",
    },
    default="message",
)
_RESPONSES_FORMAT = Tagged(
    "type",
    {
        "text": Record({"type": Field(Text())}),
        "json_object": Record({"type": Field(Text())}),
        "json_schema": Record({"type": Field(Text()), **_SCHEMA}),
    },
)

RESPONSES = Record(
    {
        **_MODEL,
        "input": Field(
            OneOf({str: Text(), list: ListOf(_ITEM, 1, 10_000)}), "A text, or the conversation so far.", True
        ),
        "instructions": Field(Text(), "What goes before the conversation, as the system."),
        **_VARIABLES,
        "max_output_tokens": Field(_TOKEN_COUNT, "Most tokens of the answer."),
        "temperature": _SAMPLING["temperature"],
        "top_p": _SAMPLING["top_p"],
        "stream": _STREAM["stream"],
        "stream_options": Field(Record({"include_obfuscation": Field(Choice((False,)))})),
        "tools": Field(
            ListOf(Tagged("type", {"function": Record({"type": Field(Text()), **_FUNCTION})}, _ONLY_FUNCTIONS), 0, 128),
            "Functions that the model may call.",
        ),
        "tool_choice": Field(
            OneOf(
                {
                    str: _CHOICE_WORDS,
                    dict: Tagged(
                        "type",
                        {"function": Record({"type": Field(Text()), "name": Field(_FUNCTION_NAME, "", True)})},
                        _ONLY_FUNCTIONS,
                    ),
                }
            ),
            "Which of the tools may or must be called.",
        ),
        "parallel_tool_calls": Field(Flag(), "Several calls in one answer."),
        "text": Field(
            Record({"format": Field(_RESPONSES_FORMAT), "verbosity": Field(Choice(("medium",)))}),
            "What the answer is made of.",
        ),
        "truncation": Field(Choice(("disabled",)), "Nothing is ever silently cut."),
        "include": Field(ListOf(Text(), 0, 0), "Nothing more is offered."),
        "background": Field(Choice((False,)), "Not offered."),
        **_ACCEPTED,
    },
    _ENGINE_FIELDS
    | {
        "previous_response_id": "nothing is stored; send the conversation as input",
        "conversation": "nothing is stored; send the conversation as input",
        "prompt": "nothing is stored; use instructions and input",
        "reasoning": "it is not offered",
        "max_tool_calls": "there are no built-in tools",
        "top_logprobs": "use /v1/chat/completions",
        "max_tokens": "use max_output_tokens",
        "messages": "use input",
    },
)

# Not OpenAI's.
FEEDBACK = Record(
    {
        "request_id": Field(
            Text(1, 64, re.compile(r"[A-Za-z0-9._-]+")), "What X-Request-Id said in the head of the answer.", True
        ),
        "rating": Field(Choice(("good", "bad")), "Of the answer; a later one takes the place of an earlier.", True),
    },
    dict.fromkeys(("comment", "message", "reason", "text"), "no text is kept, for it may hold personal data"),
)


def read(table: Record, body: bytes) -> dict[str, Any]:
    """Reads and checks a request's body.

    Args:
        table: What it may have.
        body: JSON.

    Raises:
        DoorError: 400, naming the field, what is expected and what came.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(_why_not_json(body, error), code="bad-json") from error
    table.check(data, "")
    assert isinstance(data, dict)
    return data


def _why_not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as found:
        return f"the body is not valid UTF-8: byte 0x{body[found.start]:02x} at offset {found.start}"
    return f"the body is not JSON: {error}"


def forwarded(table: Record, data: dict[str, Any]) -> dict[str, Any]:
    """What of a checked body an engine may see; the very same object where that is all of it."""
    kept = {name: value for name, value in data.items() if name in table.fields and table.fields[name].is_forwarded}
    return data if len(kept) == len(data) else kept
