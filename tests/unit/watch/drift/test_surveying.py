"""Looks at a home: what is read, what is kept, what is found. Months are written at once and looked at later."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.registry.entries import write_fingerprint
from undercroft.storage import tables
from undercroft.storage.blobs import BlobStore, fingerprint
from undercroft.storage.database import Database
from undercroft.storage.tables import deployments as deployments_table
from undercroft.storage.tables import detector_states, probe_outcomes, replica_samples, usage
from undercroft.watch.drift import forget, look, survey
from undercroft.watch.drift.surveying import keep
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.looking import sources_of

BEGIN = from_iso("2026-03-01T07:00:00.000Z")
QUESTIONS = ("one#11111111", "two#22222222", "three#33333333", "four#44444444", "five#55555555")
MIB = 1024 * 1024


class Watched:
    """A home with one deployment, whose past is written here."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.prepare()
        self.database = Database(self.home.database_file)
        self.chance = random.Random(3)

    def serve(self) -> None:
        """Makes the deployment that is watched."""
        with self.database.write() as connection:
            connection.execute(
                insert(deployments_table).values(
                    name="bot",
                    engine="external",
                    model=None,
                    settings={},
                    replicas=1,
                    is_running=True,
                    created_at=to_iso(BEGIN),
                    updated_at=to_iso(BEGIN),
                )
            )

    def run(self, at: datetime, **others: Any) -> None:
        """A run of five questions."""
        self.write(self.rows(at, **others))

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Keeps outcomes."""
        with self.database.write() as connection:
            connection.execute(insert(probe_outcomes), rows)

    def rows(
        self, at: datetime, *, purpose: str = "probe", release: str = "bot@1", **changes: Any
    ) -> list[dict[str, Any]]:
        """Outcomes of a run of five questions; ``changes`` are columns, or functions of the usual value."""
        rows = []
        for number, question in enumerate(QUESTIONS):
            usual: dict[str, Any] = {
                "has_passed": True,
                "score": 1.0,
                "error": "",
                "is_valid": True,
                "is_refusal": False,
                "language": "en",
                "first_token_seconds": 0.2 * self.chance.lognormvariate(0, 0.1),
                "tokens_per_second": 40 * self.chance.lognormvariate(0, 0.05),
                "answer_tokens": 50,
                "likeness": 1.0,
            }
            changed = {name: new(usual[name]) if callable(new) else new for name, new in changes.items()}
            rows.append(
                {
                    "at": to_iso(at + timedelta(seconds=number)),
                    "run_at": to_iso(at),
                    "probe": "morning",
                    "purpose": purpose,
                    "deployment": "bot",
                    "release": release,
                    "question": question,
                    "failed_checks": [],
                    "total_seconds": 1.0,
                    **usual,
                    **changed,
                }
            )
        return rows

    def mornings(self, days: range, **changes: Any) -> datetime:
        """A run a day; the last of them."""
        self.write([row for day in days for row in self.rows(BEGIN + timedelta(days=day), **changes)])
        return BEGIN + timedelta(days=days[-1], minutes=1)

    def requests(self, hours: range, row: Callable[[random.Random], dict[str, Any]]) -> datetime:
        """Requests, eighty an hour; when the last is over and judged."""
        rows = []
        for hour in hours:
            for number in range(80):
                plain = {
                    "at": to_iso(BEGIN + timedelta(hours=hour, seconds=45 * number)),
                    "request_id": "r",
                    "key_id": "key_1",
                    "deployment": "bot",
                    "route": "chat",
                    "status": 200,
                    "prompt_tokens": round(100 * self.chance.lognormvariate(0, 0.2)),
                    "completion_tokens": round(60 * self.chance.lognormvariate(0, 0.2)),
                    "queue_seconds": 0.0,
                    "first_token_seconds": 0.2 * self.chance.lognormvariate(0, 0.2),
                    "total_seconds": 3.0,
                    "input_language": "en",
                    "input_topic": self.chance.randrange(4),
                }
                rows.append({**plain, **row(self.chance)})
        with self.database.write() as connection:
            connection.execute(insert(usage), rows)
        return BEGIN + timedelta(hours=hours[-1] + 1, minutes=2)

    def look(self, now: datetime) -> list[Finding]:
        """What is found."""
        return look(self.database, self.home, now)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one deployment and no past, to be copied: making a database takes long."""
    made = Watched(tmp_path_factory.mktemp("fresh") / "home")
    made.serve()
    made.database.close()
    return made.home.root


@pytest.fixture
def watched(fresh: Path, tmp_path: Path) -> Watched:
    """With one deployment and no past."""
    return Watched(shutil.copytree(fresh, tmp_path / "home"))


def kinds(findings: list[Finding]) -> set[Kind]:
    return {finding.kind for finding in findings}


