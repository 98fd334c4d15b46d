"""Outcomes as detectors read them, and samples of replicas."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from undercroft.checks.judging import judge_answer
from undercroft.checks.questions import Question
from undercroft.core.clock import from_iso, to_iso
from undercroft.core.processes import ProcessIdentity, identify
from undercroft.engines.chat_stream import Answer
from undercroft.engines.contract import EngineMemory, EngineRecord, EngineSpec, ReplicaState, Task
from undercroft.serving.replica import ReplicaView
from undercroft.storage.database import Database
from undercroft.storage.tables import probe_outcomes, replica_samples, usage
from undercroft.watch.drift.sampling import keep_samples, open_files
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.outcome_rows import Purpose, baseline_rows, keep_rows, outcome_row
from undercroft.watch.probes.outcomes import Outcome

AT = from_iso("2026-03-01T07:00:00.000Z")
QUESTION = Question.model_validate(
    {"id": "order", "text": "As JSON?", "checks": [{"kind": "json"}, {"kind": "length", "at_most": 30}]}
)


def answered(text: str) -> Outcome:
    results = tuple(judge_answer(QUESTION.checks, text))
    return Outcome(AT, "bot@1", "order", 1.0, results, answer=Answer(text, 0.2, 1.0, 10, 9), likeness=0.75)


def row_of(outcome: Outcome, question: Question = QUESTION) -> dict[str, Any]:
    return outcome_row(outcome, question, run_at=AT, probe="morning", purpose=Purpose.PROBE, deployment="bot")


def test_a_row_has_figures_and_no_text() -> None:
    """What the answer was like, not what it said."""
    row = row_of(answered('{"title": "Moby-Dick"}'))
    assert (row["has_passed"], row["score"], row["is_valid"], row["is_refusal"]) == (True, 1.0, True, False)
    assert (row["first_token_seconds"], row["tokens_per_second"], row["answer_tokens"]) == (0.2, 10.0, 9)
    assert row["likeness"] == 0.75
    assert "Moby" not in str(row)
    assert set(row) == {column.name for column in probe_outcomes.columns} - {"id"}


def test_what_is_not_json_and_refuses_is_said_so() -> None:
    """Form and refusal are judged of every answer, whatever its checks are."""
    row = row_of(answered("I'm sorry, but I can't help with that."))
    assert (row["has_passed"], row["is_valid"], row["is_refusal"], row["language"]) == (False, False, True, "en")
    assert row["failed_checks"] == ["json", "length"]


def test_a_question_without_an_answer_has_no_signs() -> None:
    """An error is a failure, and tells nothing of form, language or speed."""
    row = row_of(Outcome(AT, "bot@1", "order", 1.0, error="overloaded", message="too many"))
    assert (row["has_passed"], row["score"], row["error"]) == (False, 0.0, "overloaded")
    assert [row[name] for name in ("is_valid", "is_refusal", "language", "likeness", "answer_tokens")] == [None] * 5


def test_an_edited_question_is_another() -> None:
    """Its rows are not compared with those of the question that it was."""
    edited = QUESTION.model_copy(update={"text": "As JSON, please?"})
    assert row_of(answered("{}"))["question"] != row_of(answered("{}"), edited)["question"]


def test_a_baseline_has_a_row_a_round_without_noisy_checks() -> None:
    """Rounds in the order in which they were asked; each answer is compared with the others."""
    texts = ["{}", '{"a": 1}', "{}", '{"note": "this is far too long for the check"}']
    outcomes = {"order": [answered(text) for text in texts]}
    baseline = {"order": baseline_of(QUESTION, outcomes["order"])}
    rows = baseline_rows(outcomes, [QUESTION], baseline, run_at=AT, probe="morning", deployment="bot")
    assert [row["has_passed"] for row in rows] == [True] * 4
    assert [row["likeness"] for row in rows][::2] == [1.0, 1.0]
    assert 0 < rows[1]["likeness"] < 1
    assert {row["purpose"] for row in rows} == {"baseline"}


def test_old_rows_are_forgotten(tmp_path: Path) -> None:
    """After 400 days, when new ones come."""
    database = Database(tmp_path / "x.db")
    keep_rows(database, [row_of(answered("{}"))], AT)
    keep_rows(database, [{**row_of(answered("{}")), "at": to_iso(AT + timedelta(days=401))}], AT + timedelta(days=401))
    with database.read() as connection:
        assert connection.execute(select(probe_outcomes.c.at)).scalars().all() == [to_iso(AT + timedelta(days=401))]
    database.close()


def view(state: ReplicaState, process: ProcessIdentity) -> ReplicaView:
    spec = EngineSpec("rep_1", "bot", Task.GENERATE, Path("/run"), Path("/log"))
    record = EngineRecord(
        replica_id="rep_1",
        engine="llama.cpp",
        deployment="bot",
        spec_digest="",
        pid=process.pid,
        process_started=process.started,
        socket_path=None,
        base_url=None,
        key_file=None,
        is_sealed=False,
        seal_note="",
        started_at="",
    )
    memory = EngineMemory(private_bytes=1000, file_bytes=5, gpu_bytes={0: 30, 1: 40})
    return ReplicaView(spec=spec, spec_digest="", state=state, started=0.0, record=record, memory=memory)


def test_replicas_that_are_ready_are_sampled(tmp_path: Path) -> None:
    """Memory, accelerators together, open files, and the requests since the last look; old samples go."""
    database, own = Database(tmp_path / "x.db"), identify(os.getpid())
    assert own is not None
    with database.write() as connection:
        for minute, replica in ((-5, "rep_1"), (0, "rep_1"), (0, "rep_2"), (0, "rep_1")):
            connection.execute(
                insert(usage).values(
                    at=to_iso(AT + timedelta(minutes=minute)),
                    request_id="r",
                    key_id="k",
                    deployment="bot",
                    replica=replica,
                    route="chat",
                    status=200,
                    queue_seconds=0.0,
                    total_seconds=1.0,
                )
            )
    views = [view(ReplicaState.READY, own), view(ReplicaState.STARTING, own)]
    for days in (0, 8):
        now = AT + timedelta(days=days, minutes=1)
        keep_samples(database, views, now - timedelta(minutes=2), now)
        with database.read() as connection:
            (row,) = connection.execute(select(replica_samples)).all()
        assert (row.at, row.private_bytes, row.gpu_bytes) == (to_iso(now), 1000, 70)
        assert row.requests == (2 if days == 0 else 0)
        assert row.open_files > 0
    database.close()


def test_open_files_of_a_process_that_is_gone_are_not_known() -> None:
    """A process with the same number that began at another time is another."""
    assert open_files(ProcessIdentity(os.getpid(), -1.0)) is None


def test_a_file_that_is_opened_is_counted(tmp_path: Path) -> None:
    """One more file, one more."""
    own = identify(os.getpid())
    assert own is not None
    before = open_files(own)
    with (tmp_path / "x").open("w"):
        after = open_files(own)
    assert before is not None
    assert after == before + 1


@pytest.mark.parametrize("purpose", list(Purpose))
def test_purposes_fit_their_column(purpose: Purpose) -> None:
    """The longest has sixteen letters at most."""
    assert len(purpose.value) <= 16
