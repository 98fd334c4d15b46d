"""Every route with OpenAI's own client, against real engines."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any

import openai
import pytest

from tests.support.doors import DoorProcess

_USER: list[Any] = [{"role": "user", "content": "hello"}]
# Random bytes are often half a character, of which an engine streams nothing: only tokens that are letters are left.
_LETTERS: Any = {str(token): -100 for token in range(259)}
_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"rain": {"type": "boolean"}},
            "required": ["rain"],
            "additionalProperties": False,
        },
    },
}
_YES_NO = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    """The list has every deployment, and one can be shown by its name."""
    assert [model.id for model in client.models.list()] == ["bot", "judge", "plain", "vectors"]
    assert client.models.retrieve("bot").owned_by == "undercroft"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    """A model that is not there is OpenAI's model_not_found, and no other name is told."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=_USER)
    assert caught.value.code == "model_not_found"
    assert "bot" not in caught.value.message


def test_a_wrong_key_is_an_authentication_error(door: DoorProcess) -> None:
    """The client's own exception for a key that is not valid."""
    with (
        openai.OpenAI(base_url=door.url + "/v1", api_key="uc-" + "x" * 43, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_chat_answers_with_usage(client: openai.OpenAI) -> None:
    """A chat completion names the deployment and counts its tokens."""
    answer = client.chat.completions.create(model="bot", messages=_USER, max_tokens=8)
    assert answer.model == "bot"
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    """Seeds are kept to, and other seeds give other answers."""

    def ask(seed: int) -> str | None:
        answer = client.chat.completions.create(model="bot", messages=_USER, max_tokens=12, seed=seed, temperature=1)
        return answer.choices[0].message.content

    assert ask(7) == ask(7)
    assert ask(7) != ask(8)


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    """The pieces of a stream make up the answer, and usage comes where it was asked for."""
    whole = client.chat.completions.create(
        model="bot", messages=_USER, max_tokens=12, seed=3, temperature=1, logit_bias=_LETTERS
    )
    pieces = []
    usage = None
    with client.chat.completions.create(
        model="bot",
        messages=_USER,
        max_tokens=12,
        seed=3,
        temperature=1,
        logit_bias=_LETTERS,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        for frame in stream:
            assert frame.model == "bot"
            pieces += [choice.delta.content or "" for choice in frame.choices]
            usage = frame.usage or usage
    assert "".join(pieces) == whole.choices[0].message.content
    assert usage is not None
    assert usage.completion_tokens == 12


def test_a_stream_without_asking_has_no_usage(client: openai.OpenAI) -> None:
    """Usage is only in a stream that asked for it."""
    with client.chat.completions.create(model="bot", messages=_USER, max_tokens=3, stream=True) as stream:
        assert [frame.usage for frame in stream if frame.usage is not None] == []


def test_developer_and_system_are_the_same(client: openai.OpenAI) -> None:
    """The role that chat templates do not know is put as the one that they know."""

    def tokens(role: str) -> int:
        messages: Any = [{"role": role, "content": "be brief"}, *_USER]
        answer = client.chat.completions.create(model="plain", messages=messages, max_tokens=1)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert tokens("developer") == tokens("system")


def test_text_parts_are_taken(client: openai.OpenAI) -> None:
    """Content may be a list of text parts."""
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}]
    assert client.chat.completions.create(model="bot", messages=messages, max_tokens=2).choices


def test_stop_ends_the_answer(client: openai.OpenAI) -> None:
    """A text of stop ends the answer there and is not in it."""
    asked: Any = {"model": "bot", "messages": _USER, "max_tokens": 20, "seed": 5, "temperature": 1}
    full = client.chat.completions.create(**asked).choices[0].message.content or ""
    letter = next(one for one in full[3:] if one.isascii() and one.isprintable())
    stopped = client.chat.completions.create(**asked, stop=[letter]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == full[: full.index(letter)]


def test_several_choices_are_counted_together(client: openai.OpenAI) -> None:
    """n answers come with their own index, and their tokens add up while the prompt counts once."""
    one = client.chat.completions.create(model="bot", messages=_USER, max_tokens=4, seed=1)
    three = client.chat.completions.create(model="bot", messages=_USER, max_tokens=4, n=3, seed=1, temperature=1)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in three.choices}) > 1
    assert one.usage is not None
    assert three.usage is not None
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens == 12


