"""The Responses API with OpenAI's own client, against a real engine."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

_RAIN: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"rain": {"type": "boolean"}},
        "required": ["rain"],
        "additionalProperties": False,
    },
    "strict": True,
}


class YesNo(pydantic.BaseModel):
    """What the model is made to answer."""

    yes: bool


def test_a_text_is_answered(client: openai.OpenAI) -> None:
    """Input as a text gives a response whose text and usage the client finds."""
    response = client.responses.create(
        model="bot", input="hello", instructions="be brief", max_output_tokens=6, metadata={"a": "b"}
    )
    assert response.object == "response"
    assert response.model == "bot"
    assert response.metadata == {"a": "b"}
    assert response.output_text
    assert response.usage is not None
    assert response.usage.output_tokens <= 6
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_an_answer_that_was_cut_is_incomplete(client: openai.OpenAI) -> None:
    """Where the tokens run out the response says that it is incomplete, and why."""
    response = client.responses.create(model="bot", input="hello", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_conversation_goes_on_statelessly(client: openai.OpenAI) -> None:
    """What came out can be put in again as items."""
    first = client.responses.create(model="bot", input="hello", max_output_tokens=4)
    assert first.usage is not None
    items: Any = [{"role": "user", "content": "hello"}, *first.output, {"role": "user", "content": "and?"}]
    second = client.responses.create(model="bot", input=items, max_output_tokens=4)
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens


def test_a_function_is_called_and_answered(client: openai.OpenAI) -> None:
    """A function call comes out with valid arguments, and its output goes in."""
    first = client.responses.create(
        model="bot",
        input="hello",
        tools=[_RAIN],
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=250,
    )
    call: Any = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather"
    assert isinstance(json.loads(call.arguments)["rain"], bool)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items: Any = [{"role": "user", "content": "hello"}, call, output]
    second = client.responses.create(model="bot", input=items, tools=[_RAIN], tool_choice="none", max_output_tokens=4)
    assert second.output[0].type == "message"


def test_events_come_in_order(client: openai.OpenAI) -> None:
    """A stream has the documented events with rising numbers, and its deltas make up the text."""
    with client.responses.create(model="bot", input="hello", max_output_tokens=5, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:-1] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    last: Any = events[-1]
    assert last.type in ("response.incomplete", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text
    assert last.response.usage.output_tokens == 5


def test_the_stream_helper_gives_parsed_output(client: openai.OpenAI) -> None:
    """The client's own helper follows the stream, and a schema is kept to."""
    with client.responses.stream(model="bot", input="hello", text_format=YesNo, max_output_tokens=250) as stream:
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, YesNo)


def test_parse_gives_parsed_output(client: openai.OpenAI) -> None:
    """The client's parse helper gets an object of the schema's class."""
    response = client.responses.parse(model="bot", input="hello", text_format=YesNo, max_output_tokens=250)
    assert isinstance(response.output_parsed, YesNo)


def test_a_streamed_function_call(client: openai.OpenAI) -> None:
    """The arguments of a call stream in pieces and are whole at the end."""
    with client.responses.stream(
        model="bot",
        input="hello",
        tools=[_RAIN],
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=250,
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    call: Any = final.output[0]
    assert isinstance(json.loads(call.arguments)["rain"], bool)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("store", True),
        ("background", True),
        ("tools", [{"type": "web_search"}]),
        ("truncation", "auto"),
        ("reasoning", {"effort": "low"}),
    ],
)
def test_what_needs_a_store_or_a_cloud_is_refused(client: openai.OpenAI, field: str, value: Any) -> None:
    """What is not offered is refused with the field's name, never ignored."""
    given: Any = {field: value}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="bot", input="hello", **given)
    assert (caught.value.param or "").startswith(field)
