"""Which release a request means, and what the release puts around it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from undercroft.core.settings import LimitSettings
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.releases import find_release, with_release
from undercroft.gateway.openai.shadow import likeness_of
from undercroft.gateway.openai.signs import Watched
from undercroft.serving.snapshot import NameEntry, ReleaseEntry, Snapshot

_THERE_ARE = "There are 'bot@3', 'bot@2', 'bot@1', 'bot:previous', 'bot:production';"


def release(number: int, prompt: dict[str, Any] | None = None, **sampling: Any) -> ReleaseEntry:
    """A release that a deployment of its own runs."""
    return ReleaseEntry(number, f"bot@{number}", prompt, sampling, 0)


def door(**others: Any) -> Dispatcher:
    """A dispatcher that knows the name ``bot`` with releases 1 to 3, of which 2 is live."""
    made = Dispatcher(LimitSettings(), lambda _event: None)
    releases = {number: release(number) for number in (1, 2, 3)}
    tags = {"production": 2, "previous": 1}
    made.names = {"bot": NameEntry(**{"name": "bot", "live": 2, "tags": tags, "releases": releases, **others})}
    return made


def number_of(dispatcher: Dispatcher, model: str, **data: Any) -> int | None:
    """The release that answers."""
    found = find_release(dispatcher, {"model": model, **data}, "key_1")[1]
    return found.number if found else None


def test_a_request_names_a_release_in_three_ways() -> None:
    """By the name what is live, by number that very one, by tag where it points; other names have none."""
    dispatcher = door()
    assert number_of(dispatcher, "bot") == 2
    assert number_of(dispatcher, "bot@3") == 3
    assert number_of(dispatcher, "bot:previous") == 1
    assert number_of(dispatcher, "other") is None


@pytest.mark.parametrize(
    "model", ["bot@9", "bot@", "bot@x", "bot@1@2", "bot:canary", "bot:", "bot@" + "9" * 60, "bot@²"]
)
def test_a_release_that_is_not_there_is_404(model: str) -> None:
    """Whatever stands behind the name, the answer says which numbers and tags there are."""
    with pytest.raises(DoorError, match=_THERE_ARE) as caught:
        number_of(door(), model)
    assert caught.value.status == 404


def test_a_canary_gets_its_share_and_users_stay_where_they_are() -> None:
    """A tenth of the users, each always the same; others after another promotion."""
    dispatcher = door(canary=3, canary_ratio=0.1, salt="7")
    users = [f"user-{n}" for n in range(2000)]
    first = [number_of(dispatcher, "bot", user=user) for user in users]
    assert first == [number_of(dispatcher, "bot", user=user) for user in users]
    assert 130 < Counter(first)[3] < 270
    assert Counter(first)[2] == 2000 - Counter(first)[3]
    assert [number_of(door(canary=3, canary_ratio=0.1, salt="8"), "bot", user=user) for user in users] != first
    assert number_of(dispatcher, "bot@2") == 2


def test_without_a_user_a_conversation_stays_with_its_release() -> None:
    """What was said first decides, so that every later turn goes to the same."""
    dispatcher = door(canary=3, canary_ratio=0.5, salt="7")
    seen = set()
    for n in range(40):
        opening = [{"role": "system", "content": "Hi"}, {"role": "user", "content": f"Question {n}"}]
        later = [*opening, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "And?"}]
        assert number_of(dispatcher, "bot", messages=opening) == number_of(dispatcher, "bot", messages=later)
        seen.add(number_of(dispatcher, "bot", messages=opening))
    assert seen == {2, 3}


def test_a_conversation_of_responses_stays_with_its_release() -> None:
    """``input`` with the turns so far counts like ``messages``."""
    dispatcher = door(canary=3, canary_ratio=0.5, salt="7")
    for n in range(20):
        opening = [{"role": "user", "content": f"Question {n}"}]
        later = [*opening, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "And?"}]
        assert number_of(dispatcher, "bot", input=opening) == number_of(dispatcher, "bot", input=later)


def test_nobody_sees_a_candidate_in_the_shadow() -> None:
    """All users stay with what is in production."""
    dispatcher = door(canary=3, canary_ratio=1.0, is_shadow=True)
    assert {number_of(dispatcher, "bot", user=str(n)) for n in range(50)} == {2}


PROMPT = {
    "system": "You help {{who}}.",
    "examples": [{"user": "Hi", "assistant": "Hello, {{who}}"}],
    "variables": {"who": "people"},
    "client_system": "append",
}
CHAT = {"model": "bot", "messages": [{"role": "user", "content": "Where?"}]}


def test_prompt_and_sampling_come_before_what_the_request_says() -> None:
    """System prompt, examples, then the request's own turns; sampling only where the request leaves it open."""
    found = with_release({**CHAT, "temperature": 1.0}, release(1, PROMPT, temperature=0.0, seed=3))
    assert [message["content"] for message in found["messages"]] == [
        "You help people.",
        "Hi",
        "Hello, people",
        "Where?",
    ]
    assert (found["temperature"], found["seed"]) == (1.0, 3)


