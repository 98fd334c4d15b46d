"""What a student is taught with, what is refused before it begins, and a teacher's answers kept as they come."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.support.ggufs import write_chat_model
from tests.support.prunable import write_prunable
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.distill_step import check_zeros, same_tokens
from undercroft.optimize.distillation.answering import answered, served_endpoint
from undercroft.optimize.distillation.material import load_data, prepare_material
from undercroft.optimize.distillation.settings import Served
from undercroft.optimize.evaluation.texts import TextSet
from undercroft.optimize.pruning.changes import TWO_OF_FOUR, Changes
from undercroft.optimize.pruning.pruning import prune_file
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.recipes import load_recipe
from undercroft.optimize.steps import Progress
from undercroft.optimize.training.conversations import Conversation, Turn
from undercroft.registry.inspection.gguf import read_gguf

QUESTIONS = [Conversation(number, (Turn("user", f"question {number}"),)) for number in (1, 2, 3)]


def unheard(progress: Progress) -> None:
    """Progress that nobody looks at."""


class Door(BaseHTTPRequestHandler):
    """Answers what its server was given to say."""

    def do_POST(self) -> None:
        """One chat completion, or a status."""
        server: Any = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((asked, self.headers.get("Authorization")))
        status, said = server.says(asked)
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def door() -> Iterator[Any]:
    """A server on a free port; what it says can be set."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.asked = []
    server.says = lambda asked: (200, completion(f"answer to {asked['messages'][-1]['content']}"))
    server.served = Served(url=f"http://127.0.0.1:{server.server_port}/v1", model="shop:production")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def completion(content: str, reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": reason}]}


def test_answers_are_asked_for_once(door: Any, tmp_path: Path) -> None:
    """The release and the key go with each question; after a kill only what has no answer yet is asked again."""
    key = tmp_path / "key"
    key.write_text("secret\n", encoding="utf-8")
    served = door.served.model_copy(update={"key_file": key})
    endpoint = served_endpoint(served)
    first = answered(endpoint, served.model, QUESTIONS[:2], tmp_path, answer_tokens=9, report=unheard)
    assert [one.turns[-1].content for one in first] == ["answer to question 1", "answer to question 2"]
    assert all(one.turns[-1].is_learnt for one in first)
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(b'"cut o')
    again = answered(endpoint, served.model, QUESTIONS, tmp_path, answer_tokens=9, report=unheard)
    assert [one.turns[-1].content for one in again][2] == "answer to question 3"
    assert [asked["messages"][0]["content"] for asked, _ in door.asked] == [f"question {n}" for n in (1, 2, 3)]
    asked, sent = door.asked[0]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("shop:production", 0, 9)
    assert sent == "Bearer secret"


def test_an_answer_that_was_cut_off_teaches_nothing(door: Any, tmp_path: Path) -> None:
    """It is left out; where none is whole, that is said."""
    door.says = lambda asked: (
        200,
        completion("half of", "length" if asked["messages"][0]["content"] == "question 1" else "stop"),
    )
    found = answered(served_endpoint(door.served), "m", QUESTIONS, tmp_path, answer_tokens=9, report=unheard)
    assert [one.line for one in found] == [2, 3]
    door.says = lambda asked: (200, completion(" "))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InvalidError, match="none of 3 answers of the teacher was whole within 9 tokens"):
        answered(served_endpoint(door.served), "m", QUESTIONS, other, answer_tokens=9, report=unheard)


