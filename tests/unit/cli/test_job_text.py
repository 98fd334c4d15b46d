"""What people read of jobs and of how a model was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from undercroft.cli.job_progress import beside_a_bar, in_short, in_words
from undercroft.cli.job_text import duration, forecast_rows, job_rows, next_line
from undercroft.cli.lineage_text import lineage_rows, proofs, step_texts
from undercroft.core.home import Home
from undercroft.optimize.jobs.folders import HowFar, JobFolder
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job, Parent

RECIPE: dict[str, Any] = {
    "from": "tiny",
    "to": "small",
    "steps": [{"quantize": {"scheme": "Q4_K_M", "allow_requantize": False}}],
}
MADE = {
    "kind": "job",
    "job": "job_1",
    "tool": "undercroft 0.1.0",
    "parents": [{"name": "tiny", "digest": "sha256:1"}],
    "recipe": RECIPE,
    "seed": 7,
    "is_reproducible": False,
    "versions": {"python": "3.11.7"},
}


def job(**values: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "job_1",
        "kind": "quantize",
        "recipe": RECIPE,
        "parents": (Parent("tiny", "sha256:" + "ab" * 32),),
        "result": "small",
        "stored": State.DONE,
        "step": 0,
        "attempts": 1,
        "process": None,
        "created_at": "2026-11-22T07:00:00.000Z",
        "started_at": "2026-11-22T07:00:01.000Z",
        "ended_at": "2026-11-22T07:00:05.500Z",
        "actor": "cli:anna",
        "reason": None,
        "problem": None,
        "note": "",
    }
    return Job(**{**fields, **values})


def test_a_job_whose_process_is_gone_says_so(tmp_path: Path) -> None:
    """In the line where others tell their problem."""
    rows = job_rows(job(stored=State.RUNNING, ended_at=None), "interrupted", JobFolder(Home(tmp_path), "job_1"))
    assert dict(rows)["problem"].startswith("its process ended without a word")


def test_beside_a_bar_the_time_that_is_left_is_never_cut() -> None:
    """In 80 columns there are 54 for words: a long name of what is done is cut, and the place of the bar is fixed."""
    how_far = HowFar(0, 2, 12, 100, "tokens", "", 248.0)
    said = beside_a_bar("reading texts with support-shallow-q4_k_m", State.RUNNING, how_far)
    assert said == "reading texts with s…: step 1 of 2, 12 %, 4 m 8 s left"
    assert beside_a_bar("quantizing", State.QUEUED, None) == "quantizing: queued".ljust(54)


@pytest.mark.parametrize(
    ("how_far", "words", "short"),
    [
        (None, "running", "running"),
        (HowFar(0, 1, 43, 100, "bytes", "", 12.0), "running, 43 %, 12.0 s left", "running 43 %"),
        (HowFar(0, 2, 43, 100, "bytes", "", None), "running, step 1 of 2, 43 %", "running 43 %"),
        (HowFar(0, 1, 5, 0, "bytes", "", None), "running", "running"),
    ],
)
def test_how_far_a_job_is(how_far: HowFar | None, words: str, short: str) -> None:
    """Share and time left where they are known; nothing of either where the job does not run."""
    assert (in_words(State.RUNNING, how_far), in_short(State.RUNNING, how_far)) == (words, short)
    assert in_words(State.INTERRUPTED, how_far) == in_short(State.INTERRUPTED, how_far) == "interrupted"


def test_a_job_in_rows(tmp_path: Path) -> None:
    """What it reads, makes and does, how long it took, and each line of what went wrong."""
    problem = {"kind": "RefusedError", "code": "gate-not-passed", "message": "no:\n  - max_kl", "hint": None}
    rows = job_rows(job(attempts=2, reason="a trial", problem=problem), "failed", JobFolder(Home(tmp_path), "job_1"))
    assert rows == [
        ("job", "job_1"),
        ("state", "failed"),
        ("makes", "model small"),
        ("reads", "model tiny, sha256:abababababab…"),
        ("step", "quantize scheme=Q4_K_M"),
        ("asked for", "2026-11-22T07:00:00.000Z by cli:anna: a trial"),
        ("begun", "2026-11-22T07:00:01.000Z, attempt 2"),
        ("ended", "2026-11-22T07:00:05.500Z, after 4.5 s"),
        ("problem", "gate-not-passed: no:"),
        ("", "  - max_kl"),
        ("log", str(tmp_path / "jobs" / "job_1" / "log.txt")),
    ]


def test_what_took_no_time_is_not_said() -> None:
    """A job that was cancelled before it was begun, or again after an earlier attempt, has no duration."""
    assert duration(job(started_at=None)) == ""
    assert duration(job(ended_at=None)) == ""
    assert duration(job(ended_at="2026-11-22T06:00:00.000Z")) == ""


def test_what_comes_next() -> None:
    """The command for each state; none after a cancel."""
    assert next_line(job()) == "undercroft model show small"
    assert next_line(job(stored=State.FAILED)) == "undercroft job resume job_1"
    assert next_line(job(stored=State.RUNNING)) == "undercroft job resume job_1", "its process is gone"
    assert next_line(job(stored=State.QUEUED)) == "undercroft job follow job_1"
    assert next_line(job(stored=State.CANCELLED)) is None


def test_a_forecast_beside_what_there_is() -> None:
    """Both numbers of disk and memory; the time where it is known."""
    forecast = Forecast(result_bytes=2**30, disk_bytes=2**30, memory_bytes=2**28)
    assert forecast_rows(forecast, 62.0, free_bytes=2**40, available_bytes=2**33) == [
        ("size", "1.0 GiB"),
        ("disk", "1.0 GiB needed, 1.0 TiB free"),
        ("memory", "256.0 MiB needed, 8.0 GiB available"),
        ("time", "about 1 m 2 s"),
    ]
    assert forecast_rows(forecast, None, free_bytes=1, available_bytes=1)[-1] == ("time", "not known")


def test_steps_as_lines() -> None:
    """Settings that were left out are left out here, too; lists and yes or no are written as a recipe has them."""
    steps = [{"quantize": {"scheme": "Q2_K", "importance": {"texts": "a.txt"}, "allow_requantize": True}}, {"merge": 3}]
    assert step_texts(steps) == ["quantize scheme=Q2_K importance={texts: a.txt} allow_requantize=true", "merge 3"]
    assert step_texts([{"rightsize": {"schemes": ["Q4_0", "Q6_K"]}}]) == ["rightsize schemes=[Q4_0, Q6_K]"]


def test_how_a_model_was_made() -> None:
    """Job, parents with whole digests, steps, seed, versions; of a model that came in a bundle, too."""
    rows = lineage_rows(MADE)
    assert rows == [
        ("made by", "job_1, undercroft 0.1.0"),
        ("parent", "tiny, sha256:1"),
        ("step", "quantize scheme=Q4_K_M"),
        ("seed", "7; doing it again with these versions may give another digest"),
        ("versions", "python 3.11.7"),
    ]
    assert lineage_rows({"kind": "bundle", "lineage": MADE}) == rows
    training = {"threads": 2, "sequences": 4, "steps": 1, "validation": []}
    steps = [{"environment": {"versions": {"torch": "2.13.0"}}, "found": {"training": training}}, {}]
    of_training = dict(lineage_rows({**MADE, "is_reproducible": True, "steps": steps}))
    assert of_training["versions"] == "python 3.11.7, torch 2.13.0"
    assert of_training["seed"] == "7; doing it again with these versions and trained by 2 threads gives the same digest"
    assert ("card", "of 2026; undercroft job show job_1") in lineage_rows({**MADE, "card": {"made_at": "2026"}})


def test_what_an_earlier_step_made_is_told_with_the_steps_that_made_it() -> None:
    """Of a recipe of two, kept after the first: the second had no part in it."""
    recipe = {**RECIPE, "steps": [{"prune": {"depth": 1}}, *RECIPE["steps"]]}
    rows = lineage_rows({**MADE, "recipe": recipe, "steps": [{"kind": "prune"}]})
    assert [text for label, text in rows if label == "step"] == ["prune depth=1"]
    whole = lineage_rows({**MADE, "recipe": recipe, "steps": [{"kind": "prune"}, {"kind": "quantize"}]})
    assert [text for label, text in whole if label == "step"] == ["prune depth=1", "quantize scheme=Q4_K_M"]


def test_what_a_student_has_learnt() -> None:
    """Before and after it was taught, beside its teacher; of a teacher that is served only its own perplexity."""
    served = {
        "teacher": "shop:production at http://127.0.0.1:8080",
        "texts": "chats.jsonl",
        "is_held_out": False,
        "tokens": 1234,
        "perplexity_before": 12.0,
        "perplexity_after": 9.5,
    }
    here = {
        **served,
        "teacher": "large",
        "is_held_out": True,
        "has_questions": True,
        "perplexity_of_teacher": 9.25,
        "divergence_before_nats": 0.34,
        "divergence_after_nats": 0.06,
        "same_top_before_ratio": 0.726,
        "same_top_after_ratio": 0.868,
    }
    found = [proofs({**MADE, "steps": [{"found": {"distillation": one}}]}) for one in (served, here)]
    assert found == [
        [
            "taught by shop:production at http://127.0.0.1:8080: perplexity 12 before, 9.5 after, at 1,234 tokens of "
            "chats.jsonl"
        ],
        [
            "taught by large: perplexity 12 before, 9.5 after, of its teacher 9.25; divergence from it 0.34 nats a "
            "token before, 0.06 after; the same likeliest token at 72.6 % before, 86.8 % after, of 1,234 tokens of "
            "chats.jsonl, kept apart, questions among them"
        ],
    ]


def test_how_a_training_went() -> None:
    """Which state was kept and why it ended; answers that taught nothing are counted; without data kept apart less."""
    training = {
        "sequences": 1152,
        "steps": 81,
        "kept_step": 46,
        "has_stopped_early": True,
        "left_out": 3,
        "validation": [[0, 0.0425], [46, 0.0123], [81, 0.02]],
    }
    short = {"sequences": 4, "steps": 1, "kept_step": 1, "has_stopped_early": False, "validation": []}
    found = [proofs({**MADE, "steps": [{"found": {"training": one}}]}) for one in (training, short)]
    assert found == [
        [
            "learnt from 1,152 sequences in 81 steps; loss on those kept apart 0.0425 before, 0.0123 after step 46, "
            "kept; it ended early, for it got no better; answers of the teacher that were too long, and left out: 3"
        ],
        ["learnt from 4 sequences in 1 step"],
    ]


def test_how_much_faster_a_model_writes() -> None:
    """The ratio with the rounds that it is the median of: that of the medians may be another."""
    speed = {
        "engine": "llama.cpp",
        "written_ratio": 1.47,
        "written_ratios": [1.2, 1.47, 1.5],
        "before": {"written_tokens_per_second": 155.2},
        "after": {"written_tokens_per_second": 188.34},
    }
    assert proofs({**MADE, "steps": [{"found": {"speed": speed}}]}) == [
        "writes 1.47 times as fast in llama.cpp (1.20 to 1.50 in 3 rounds, in turns); medians 155.2 tokens/s before, "
        "188.3 after"
    ]


@pytest.mark.parametrize("lineage", [{}, {"kind": "hub"}, {"kind": "bundle", "lineage": {}}, {"kind": "job"}])
def test_what_was_not_made_here_has_no_rows(lineage: dict[str, Any]) -> None:
    """A pulled model, or a lineage that says too little."""
    assert lineage_rows(lineage) == []