def test_a_release_that_adds_nothing_leaves_the_request_as_it_is() -> None:
    """The very same object, so that the client's bytes can go to the engine."""
    assert with_release(CHAT, release(1)) is CHAT
    assert with_release(CHAT, None) is CHAT


def test_variables_are_filled_in_once() -> None:
    """A value is text: what looks like a variable in it stays as it is."""
    found = with_release({**CHAT, "prompt_variables": {"who": "{{who}} & co"}}, release(1, PROMPT))
    assert found["messages"][0]["content"] == "You help {{who}} & co."
    assert "prompt_variables" not in found


@pytest.mark.parametrize(
    ("prompt", "given", "expected"),
    [
        (PROMPT, {"whom": "me"}, "there is no variable whom in this prompt; it has who"),
        ({**PROMPT, "variables": {"who": None}}, {}, "the prompt needs a value for who"),
        (None, {"who": "me"}, "the model has no prompt with variables"),
    ],
)
def test_wrong_variables_are_named(prompt: dict[str, Any] | None, given: dict[str, str], expected: str) -> None:
    """A request with them is refused before any engine sees it."""
    with pytest.raises(DoorError, match=expected) as caught:
        with_release({**CHAT, "prompt_variables": given}, release(1, prompt, temperature=0.5))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("policy", "expected"), [("append", "You help people.\n\nBe brief."), ("ignore", "You help people.")]
)
def test_the_clients_own_system_prompt(policy: str, expected: str) -> None:
    """It follows the release's or is left out; a model gets one system turn in any case."""
    chat = {"model": "bot", "messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}
    found = with_release(chat, release(1, {**PROMPT, "client_system": policy}))
    assert [message["role"] for message in found["messages"]].count("system") == 1
    assert found["messages"][0]["content"] == expected


def test_a_release_may_refuse_other_system_prompts() -> None:
    """The client is told so."""
    chat = {"model": "bot", "messages": [{"role": "developer", "content": "Be brief."}, *CHAT["messages"]]}
    with pytest.raises(DoorError, match="takes no other"):
        with_release(chat, release(1, {**PROMPT, "client_system": "refuse"}))


def test_examples_alone_stand_behind_the_clients_system_prompt() -> None:
    """A system prompt stays first."""
    chat = {"model": "bot", "messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}
    found = with_release(chat, release(1, {"examples": [{"user": "Hi", "assistant": "Yo"}], "client_system": "append"}))
    assert [message["content"] for message in found["messages"]] == ["Be brief.", "Hi", "Yo", "Where?"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_requests_limit_wins_under_either_name(field: str) -> None:
    """Two limits in one request would be refused."""
    found = with_release({**CHAT, field: 5}, release(1, None, max_tokens=100))
    assert found[field] == 5
    assert len({"max_tokens", "max_completion_tokens"} & set(found)) == 1


ANSWER = b'{"choices":[{"message":{"content":"%s"},"finish_reason":"%s"}]}'
STREAM = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
STREAM_END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("body", "data", "expected"),
    [
        (ANSWER % (b"Yes.", b"stop"), {}, {}),
        (ANSWER % (b" ", b"stop"), {}, {"is_empty": True, "is_refusal": None}),
        (ANSWER % (b"I am sorry, I cannot help with that.", b"stop"), {}, {"is_refusal": True}),
        (ANSWER % (b"Well", b"length"), {}, {"is_cut": True}),
        (ANSWER % (b"Well", b"stop"), {"response_format": {"type": "json_object"}}, {"is_invalid": True}),
        (ANSWER % (b"[1]", b"stop"), {"response_format": {"type": "json_object"}}, {"is_invalid": False}),
        (
            STREAM % b"[1" + STREAM % b"]" + STREAM_END,
            {"response_format": {"type": "json_schema"}},
            {"is_invalid": False},
        ),
        (STREAM % b"Yes" + STREAM_END, {}, {}),
        (b'{"choices":[{"message":{"content":[{"text":"Yes"},{"text":"."}]},"finish_reason":"stop"}]}', {}, {}),
        (b'{"choices":[null,{"message":"x"}]}', {}, {"is_empty": True, "is_refusal": None, "is_cut": None}),
        (b'{"choices":5}', {}, {"is_empty": True, "is_refusal": None, "is_cut": None}),
    ],
)
def test_signs_of_an_answer(body: bytes, data: dict[str, Any], expected: dict[str, Any]) -> None:
    """Of a whole answer and of a stream; only what was asked for can be invalid."""
    watched = Watched(data)
    for at in range(0, len(body), 7):
        watched.take(body[at : at + 7])
    plain = {"is_empty": False, "is_refusal": False, "is_invalid": None, "is_cut": False}
    assert watched.signs() == {**plain, **expected}


_TWO = b'{"choices":[{"index":1,"text":""},{"index":0,"text":"Yes","finish_reason":"length"}]}'


def test_of_several_choices_one_makes_the_answer_bad() -> None:
    """Each is judged by itself, in a stream in which their pieces alternate as well."""
    watched = Watched({"response_format": {"type": "json_object"}})
    piece = b'data: {"choices":[{"index":%d,"delta":{"content":"%b"}}]}\n\n'
    for index, text in ((0, b"[1"), (1, b"I"), (0, b"]"), (1, b" cannot help with that.")):
        watched.take(piece % (index, text))
    assert watched.signs() == {"is_empty": False, "is_refusal": True, "is_invalid": True, "is_cut": None}
    watched = Watched({})
    watched.take(_TWO)
    assert watched.signs() == {"is_empty": True, "is_refusal": False, "is_invalid": None, "is_cut": True}


def test_answers_are_compared_choice_by_choice() -> None:
    """By their index, whatever their order; one that only one of both has is like nothing."""
    other = b'{"choices":[{"index":0,"message":{"content":"Yes"}},{"index":1,"message":{"content":"No way"}}]}'
    assert likeness_of(_TWO, _TWO) == 1.0
    assert likeness_of(_TWO, other) == 0.5
    assert likeness_of(other, b'{"choices":[{"message":{"content":"Yes"}}]}') == 0.5
    assert likeness_of(b"", b"") == 1.0


def test_names_survive_the_way_to_the_door() -> None:
    """A snapshot with names is the same after JSON, with whole numbers as the keys of releases."""
    names = {"bot": NameEntry("bot", 2, {"production": 2}, {2: release(2, PROMPT, seed=1)}, salt="4")}
    sent = Snapshot(3, names=names)
    assert Snapshot.from_dict(sent.to_dict()) == sent


def test_the_door_takes_names_with_the_snapshot() -> None:
    """What a snapshot no longer names is gone."""

    async def run() -> None:
        dispatcher = door()
        dispatcher.apply(Snapshot(4))
        assert dispatcher.names == {}

    asyncio.run(run())