def test_a_teacher_that_does_not_teach_is_told_apart(door: Any, tmp_path: Path) -> None:
    """A wrong key, an unknown model, another kind of server, nobody at all: each says what it was."""

    def ask(**changes: Any) -> None:
        served = door.served.model_copy(update=changes)
        answered(served_endpoint(served), "m", QUESTIONS, tmp_path, answer_tokens=9, report=unheard)

    door.says = lambda asked: (401, {"error": {"message": "the key is not valid…"}})
    with pytest.raises(RefusedError, match=r"refuses the key, with status 401: the key is not valid…\n"):
        ask()
    door.says = lambda asked: (404, {"error": "no such model"})
    with pytest.raises(InvalidError, match=r"answered line 1 with status 404: no such model\n.*ask for a new job"):
        ask()
    door.says = lambda asked: (200, {"choices": []})
    with pytest.raises(UnavailableError, match="gives no chat completion"):
        ask()
    with pytest.raises(
        UnavailableError, match=r"teacher-away: the teacher 'm' does not answer at http://127\.0\.0\.1:1:"
    ):
        ask(url="http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="key-unreadable"):
        ask(key_file=tmp_path / "gone")


def test_a_recipe_of_two_models_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    """No teacher, two of them, one that cannot tell what it expects, settings of the other method."""
    (tmp_path / "chat.jsonl").write_text("{}\n", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    for settings, what in (
        ("{data: chat.jsonl}", "steps[1].distill.teacher: expected a model that teaches"),
        ("{data: chat.jsonl, teacher: small}", "expected another model than the student"),
        ("{data: chat.jsonl, teacher: big, served: {url: 'http://a', model: b}}", "expected teacher or served"),
        ("{data: chat.jsonl, served: {url: 'http://a', model: b}}", "expected method: answers with a served teacher"),
        ("{data: chat.jsonl, method: answers, served: {url: a, model: b}}", "expected an address such as"),
        ("{data: chat.jsonl, teacher: big, method: answers, temperature: 2}", "expected no temperature with method"),
        ("{data: gone.jsonl, teacher: big}", "there is no file"),
    ):
        recipe.write_text(f"from: small\nto: new\nsteps:\n  - distill: {settings}\n", encoding="utf-8")
        with pytest.raises(InvalidError) as refused:
            load_recipe(recipe)
        assert what in str(refused.value)


def test_a_key_stays_out_of_the_recipe(tmp_path: Path) -> None:
    """Its file is found from another process, and neither its content nor its digest is written down."""
    (tmp_path / "chat.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "key").write_text("secret", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    served = "{url: 'http://127.0.0.1:8080/v1/', model: 'shop:production', key_file: key}"
    recipe.write_text(
        f"from: small\nto: new\nsteps:\n  - distill: {{data: chat.jsonl, method: answers, served: {served}}}\n",
        encoding="utf-8",
    )
    found = load_recipe(recipe).to_dict()["steps"][0]["distill"]
    assert found["served"] == {
        "url": "http://127.0.0.1:8080",
        "model": "shop:production",
        "key_file": str(tmp_path / "key"),
    }
    assert found["data_digest"].startswith("sha256:")


def test_data_is_what_its_first_line_says(tmp_path: Path) -> None:
    """Conversations, or texts; where a teacher will answer, questions."""
    chat, texts = tmp_path / "chat.jsonl", tmp_path / "texts.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chat.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    texts.write_text('{"text": "a bird"}\n', encoding="utf-8")
    (found,) = load_data(chat, is_asked=False)  # type: ignore[misc]  # a list of one
    assert [turn.is_learnt for turn in found.turns] == [False, True]
    (question,) = load_data(chat, is_asked=True)  # type: ignore[misc]  # likewise
    assert len(question.turns) == 1
    assert isinstance(load_data(texts, is_asked=False), TextSet)


def test_texts_become_what_the_program_reads(tmp_path: Path) -> None:
    """Every token is foretold but the first; every fifth text is kept apart; a second look reads what was written."""
    model = write_chat_model(tmp_path / "model.gguf")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps({"text": f"bird {n} sat on a wire"}) for n in range(10)), encoding="utf-8")
    data = load_data(texts, is_asked=False)
    folder = tmp_path / "work"
    folder.mkdir()
    found = prepare_material(model, data, folder, EngineSettings(), context_tokens=512, seed=0, report=unheard)
    assert (found.sequences, found.validation_sequences, found.is_held_out) == (8, 2, True)
    assert found.measured == ("bird 4 sat on a wire", "bird 9 sat on a wire")
    with np.load(found.training_file(folder)) as written:
        assert written["judged"].all()
        assert len(written["tokens"]) - len(written["lengths"]) == found.judged_tokens
    again = prepare_material(model, [], folder, EngineSettings(), context_tokens=512, seed=0, report=unheard)
    assert again == found


def test_an_answer_that_is_too_long_is_left_out_where_a_teacher_gave_it(tmp_path: Path) -> None:
    """Nobody wrote it, so nobody can shorten it; of a user's own conversations the line is named instead."""
    model = write_chat_model(tmp_path / "model.gguf")
    answers = [f"bird {number}" for number in range(9)]
    lines = [
        Conversation(number, (Turn("user", "which?"), Turn("assistant", answer, is_learnt=True)))
        for number, answer in enumerate([*answers, "bird " * 400], 1)
    ]

    def prepared(folder: str, given: list[Conversation], *, is_answered: bool) -> Any:
        place = tmp_path / folder
        place.mkdir()
        rest: Any = {"context_tokens": 300, "seed": 0, "report": unheard, "is_answered": is_answered}
        return prepare_material(model, given, place, EngineSettings(), **rest)

    found = prepared("answered", lines, is_answered=True)
    assert (found.left_out, found.sequences + found.validation_sequences) == (1, 9)
    with pytest.raises(InvalidError, match="line 10 has "):
        prepared("written", lines, is_answered=False)
    with pytest.raises(InvalidError, match="none of 1 answers of the teacher fits with its question"):
        prepared("none", lines[-1:], is_answered=True)


def test_tokens_and_zeros_are_compared(tmp_path: Path) -> None:
    """Two models of one vocabulary are told from two of several; a value where pruning had put a zero is found."""
    model, other = write_prunable(tmp_path / "model.gguf"), tmp_path / "other.gguf"
    assert same_tokens(model, write_chat_model(tmp_path / "chat.gguf"))
    writer = gguf.GGUFWriter(other, "llama")
    writer.add_block_count(1)
    writer.add_token_list(["a"])
    writer.add_tensor("token_embd.weight", np.ones((1, 32), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    assert not same_tokens(model, other)
    sums = {
        tensor.name: np.ones((1, tensor.shape[0]), np.float32)
        for tensor in read_gguf(model, "model", with_tokens=False).tensors
        if len(tensor.shape) == 2
    }
    matrix = ImportanceMatrix(sums, {name: np.ones(1, np.float32) for name in sums})
    sparse = tmp_path / "sparse.gguf"
    prune_file(model, sparse, Changes(sparsity=TWO_OF_FOUR), importance=matrix, report=lambda done, total: None)
    check_zeros(sparse, sparse)
    with pytest.raises(InvalidError, match=r"tensor 'blk.0.attn_q.weight' has values where pruning had put zeros"):
        check_zeros(sparse, model)