def test_nothing_is_found_where_nothing_was_asked(watched: Watched) -> None:
    """An empty home is well."""
    assert watched.look(BEGIN) == []


def test_a_quiet_year_of_mornings_finds_nothing(watched: Watched) -> None:
    """365 days of five questions whose times vary."""
    assert watched.look(watched.mornings(range(365))) == []


def test_failing_questions_are_found_and_over_when_they_pass_again(watched: Watched) -> None:
    """The finding names since when, the shares and the probe; it ends by itself."""
    watched.mornings(range(30))
    found = watched.look(watched.mornings(range(30, 34), has_passed=False, score=0.2))
    passes = next(one for one in found if one.kind is Kind.PASSES)
    assert passes.subject == "bot"
    assert passes.severity is Severity.CRITICAL
    assert passes.since == BEGIN + timedelta(days=30)
    assert passes.sentence == "Standard questions of bot fail: 100 % of the answers, where 0 % did."
    assert passes.figures["probe"] == "morning"
    assert kinds(found) == {Kind.PASSES, Kind.SCORE}
    assert watched.look(watched.mornings(range(34, 80))) == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"is_valid": False}, Kind.FORMAT),
        ({"is_refusal": True}, Kind.REFUSALS),
        ({"likeness": 0.99}, Kind.ANSWERS),
        ({"language": "th"}, Kind.ANSWER_LANGUAGE),
        ({"answer_tokens": 160}, Kind.ANSWER_LENGTH),
        ({"first_token_seconds": lambda usual: 3 * usual}, Kind.LATENCY),
        ({"tokens_per_second": lambda usual: usual / 2}, Kind.THROUGHPUT),
        ({"score": 0.8}, Kind.SCORE),
    ],
)
def test_each_change_is_found_as_what_it_is(watched: Watched, changes: dict[str, Any], kind: Kind) -> None:
    """Within a week of mornings, and nothing else is said."""
    watched.mornings(range(20))
    assert kinds(watched.look(watched.mornings(range(20, 27), **changes))) == {kind}


def test_answers_that_are_unlike_the_baselines_are_found_twice(watched: Watched) -> None:
    """They are in other words, which is a notice, and in another style, which is worse."""
    watched.mornings(range(20))
    found = {one.kind: one for one in watched.look(watched.mornings(range(20, 27), likeness=0.4))}
    assert set(found) == {Kind.STYLE, Kind.ANSWERS}
    assert found[Kind.STYLE].severity is Severity.CRITICAL
    assert found[Kind.ANSWERS].severity is Severity.NOTICE
    assert found[Kind.ANSWERS].sentence == (
        "Answers of bot are in other words than its baseline's: 100 % of them, where 0 % were."
    )


def test_one_question_in_other_words_is_found_within_a_week(watched: Watched) -> None:
    """Though it is one of five, and its score is the same."""
    watched.mornings(range(30))
    for day in range(30, 37):
        rows = watched.rows(BEGIN + timedelta(days=day))
        watched.write([row | {"likeness": 0.99 if row["question"] == QUESTIONS[0] else 1.0} for row in rows])
        found = kinds(watched.look(BEGIN + timedelta(days=day, minutes=1)))
        assert found == set() or (day >= 32 and found == {Kind.ANSWERS})
    assert found == {Kind.ANSWERS}


def test_a_sentence_about_time_says_both(watched: Watched) -> None:
    """Before and after in seconds, and by how much."""
    watched.mornings(range(20))
    end = watched.mornings(range(20, 27), first_token_seconds=lambda usual: 3 * usual)
    found = watched.look(end)[0]
    assert found.sentence.startswith("The first token of bot comes after 0.")
    assert found.figures["ratio"] == pytest.approx(3, rel=0.2)


def test_a_restart_goes_on_where_it_was(watched: Watched, fresh: Path, tmp_path: Path) -> None:
    """A look every other day, each with a database opened anew, finds what one look at the end finds."""
    other = Watched(shutil.copytree(fresh, tmp_path / "other"))
    other.chance.seed(3)
    daily: list[Finding] = []
    for day in range(0, 32, 2):
        changes = {"score": 0.9} if day >= 26 else {}
        now = watched.mornings(range(day, day + 2), **changes)
        other.mornings(range(day, day + 2), **changes)
        watched.database.close()
        watched.database = Database(watched.home.database_file)
        daily = watched.look(now)
    assert [one.to_dict() for one in daily] == [one.to_dict() for one in other.look(now)]
    assert kinds(daily) == {Kind.SCORE}


