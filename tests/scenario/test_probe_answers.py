"""Probes against engines that misbehave, and doors that go away."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.server import Server
from undercroft.checks.questions import Question
from undercroft.core.clock import utc_now
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.watch.probes.asking import ask_all
from undercroft.watch.probes.baselining import take_baseline
from undercroft.watch.probes.door_client import DoorClient, RefusedAnswerError

_PROBE = """\
questions:
  - {id: well, text: Hello there, checks: [{kind: contains, text: Hello}]}
  - {id: slow, text: SLOW one two three, total_seconds: 0.2, checks: [{kind: contains, text: three}]}
  - {id: broken, text: EXIT, checks: [{kind: no-refusal}]}
  - {id: after, text: Hello again, checks: [{kind: contains, text: again}]}
"""


def question(name: str) -> Question:
    return Question.model_validate({"id": name, "text": "Hello", "checks": [{"kind": "no-refusal"}]})


def test_a_question_that_ends_the_engine_fails_alone(fake_server: Callable[..., Server]) -> None:
    """The one before and the one after are answered; a slow one fails by its time; each has its row."""
    server = fake_server()
    (server.home / "probes" / "bot.yaml").write_text(_PROBE, encoding="utf-8")
    shown = server.run("probe", "run", "bot", "--json", check=False)
    assert shown.returncode == 1
    content = (server.home / "reports" / "bot.csv").read_text(encoding="utf-8-sig")
    rows = {row["question"]: row for row in csv.DictReader(io.StringIO(content, newline=""))}
    assert {name: row["passed"] for name, row in rows.items()} == {
        "well": "yes",
        "slow": "no",
        "broken": "no",
        "after": "yes",
    }
    assert rows["slow"]["failed_checks"] == "total-time"
    assert 0 < float(rows["slow"]["total_time"]) < 1
    assert rows["broken"]["error"]
    assert rows["broken"]["answer_digest"] == ""


class _Door(BaseHTTPRequestHandler):
    """Answers with what the test put there."""

    status = 200
    content = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (503, b'{"error": {"code": "model-loading", "message": "wait"}}', "model-loading"),
        (500, b"<html>", "bad-answer"),
        (500, b"[]", "bad-answer"),
        (200, b'data: {"error": {"code": "engine-crashed", "message": "it ended"}}\n\n', "engine-crashed"),
        (200, b"data: {not json\n\n", "answer-broke-off"),
    ],
)
def test_whatever_the_door_answers_is_an_error_with_a_code(status: int, content: bytes, code: str) -> None:
    """Of the door's own where it gave one."""
    handler = type("Door", (_Door,), {"status": status, "content": content})
    with HTTPServer(("127.0.0.1", 0), handler) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            client = DoorClient(f"http://127.0.0.1:{door.server_port}", "uc-x")
            with pytest.raises(RefusedAnswerError) as caught:
                client.chat("bot", [{"role": "user", "content": "x"}], max_tokens=5)
            assert caught.value.code == code
        finally:
            door.shutdown()
            thread.join()


def test_questions_that_are_left_when_the_door_goes_away_say_so() -> None:
    """None is lost, and nobody waits for each of them."""
    with HTTPServer(("127.0.0.1", 0), _Door) as door:
        port = door.server_port
    client = DoorClient(f"http://127.0.0.1:{port}", "uc-x")
    outcomes = list(ask_all(client, "bot", [question("one"), question("two")], None, "bot@1", utc_now))
    assert [(outcome.question, outcome.error, outcome.has_passed) for outcome in outcomes] == [
        ("one", "door-away", False),
        ("two", "door-away", False),
    ]
    with pytest.raises(UnavailableError, match="nobody answers"):
        client.embed("e5", ["x"])


class _Advisers(BaseHTTPRequestHandler):
    """A door with a model that says Bonjour, an encoder for which all greetings are alike, and a strict judge."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        if self.path == "/v1/embeddings":
            vectors = [[1.0, 0.2 if text == "Hello" else 0.1] for text in body["input"]]
            self.wfile.write(json.dumps({"data": [{"embedding": vector} for vector in vectors]}).encode())
            return
        said = {"judge": "7", "mute": "I cannot say."}.get(body["model"], "Bonjour")
        said = json.dumps(body["prompt_variables"]) if "prompt_variables" in body else said
        event = {"choices": [{"delta": {"content": said}}]}
        self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_encoders_and_judges_are_asked_at_the_same_door() -> None:
    """A likeness by vectors where letters share nothing, a mark out of ten, and a judge that gives none."""
    asked = Question.model_validate(
        {
            "id": "greeting",
            "text": "Say hello",
            "checks": [
                {"kind": "similarity", "reference": "Hello", "at_least": 0.9, "encoder": "e5"},
                {"kind": "similarity", "reference": "Hello", "at_least": 0.9},
                {"kind": "judge", "model": "judge", "criterion": "It is polite."},
                {"kind": "judge", "model": "mute", "criterion": "It is polite."},
            ],
        }
    )
    with HTTPServer(("127.0.0.1", 0), _Advisers) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            client = DoorClient(f"http://127.0.0.1:{door.server_port}", "uc-x")
            (outcome,) = ask_all(client, "bot", [asked], None, "bot@1", utc_now)
        finally:
            door.shutdown()
            thread.join()
    assert [result.has_passed for result in outcome.results] == [True, False, True, False]
    assert outcome.results[2].score == pytest.approx(0.7)
    assert "gave no number" in outcome.results[3].detail


def test_a_prompt_gets_values_of_the_question_and_a_judge_its_own() -> None:
    """What the prompt has no variable for is left out; a question that lacks one fails without being asked."""
    asked = {
        "id": "hours",
        "text": "When do you open?",
        "variables": {"shop": "Corner", "later": "x"},
        "checks": [
            {"kind": "exact", "text": '{"shop": "Corner"}'},
            {"kind": "judge", "model": "judge", "criterion": "polite", "variables": {"points": "10"}},
        ],
    }
    lacking = {"id": "lacking", "text": "Hello", "checks": [{"kind": "no-refusal"}]}
    questions = [Question.model_validate(each) for each in (asked, lacking)]
    with HTTPServer(("127.0.0.1", 0), _Advisers) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            client = DoorClient(f"http://127.0.0.1:{door.server_port}", "uc-x")
            known = {"shop": None, "tone": "brief"}
            first, second = ask_all(client, "bot", questions, None, "bot@1", utc_now, known=known)
            with pytest.raises(ConflictError, match="needs a value for shop"):
                take_baseline(client, "bot", questions, 2, "bot@1", lambda _done: None, known=known)
        finally:
            door.shutdown()
            thread.join()
    assert [result.score for result in first.results] == [1.0, 1.0], first.results
    assert second.error == "no-value"
    assert "needs a value for shop" in second.message