def test_several_choices_stream(client: openai.OpenAI) -> None:
    """A stream of n answers has every index, one id, and the sum of the tokens."""
    texts = {0: "", 1: ""}
    ids = set()
    usage = None
    with client.chat.completions.create(
        model="bot",
        messages=_USER,
        max_tokens=4,
        n=2,
        seed=1,
        temperature=1,
        logit_bias=_LETTERS,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        for frame in stream:
            ids.add(frame.id)
            usage = frame.usage or usage
            for choice in frame.choices:
                texts[choice.index] += choice.delta.content or ""
    whole = client.chat.completions.create(
        model="bot", messages=_USER, max_tokens=4, n=2, seed=1, temperature=1, logit_bias=_LETTERS
    )
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    assert len(ids) == 1
    assert usage is not None
    assert usage.completion_tokens == 8


def test_log_probabilities_of_chat(client: openai.OpenAI) -> None:
    """Every token of the answer has its log probability and the likeliest others."""
    answer = client.chat.completions.create(model="bot", messages=_USER, max_tokens=6, logprobs=True, top_logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in logprobs.content)


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    """With a JSON Schema even a model that knows nothing answers with it."""
    answer = client.chat.completions.create(
        model="bot",
        messages=_USER,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "yes_no", "schema": _YES_NO, "strict": True}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content or "")["yes"], bool)


def test_a_json_object_is_kept_to(client: openai.OpenAI) -> None:
    """With json_object the answer begins as an object does."""
    answer = client.chat.completions.create(
        model="bot", messages=_USER, max_tokens=40, response_format={"type": "json_object"}, logit_bias=_LETTERS
    )
    assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_a_tool_is_called(client: openai.OpenAI) -> None:
    """A required tool is called with arguments that keep to its schema."""
    answer = client.chat.completions.create(
        model="bot", messages=_USER, max_tokens=250, tools=[_WEATHER], tool_choice="required"
    )
    calls: Any = answer.choices[0].message.tool_calls
    assert calls[0].function.name == "weather"
    assert isinstance(json.loads(calls[0].function.arguments)["rain"], bool)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_named_tool_is_called(client: openai.OpenAI) -> None:
    """Of two tools the one that tool_choice names is called."""
    other: Any = {"type": "function", "function": {**_WEATHER["function"], "name": "other"}}
    answer = client.chat.completions.create(
        model="bot",
        messages=_USER,
        max_tokens=250,
        tools=[_WEATHER, other],
        tool_choice={"type": "function", "function": {"name": "other"}},
    )
    calls: Any = answer.choices[0].message.tool_calls
    assert calls[0].function.name == "other"


def test_a_tool_call_streams(client: openai.OpenAI) -> None:
    """The pieces of a streamed tool call make up its arguments."""
    name, arguments = "", ""
    with client.chat.completions.create(
        model="bot",
        messages=_USER,
        max_tokens=250,
        tools=[_WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        stream=True,
    ) as stream:
        for frame in stream:
            for choice in frame.choices:
                for call in choice.delta.tool_calls or []:
                    assert call.function is not None
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
    assert name == "weather"
    assert isinstance(json.loads(arguments)["rain"], bool)


def test_a_conversation_with_a_tool_goes_on(client: openai.OpenAI) -> None:
    """An assistant's call and the tool's answer can be sent back as the client keeps them."""
    first = client.chat.completions.create(
        model="bot", messages=_USER, max_tokens=250, tools=[_WEATHER], tool_choice="required"
    )
    message: Any = first.choices[0].message
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    second = client.chat.completions.create(
        model="bot", messages=[*_USER, message.model_dump(), result], max_tokens=4, tools=[_WEATHER], tool_choice="none"
    )
    alone = client.chat.completions.create(model="bot", messages=_USER, max_tokens=4)
    assert second.usage is not None
    assert alone.usage is not None
    assert second.usage.prompt_tokens > alone.usage.prompt_tokens


def test_tools_that_must_not_be_called_cost_nothing(client: openai.OpenAI) -> None:
    """With tool_choice none the prompt is as long as without tools, and a model that knows no tools answers too."""

    def prompt_tokens(model: str, **tools: Any) -> int:
        answer = client.chat.completions.create(model=model, messages=_USER, max_tokens=2, **tools)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    refused: dict[str, Any] = {"tools": [_WEATHER], "tool_choice": "none"}
    assert prompt_tokens("bot", **refused) == prompt_tokens("bot")
    assert prompt_tokens("plain", **refused) == prompt_tokens("plain")
    function: Any = {"type": "function", **_WEATHER["function"]}
    response = client.responses.create(
        model="bot", input="hello", max_output_tokens=2, tools=[function], tool_choice="none"
    )
    assert response.usage is not None
    assert response.usage.input_tokens == prompt_tokens("bot")


@pytest.mark.parametrize(
    ("path", "data", "field"),
    [
        ("/v1/chat/completions", {"model": "bot", "messages": [{"role": "user", "content": "x" * 3000}]}, "messages"),
        ("/v1/completions", {"model": "bot", "prompt": "x" * 3000}, "prompt"),
        ("/v1/completions", {"model": "bot", "prompt": ["x", "x" * 3000]}, "prompt"),
        ("/v1/responses", {"model": "bot", "input": "x" * 3000}, "input"),
        ("/v1/responses", {"model": "bot", "input": "x" * 3000, "stream": True}, "input"),
        ("/v1/embeddings", {"model": "vectors", "input": "x" * 3000}, "input"),
        ("/v1/rerank", {"model": "judge", "query": "x", "documents": ["x" * 3000]}, "documents"),
    ],
)
def test_what_is_too_long_is_named_as_the_route_names_it(
    door: DoorProcess, path: str, data: dict[str, Any], field: str
) -> None:
    """A context that is too short names the field that the client sent."""
    reply = door.post(path, data)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "context_length_exceeded", field)