def test_a_survey_keeps_nothing(watched: Watched) -> None:
    """Whoever only wants to see changes nothing, and sees what a look finds."""
    watched.mornings(range(20))
    end = watched.mornings(range(20, 26), score=0.5)
    seen = survey(watched.database, watched.home, end).findings()
    with watched.database.read() as connection:
        assert connection.execute(select(detector_states)).all() == []
    assert seen == watched.look(end)


def test_incidents_look_for_drift(watched: Watched) -> None:
    """What makes incidents has drift among its sources, with all kinds that it may find."""
    watched.mornings(range(20))
    end = watched.mornings(range(20, 26), score=0.5)
    source = next(one for one in sources_of(watched.home, watched.database, Settings(), None) if one.name == "drift")
    assert kinds(list(source.look(end))) == {Kind.SCORE}
    assert {Kind.SCORE, Kind.LATENCY, Kind.INPUT_TOPIC, Kind.FILE_LEAK, Kind.WEIGHTS_CHANGED} <= source.kinds


def test_a_look_that_was_overtaken_keeps_nothing(watched: Watched) -> None:
    """What another look has kept meanwhile stays, and nothing is judged twice."""
    end = watched.mornings(range(20))
    slow = survey(watched.database, watched.home, end)
    watched.mornings(range(20, 23))
    watched.look(end + timedelta(days=4))
    assert not keep(watched.database, slow, end)
    assert survey(watched.database, watched.home, end).probes["bot", "morning"].read == 115


def test_a_baseline_says_that_all_is_well(watched: Watched) -> None:
    """It is learnt from at once, and ends what was found before."""
    watched.mornings(range(20))
    assert watched.look(watched.mornings(range(20, 26), score=0.5)) != []
    taken = BEGIN + timedelta(days=26)
    for number in range(10):
        watched.run(taken, purpose="baseline", score=0.5, first_token_seconds=0.2 + 0.001 * number)
    assert watched.look(taken) == []
    assert watched.look(watched.mornings(range(27, 30), score=0.5)) == []
    assert kinds(watched.look(watched.mornings(range(30, 34), score=0.1))) == {Kind.SCORE}


def test_trials_and_a_server_that_was_away_do_not_count(watched: Watched) -> None:
    """A candidate's failures are judged elsewhere, and where nobody could be asked nothing is known."""
    watched.mornings(range(20))
    watched.mornings(range(20, 30), purpose="trial", has_passed=False, score=0.0)
    end = watched.mornings(
        range(30, 40),
        has_passed=False,
        score=0.0,
        error="door-away",
        is_valid=None,
        is_refusal=None,
        language=None,
        likeness=None,
        first_token_seconds=None,
        tokens_per_second=None,
        answer_tokens=None,
    )
    assert watched.look(end) == []


def test_a_rollback_ends_what_the_release_did(watched: Watched) -> None:
    """Another release answers: the alarm is over, and what is usual stays known."""
    watched.mornings(range(20))
    assert watched.look(watched.mornings(range(20, 26), score=0.5, release="bot@2")) != []
    assert watched.look(watched.mornings(range(26, 27), release="bot@1")) == []
    assert kinds(watched.look(watched.mornings(range(27, 30), score=0.5, release="bot@3"))) == {Kind.SCORE}


def test_a_deployment_that_is_gone_is_forgotten(watched: Watched) -> None:
    """What no longer is cannot have drifted; another of the same name begins anew."""
    watched.mornings(range(20))
    assert watched.look(watched.mornings(range(20, 26), score=0.5)) != []
    with watched.database.write() as connection:
        connection.execute(delete(deployments_table))
    assert watched.look(BEGIN + timedelta(days=30)) == []
    with watched.database.read() as connection:
        assert [row.source for row in connection.execute(select(detector_states))] == ["outcomes"]


def test_forgetting_learns_anew(watched: Watched) -> None:
    """What is usual is taken from what comes; what was read is not read again."""
    watched.mornings(range(20))
    assert watched.look(watched.mornings(range(20, 26), score=0.5)) != []
    with watched.database.write() as connection:
        assert forget(connection, "bot", BEGIN) == 1
    assert watched.look(watched.mornings(range(26, 60), score=0.5)) == []


def test_requests_that_are_the_same_find_nothing(watched: Watched) -> None:
    """Three days of requests, with a share of errors that is always there."""
    end = watched.requests(range(72), lambda chance: {"status": 500 if chance.random() < 0.01 else 200})
    assert watched.look(end) == []


