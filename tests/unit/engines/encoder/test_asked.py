"""What requests ask, and the form of their answers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.asked import classify_answer, embeddings_answer, read_request, rerank_answer

ROWS = np.array([[0.25], [0.75], [0.75]], np.float32)


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("hello", ["hello"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_inputs_in_every_form(given: Any, inputs: list[Any]) -> None:
    """A text, several, the tokens of one, the tokens of several."""
    assert read_request("embed", {"input": given}).inputs == inputs


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"input": []},
        {"input": [[]]},
        {"input": ["a", 1]},
        {"input": [True]},
        {"input": "a", "encoding_format": "hex"},
        {"input": "a", "truncate": "END"},
    ],
)
def test_what_is_no_request(body: Any) -> None:
    """Every other body is refused in words."""
    with pytest.raises(InvalidError, match="expected"):
        read_request("embed", body)


@pytest.mark.parametrize(
    "changed", [{"query": None}, {"documents": []}, {"documents": "a"}, {"documents": [1]}, {"top_n": 0}]
)
def test_what_is_no_ranking(changed: dict[str, Any]) -> None:
    """A ranking needs a query and documents, and ranks at least one."""
    with pytest.raises(InvalidError, match="expected"):
        read_request("rerank", {"query": "q", "documents": ["a"], **changed})


def test_base64_holds_the_same_vector() -> None:
    """Both forms hold the same 32-bit floats, and tokens are told as OpenAI tells them."""
    plain = embeddings_answer("bot", ROWS, 7, is_base64=False)
    packed = embeddings_answer("bot", ROWS, 7, is_base64=True)
    vector = np.frombuffer(base64.b64decode(packed["data"][1]["embedding"]), "<f4")
    assert list(vector) == list(plain["data"][1]["embedding"]) == [0.75]
    assert plain["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [one["index"] for one in plain["data"]] == [0, 1, 2]


def test_the_best_come_first() -> None:
    """Documents come by score, the first of equal ones first, as many as were asked for."""
    found = rerank_answer("bot", ROWS, 9, best=2)
    assert found["results"] == [{"index": 1, "relevance_score": 0.75}, {"index": 2, "relevance_score": 0.75}]


def test_a_class_has_its_name() -> None:
    """The label is that of the largest probability."""
    found = classify_answer("bot", np.array([[0.1, 0.9]], np.float32), 3, ["bad", "good"])
    (one,) = found["data"]
    assert (one["label"], one["num_classes"], one["labels"]) == ("good", 2, ["bad", "good"])