@pytest.mark.parametrize("others", [{}, {"n": 2}, {"stream": True}, {"stream": True, "n": 2}])
def test_answers_have_openais_members_only(door: DoorProcess, others: dict[str, Any]) -> None:
    """Whole, streamed, one or several: no timings of the engine, its fingerprint in all, ids as the route has them."""
    for path, start, prompt in (
        ("/v1/chat/completions", "chatcmpl-", {"messages": _USER}),
        ("/v1/completions", "cmpl-", {"prompt": "hello"}),
    ):
        reply = door.post(path, {"model": "bot", "max_tokens": 2, **prompt, **others})
        assert "timings" not in reply.text
        answers = [event for event in reply.events if event != "[DONE]"] if "stream" in others else [reply.json()]
        assert answers
        assert all(answer["id"].startswith(start) and answer["system_fingerprint"] for answer in answers)


def test_tools_are_refused_where_the_template_knows_none(client: openai.OpenAI) -> None:
    """Tools that the model would never see are not silently dropped."""
    with pytest.raises(openai.BadRequestError, match="knows no tools"):
        client.chat.completions.create(model="plain", messages=_USER, tools=[_WEATHER])


def test_a_long_prompt_says_both_numbers(client: openai.OpenAI) -> None:
    """A context that is too short is an error with both numbers, whatever the length of the answer."""
    messages: Any = [{"role": "user", "content": "x" * 3000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="bot", messages=messages, max_tokens=1)
    assert caught.value.code == "context_length_exceeded"
    assert "takes 512 tokens" in caught.value.message
    assert re.search(r"the request has 3\d{3}\b", caught.value.message)


def test_an_answer_that_fills_the_context_ends_with_length(client: openai.OpenAI) -> None:
    """More tokens may be asked for than fit; the answer then ends where the context does, and says so."""
    messages: Any = [{"role": "user", "content": "x" * 450}]
    answer = client.chat.completions.create(
        model="bot", messages=messages, max_tokens=400, logit_bias={"2": -100}, temperature=0
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens <= 512


def test_completions_answer(client: openai.OpenAI) -> None:
    """A text is gone on with."""
    answer = client.completions.create(model="bot", prompt="hello", max_tokens=5)
    assert answer.model == "bot"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_several_prompts_and_choices(client: openai.OpenAI) -> None:
    """Every prompt gets n choices, in order, and each prompt is counted once."""
    single = client.completions.create(model="bot", prompt="hello", max_tokens=3)
    answer = client.completions.create(model="bot", prompt=["hello", "hello"], n=2, max_tokens=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert single.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens == 2 * single.usage.prompt_tokens


def test_completions_take_tokens(client: openai.OpenAI) -> None:
    """A prompt may be given as token numbers."""
    answer = client.completions.create(model="bot", prompt=[10, 11, 12], max_tokens=2)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3


@pytest.mark.parametrize("wanted", [0, 2])
def test_log_probabilities_of_completions_have_the_older_form(client: openai.OpenAI, wanted: int) -> None:
    """tokens, token_logprobs, top_logprobs and text_offset, as OpenAI documents them for completions."""
    answer = client.completions.create(
        model="bot", prompt="hello", max_tokens=6, logprobs=wanted, logit_bias=_LETTERS, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.text_offset == _offsets(logprobs.tokens)
    assert logprobs.token_logprobs is not None
    assert len(logprobs.token_logprobs) == len(logprobs.tokens) == 6
    if wanted:
        assert logprobs.top_logprobs is not None
        assert all(len(top) in (2, 3) for top in logprobs.top_logprobs)
    else:
        assert logprobs.top_logprobs is None


def test_log_probabilities_of_streamed_completions(client: openai.OpenAI) -> None:
    """The older form also in a stream, with offsets that go on from piece to piece."""
    tokens: list[str] = []
    offsets: list[int] = []
    with client.completions.create(
        model="bot",
        prompt="hello",
        max_tokens=5,
        logprobs=1,
        logit_bias=_LETTERS,
        temperature=0,
        stream=True,
    ) as stream:
        for frame in stream:
            for choice in frame.choices:
                if choice.logprobs is not None:
                    tokens += choice.logprobs.tokens or []
                    offsets += choice.logprobs.text_offset or []
    assert len(tokens) == 5
    assert offsets == _offsets(tokens)


def test_embeddings_as_the_client_asks_for_them(client: openai.OpenAI) -> None:
    """The client asks for base64 by default and decodes it; floats are the same numbers."""
    packed = client.embeddings.create(model="vectors", input=["good day", "b"])
    floats = client.embeddings.create(model="vectors", input=["good day", "b"], encoding_format="float")
    assert packed.model == "vectors"
    assert [item.index for item in packed.data] == [0, 1]
    for one, other in zip(packed.data, floats.data, strict=True):
        assert len(one.embedding) == 64
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.usage.prompt_tokens > 0


def test_base64_is_little_endian_floats(door: DoorProcess) -> None:
    """What is sent as base64 is what OpenAI sends."""
    reply = door.post("/v1/embeddings", {"model": "vectors", "input": "a", "encoding_format": "base64"})
    raw = base64.b64decode(reply.json()["data"][0]["embedding"])
    assert len(struct.unpack(f"<{len(raw) // 4}f", raw)) == 64


def test_dimensions_must_be_the_models_own(client: openai.OpenAI) -> None:
    """Embeddings are never cut: other dimensions than the model's are refused with both numbers."""
    assert client.embeddings.create(model="vectors", input="a", dimensions=64).data
    with pytest.raises(openai.BadRequestError, match="expected 64, which is what the model gives, got 32"):
        client.embeddings.create(model="vectors", input="a", dimensions=32)


def test_a_long_text_cannot_be_embedded(client: openai.OpenAI) -> None:
    """A text that does not fit is an error with both numbers, not cut."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="vectors", input="hello " * 1000)
    assert caught.value.code == "context_length_exceeded"
    assert "512" in caught.value.message


def test_embeddings_of_a_chat_model_are_refused(client: openai.OpenAI) -> None:
    """A task that a deployment does not do is refused with what it does."""
    with pytest.raises(openai.BadRequestError, match="does not do embeddings; it answers /v1/chat/completions"):
        client.embeddings.create(model="bot", input="a")


def test_rerank_puts_the_best_first(door: DoorProcess) -> None:
    """Results are in the order of their scores, cut to top_n, with the documents where they are wanted."""
    documents = ["good day", {"text": "b"}, "rain"]
    asked = {"model": "judge", "query": "weather", "documents": documents}
    reply = door.post("/v1/rerank", asked)
    assert reply.status == 200, reply.text
    everything = reply.json()
    scores = [one["relevance_score"] for one in everything["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one["index"] for one in everything["results"]) == [0, 1, 2]
    assert everything["usage"]["total_tokens"] > 0
    best = door.post("/v2/rerank", {**asked, "top_n": 1, "return_documents": True}).json()
    assert best["results"][0]["index"] == everything["results"][0]["index"]
    assert len(best["results"]) == 1
    texts = ["good day", "b", "rain"]
    assert best["results"][0]["document"] == {"text": texts[best["results"][0]["index"]]}


def _offsets(tokens: list[str]) -> list[int]:
    found, at = [], 0
    for token in tokens:
        found.append(at)
        at += len(token)
    return found