@pytest.mark.parametrize(
    ("row", "kind", "severity"),
    [
        ({"first_token_seconds": 1.0}, Kind.LATENCY, Severity.CRITICAL),
        ({"total_seconds": 7.0}, Kind.THROUGHPUT, Severity.WARNING),
        ({"prompt_tokens": 2000}, Kind.INPUT_LENGTH, Severity.NOTICE),
        ({"input_language": "th"}, Kind.INPUT_LANGUAGE, Severity.NOTICE),
        ({"input_topic": 11}, Kind.INPUT_TOPIC, Severity.NOTICE),
        ({"status": 503, "completion_tokens": None}, Kind.ERRORS, Severity.CRITICAL),
    ],
)
def test_each_change_of_requests_is_found(
    watched: Watched, row: dict[str, Any], kind: Kind, severity: Severity
) -> None:
    """Within three hours, after a day and a half that was usual."""
    watched.requests(range(36), lambda _: {})
    found = watched.look(watched.requests(range(36, 39), lambda _: row))
    assert kinds(found) == {kind}
    assert found[0].severity is severity
    assert found[0].since >= BEGIN + timedelta(hours=36)


def test_standard_questions_and_copies_are_no_requests_of_users(watched: Watched) -> None:
    """Slow standard questions say nothing of how users are served."""
    watched.requests(range(36), lambda _: {})
    watched.requests(range(36, 40), lambda _: {"key_id": "key_probe", "first_token_seconds": 9.0})
    end = watched.requests(range(40, 44), lambda _: {"key_id": "key_shadow", "prompt_tokens": 9000})
    assert watched.look(end) == []


def test_few_requests_wait_for_company(watched: Watched) -> None:
    """Nineteen requests are not judged; they are kept with what is remembered until there are twenty."""
    with watched.database.write() as connection:
        for number in range(19):
            connection.execute(
                insert(usage).values(
                    at=to_iso(BEGIN + timedelta(hours=number)),
                    request_id="r",
                    key_id="key_1",
                    deployment="bot",
                    route="chat",
                    status=200,
                    queue_seconds=0.0,
                    total_seconds=1.0,
                )
            )
    watched.look(BEGIN + timedelta(hours=30))
    state = survey(watched.database, watched.home, BEGIN + timedelta(hours=30)).requests["bot"]
    assert (state.spans, len(state.waiting)) == (0, 19)


def leaking(hours: int, mib_per_hour: float) -> list[dict[str, Any]]:
    return [
        {
            "at": to_iso(BEGIN + timedelta(minutes=5 * step)),
            "deployment": "bot@3",
            "replica": "rep_1",
            "private_bytes": int((1000 + mib_per_hour * step / 12) * MIB),
            "gpu_bytes": None,
            "open_files": 30,
            "requests": 50,
        }
        for step in range(hours * 12)
    ]


def test_a_leak_is_found_and_is_over_with_its_replica(watched: Watched) -> None:
    """It holds as long as the replica is sampled, says how fast, and names what requests name."""
    with watched.database.write() as connection:
        connection.execute(insert(replica_samples), leaking(8, 60))
    found = watched.look(BEGIN + timedelta(hours=8))
    assert [(one.kind, one.subject) for one in found] == [(Kind.MEMORY_LEAK, "bot")]
    assert "60.0 MiB an hour" in found[0].sentence
    assert found[0].figures["per_1000_requests"] == pytest.approx(100 * MIB, rel=0.05)
    assert watched.look(BEGIN + timedelta(hours=9)) == []


def test_a_changed_file_is_found_and_over_when_it_is_mended(watched: Watched) -> None:
    """A bit that flips in a stored file is found at the next look, and since when stays what it was."""
    content = bytearray(b"weights" * 100)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    path = BlobStore(watched.home.blobs).path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    seen = fingerprint(path)
    with watched.database.write() as connection:
        connection.execute(
            insert(tables.models).values(
                name="tiny",
                digest=digest,
                source="here",
                format="gguf",
                size_bytes=len(content),
                facts={},
                lineage={},
                created_at=to_iso(BEGIN),
            )
        )
        connection.execute(
            insert(tables.model_files).values(model="tiny", path="a.gguf", digest=digest, size_bytes=len(content))
        )
        write_fingerprint(connection, digest, seen, verified_at=to_iso(BEGIN))
    assert watched.look(BEGIN) == []
    content[5] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    found = watched.look(BEGIN + timedelta(hours=1))
    assert [(one.kind, one.subject, one.severity) for one in found] == [
        (Kind.WEIGHTS_CHANGED, "tiny", Severity.CRITICAL)
    ]
    assert watched.look(BEGIN + timedelta(hours=5))[0].since == BEGIN + timedelta(hours=1)
    path.unlink()
    assert kinds(watched.look(BEGIN + timedelta(hours=6))) == {Kind.WEIGHTS_CHANGED}
    content[5] ^= 1
    path.write_bytes(content)
    with watched.database.write() as connection:
        write_fingerprint(connection, digest, fingerprint(path), verified_at=to_iso(BEGIN))
    assert watched.look(BEGIN + timedelta(hours=7)) == []
