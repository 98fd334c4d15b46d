"""What made it worse: found in series that are made here, with a diary beside them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.home import Home
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import replica_samples, usage
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.blame.change_points import Point, find_changes
from undercroft.watch.blame.explaining import Explained, explain
from undercroft.watch.blame.sentences import quiet_sentence
from undercroft.watch.reports.report_files import append_line, report_file
from undercroft.watch.reports.report_rows import COLUMNS

BEGIN = from_iso("2026-03-01T00:00:00.000Z")
HAPPENED = BEGIN + timedelta(hours=10)
URL = {"url": "http://127.0.0.1:9"}


class Past:
    """Twenty hours of a name, with something that happens after the first ten."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.prepare()
        self.database = Database(self.home.database_file)
        self.rng = random.Random(5)
        with self.database.write() as connection:
            for prompt in (None, {"system": "You are a help desk. " * 90}):
                values = {"engine": "external", "settings": URL, "prompt": prompt}
                store.create(connection, "bot", check_content(values), actor="cli:anna", reason=None)
        self.note("key.create", "ops", BEGIN + timedelta(hours=1))
        self.note("deployment.change", "bot", BEGIN + timedelta(hours=3), before={"replicas": 1}, after={"replicas": 2})
        self.note("model.add", "other-model", HAPPENED - timedelta(minutes=30))

    def note(self, action: str, subject: str, at: datetime, **others: Any) -> None:
        """An entry of the journal."""
        with self.database.write() as connection:
            journal.record(connection, actor="key:ops-2", action=action, subject=subject, at=at, **others)

    def promoted(self) -> None:
        """Release 2 into production, four minutes before the change is seen."""
        tags = {"tags": {"production": 1}}
        at = HAPPENED - timedelta(minutes=4)
        self.note("release.promoted", "bot@2", at, before=tags, after={"tags": {"production": 2}}, reason="be kinder")

    def requests(
        self, row: Callable[[datetime, bool], dict[str, Any]], *, name: str = "bot", every: float = 120
    ) -> None:
        """Requests of twenty hours; ``row`` says what each was like, given its time and whether it was afterwards."""
        rows = []
        at = BEGIN
        while at < BEGIN + timedelta(hours=20):
            own = row(at, at >= HAPPENED)
            pause = own.pop("every", every)
            noise = self.rng.lognormvariate(0, 0.3)
            plain = {
                "at": to_iso(at),
                "request_id": "r",
                "key_id": "key_1",
                "deployment": name,
                "release": 1,
                "replica": "rep_1",
                "route": "/v1/chat/completions",
                "status": 200,
                "prompt_tokens": round(100 * self.rng.lognormvariate(0, 0.3)),
                "completion_tokens": 50,
                "queue_seconds": 0.0,
            }
            first = own.pop("first", 0.18) * noise
            rows.append({**plain, **own, "first_token_seconds": first, "total_seconds": first + 1.0 * noise})
            at += timedelta(seconds=pause)
        with self.database.write() as connection:
            connection.execute(insert(usage), rows)

    def samples(
        self, held_mib: Callable[[float], float], *, replica: str = "rep_1", hours: tuple[int, int] = (0, 20)
    ) -> None:
        """What a replica held in each minute; ``held_mib`` is given the hours since it was loaded."""
        rows = [
            {
                "at": to_iso(BEGIN + timedelta(minutes=minute)),
                "deployment": "bot@1",
                "replica": replica,
                "private_bytes": round(1024**2 * (held_mib(minute / 60 - hours[0]) + self.rng.gauss(0, 1))),
                "gpu_bytes": None,
                "open_files": 20,
                "requests": 1,
            }
            for minute in range(60 * hours[0], 60 * hours[1])
        ]
        with self.database.write() as connection:
            connection.execute(insert(replica_samples), rows)

    def answered(self, days: int, answer: Callable[[int, int], tuple[float, str]]) -> None:
        """Five standard questions a day; ``answer`` is given day and question, and gives a score and words."""
        self.home.probes.mkdir(exist_ok=True)
        questions = "questions: [{id: a, text: Hi, checks: [{kind: contains, text: x}]}]\n"
        (self.home.probes / "bot.yaml").write_text(questions)
        rows = [
            _csv(BEGIN + timedelta(days=day, minutes=question), *answer(day, question), question=f"q{question}")
            for day in range(days)
            for question in range(5)
        ]
        append_line(report_file(self.home, "bot"), "".join(rows))

    def blame(self, measure: Measure, since: datetime = BEGIN) -> list[Explained]:
        """What is found."""
        with self.database.read() as connection:
            return explain(connection, self.home, measure, since)[0]


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """With some harmless entries in its diary."""
    return Past(tmp_path / "home")


def test_a_longer_prompt_is_found_as_the_cause_of_slowness(past: Past) -> None:
    """When, by how much, who did what shortly before, what speaks for it, and how to undo it."""
    past.promoted()
    past.requests(lambda _at, after: {"first": 0.56, "prompt_tokens": 2000, "release": 2} if after else {})
    found = past.blame(Measure.LATENCY)
    assert len(found) == 1
    assert found[0].sentence().startswith("The time to the first token of bot rose 2")
    assert "on 2026-03-01 at 10:0" in found[0].sentence()
    cause = found[0].causes[0]
    assert cause.sentence == '4 m before key ops-2 put bot@2 into production ("be kinder")'
    assert "prompt: 0 -> 1,890 characters" in cause.evidence
    assert re.search(r"prompts went from \d+ to 2,000 tokens", "\n".join(cause.evidence))
    assert cause.remedy == "undercroft release rollback bot --to 1"


def test_a_changed_setting_is_found(past: Past) -> None:
    """The entry's own before and after are the evidence."""
    settings = {"before": {"settings": {"threads": 8}}, "after": {"settings": {"threads": 1}}}
    past.note("deployment.change", "bot", HAPPENED - timedelta(minutes=1), **settings)
    past.requests(lambda _at, after: {"first": 0.5} if after else {})
    cause = past.blame(Measure.LATENCY)[0].causes[0]
    assert "changed the settings of bot" in cause.sentence
    assert "threads: 8 -> 1" in cause.evidence


@pytest.mark.parametrize(
    ("name", "measure", "is_told"),
    [
        ("engines.threads", Measure.LATENCY, True),
        ("admission.host_limit_bytes", Measure.LATENCY, True),
        ("limits.queue_requests", Measure.ERRORS, True),
        ("engines.threads", Measure.ERRORS, False),
        ("alerts.site", Measure.LATENCY, False),
        ("planning.pue", Measure.ERRORS, False),
    ],
)
def test_a_change_of_settings_is_found_where_it_can_do_that(
    past: Past, name: str, measure: Measure, is_told: bool
) -> None:
    """Which setting it was decides; the evidence is its value before and after, and where it was edited."""
    reason = "config.toml belongs to anna and was written 2026-03-01 09:58 UTC"
    values = {"before": {name: 8}, "after": {name: None}, "reason": reason}
    past.note("settings.change", "settings", HAPPENED - timedelta(minutes=1), **values)
    rates = {Measure.LATENCY: {"first": 0.5}, Measure.ERRORS: {"status": 503}}
    past.requests(lambda _at, after: dict(rates[measure]) if after and past.rng.random() < 0.7 else {})
    causes = past.blame(measure)[0].causes
    if not is_told:
        assert causes == ()
        return
    assert causes[0].sentence == f"1 m before the server read other settings: {name}"
    assert causes[0].evidence == (f"{name}: 8 -> not set", reason)
    assert causes[0].remedy == f"undercroft journal show {causes[0].entry}"


def test_the_likeliest_of_many_settings_counts(past: Past) -> None:
    """One entry tells of several; what can do it is named first."""
    names = ["alerts.site", "engines.threads", "planning.pue", "usage.retention_days", "registry.use"]
    values = {"before": dict.fromkeys(names, 1), "after": dict.fromkeys(names, 2)}
    past.note("settings.change", "settings", HAPPENED - timedelta(minutes=1), **values)
    past.requests(lambda _at, after: {"first": 0.5} if after else {})
    sentence = past.blame(Measure.LATENCY)[0].causes[0].sentence
    assert sentence.endswith("other settings: engines.threads, alerts.site, planning.pue and 2 more")


def test_a_new_neighbour_is_found(past: Past) -> None:
    """Something else that was started on the same machine."""
    past.note("deployment.create", "big-model", HAPPENED - timedelta(minutes=2))
    past.requests(lambda _at, after: {"first": 0.4} if after else {})
    assert "began to serve big-model" in past.blame(Measure.LATENCY)[0].causes[0].sentence


def test_more_requests_are_found_without_an_entry(past: Past) -> None:
    """The load is a cause that stands in no diary."""
    past.requests(lambda _at, after: {"first": 0.5, "every": 25} if after else {})
    cause = past.blame(Measure.LATENCY)[0].causes[0]
    assert cause.sentence.startswith("Requests went from 0.5 to 2.4 a minute")
    assert cause.entry is None


def test_longer_questions_are_found_without_an_entry(past: Past) -> None:
    """Prompts that grew while no release changed them."""
    past.requests(lambda _at, after: {"first": 0.5, "prompt_tokens": 900} if after else {})
    assert "no release changed them" in past.blame(Measure.LATENCY)[0].causes[0].sentence


def test_what_nothing_explains_is_said_to_be_unexplained(past: Past) -> None:
    """No cause is made up, however many harmless entries there are."""
    past.requests(lambda _at, after: {"first": 0.5} if after else {})
    found = past.blame(Measure.LATENCY)
    assert len(found) == 1
    assert found[0].causes == ()
    assert "Nothing in the diary explains it" in found[0].to_dict()["unexplained"]


def test_a_release_that_fails_is_found(past: Past) -> None:
    """The share of errors rose."""
    past.promoted()
    past.requests(lambda _at, after: {"status": 500 if after and past.rng.random() < 0.3 else 200})
    found = past.blame(Measure.ERRORS)
    assert found[0].causes[0].remedy == "undercroft release rollback bot --to 1"
    assert " rose from 0% to " in found[0].sentence()


def test_what_a_candidate_fails_unseen_is_no_error_of_the_name(past: Past) -> None:
    """Copies of requests, and those that production answered in its place, are not what users saw."""
    past.requests(lambda _at, _after: {})
    past.requests(lambda _at, after: {"status": 502 if after else 200, "key_id": "key_shadow", "release": 2})
    assert past.blame(Measure.ERRORS) == []


def test_a_dearer_prompt_is_found(past: Past) -> None:
    """Tokens a request, of which the release has made more."""
    past.promoted()
    past.requests(lambda _at, after: {"prompt_tokens": 2000} if after else {})
    found = past.blame(Measure.COST)
    assert found[0].series.what == "tokens a request"
    assert "put bot@2 into production" in found[0].causes[0].sentence


def test_worse_answers_are_found_between_two_days_of_standard_questions(past: Past) -> None:
    """A few questions a day are enough, and what was done between the two days is the cause."""
    past.answered(30, lambda day, question: (1.0 if day < 20 or question < 2 else 0.0, ""))
    past.note(
        "release.promoted",
        "bot@2",
        BEGIN + timedelta(days=19, hours=9),
        before={"tags": {"production": 1}},
        after={"tags": {"production": 2}},
    )
    found = past.blame(Measure.QUALITY)
    assert " fell from 100% to 3" in found[0].sentence()
    assert "put bot@2 into production" in found[0].causes[0].sentence


def _csv(at: datetime, score: float, words: str, *, question: str) -> str:
    """A row of the health report."""
    cells = {"time": to_iso(at), "local_time": "2026-03-01 00:00:00", "release": "bot@1", "question": question}
    cells |= {"passed": "yes" if score == 1 else "no", "score": str(score), "answer_digest": words, "likeness": "1"}
    return ",".join(cells.get(name, "") for name in COLUMNS) + "\n"


def test_other_answers_are_found_though_all_questions_pass(past: Past) -> None:
    """One question in other words and hardly a score less: since when, which, and what was promoted then."""
    past.answered(30, lambda day, question: (0.99, "b") if day >= 25 and question == 3 else (1.0, "a"))
    promoted = {"before": {"tags": {"production": 1}}, "after": {"tags": {"production": 2}}}
    past.note("release.promoted", "bot@2", BEGIN + timedelta(days=24, hours=9), **promoted)
    (found,) = past.blame(Measure.QUALITY, BEGIN + timedelta(days=23))
    assert found.sentence() == (
        "bot answers 1 of 5 standard questions in other words since 2026-03-26 at 00:03 UTC, after 25 runs in the same "
        "words: q3; their score went from 1.000 to 0.990."
    )
    assert "put bot@2 into production" in found.causes[0].sentence
    assert found.to_dict()["shape"] == "other-answers"


def test_a_fall_of_the_score_is_not_told_twice(past: Past) -> None:
    """Answers that are worse are in other words as well."""
    past.answered(30, lambda day, question: (0.2, "b") if day >= 20 and question else (1.0, "a"))
    assert [one.to_dict()["shape"] for one in past.blame(Measure.QUALITY)] == ["step"]


def test_a_leak_is_dated_and_explained(past: Past) -> None:
    """By its pace; what was changed when it began is the cause."""
    past.promoted()
    past.samples(lambda age: 400 + 30 * max(0.0, age - 10))
    (found,) = past.blame(Measure.MEMORY)
    sentence = (
        r"The memory of a replica of bot grew by (29|30)\.\d MiB an hour, from 2026-03-01 at (09:5|10:0)\d UTC on: 4.*"
    )
    assert re.fullmatch(sentence, found.sentence())
    assert found.sentence().endswith("it was rep_1.")
    assert "put bot@2 into production" in found.causes[0].sentence
    assert found.to_dict()["shape"] == "growth"


def test_a_leak_that_nothing_explains_is_said_to_be_one(past: Past) -> None:
    """No cause is made up, also where it is older than the time that is asked for."""
    past.samples(lambda age: 400 + 30 * max(0.0, age - 10))
    (found,) = past.blame(Measure.MEMORY)
    assert found.causes == ()
    assert str(found.unexplained()).startswith(
        "Nothing in the diary explains it, nor does the use. What is left: a leak"
    )
    (older,) = past.blame(Measure.MEMORY, HAPPENED + timedelta(hours=3))
    assert older.causes == ()
    assert "did so before 2026-03-01 at 13:0" in older.sentence()
    assert "ask again with an earlier --since" in str(older.unexplained())


def test_a_larger_model_is_found_where_its_replica_came(past: Past) -> None:
    """The old one goes when the new one is there."""
    past.promoted()
    past.samples(lambda _: 400.0, hours=(0, 10))
    past.samples(lambda _: 800.0, replica="rep_2", hours=(10, 20))
    (found,) = past.blame(Measure.MEMORY)
    assert " rose 100% (40" in found.sentence()
    assert "put bot@2 into production" in found.causes[0].sentence


def test_two_changes_have_a_cause_each(past: Past) -> None:
    """A promotion, and four hours later fewer threads: neither takes the place of the other."""
    past.promoted()
    later = HAPPENED + timedelta(hours=4)
    past.note(
        "deployment.change", "bot", later, before={"settings": {"threads": 8}}, after={"settings": {"threads": 1}}
    )
    past.requests(lambda at, after: {"first": 0.65 if at >= later else 0.36, "release": 2} if after else {})
    found = sorted(past.blame(Measure.LATENCY), key=lambda one: one.change.at)
    told = [one.causes[0].sentence for one in found]
    assert [sentence.split(" ops-2 ")[1] for sentence in told] == [
        'put bot@2 into production ("be kinder")',
        "changed the settings of bot",
    ]


def test_slowness_that_creeps_is_one_change(past: Past) -> None:
    """It is not told step by step, and its beginning is where it began."""
    past.requests(
        lambda at, _: {"first": 0.18 * (1 + 0.2 * max(0.0, (at - BEGIN).total_seconds() / 3600 - 8)), "every": 30}
    )
    (found,) = past.blame(Measure.LATENCY)
    assert " little by little, from 2026-03-01 at 0" in found.sentence()
    assert found.to_dict()["shape"] == "climb"
    assert abs(found.change.at - (BEGIN + timedelta(hours=8)).timestamp()) < 3600


def test_a_quiet_time_blames_nobody(past: Past) -> None:
    """Promotions without an effect are no cause of anything."""
    past.promoted()
    past.requests(lambda _at, _after: {})
    assert [past.blame(measure) for measure in Measure] == [[]] * len(Measure)


def test_what_became_better_is_not_blamed(past: Past) -> None:
    """Only changes for the worse are told."""
    past.promoted()
    past.requests(lambda _at, after: {"first": 0.05} if after else {})
    assert past.blame(Measure.LATENCY) == []


@pytest.mark.parametrize(("count", "at", "ratio"), [(300, 200, 2.0), (300, 292, 4.0), (40, 30, 3.0), (20, 12, 4.0)])
def test_a_change_is_found_where_it_is(count: int, at: int, ratio: float) -> None:
    """Within a few values of its place, near the end and in short series as well."""
    rng = random.Random(2)
    points = [Point(i, rng.lognormvariate(0, 0.3) * (ratio if i >= at else 1.0)) for i in range(count)]
    found = find_changes(points)
    assert len(found) == 1
    assert abs(found[0].at - at) <= 4
    assert found[0].earliest <= at <= found[0].latest
    assert found[0].ratio == pytest.approx(ratio, rel=0.35)


def test_noise_has_no_changes() -> None:
    """Of many series without a change hardly any is said to have one."""
    rng = random.Random(3)
    wrong = sum(
        bool(find_changes([Point(i, rng.lognormvariate(0, 0.5)) for i in range(count)]))
        for count in (15, 30, 60, 200)
        for _ in range(50)
    )
    assert wrong <= 3


def test_a_long_series_is_thinned_and_keeps_its_change() -> None:
    """Many thousand values take no longer, and the time is right within a hundredth of the whole."""
    rng = random.Random(4)
    points = [Point(i, rng.lognormvariate(0, 0.5) * (1.5 if i >= 30_000 else 1.0)) for i in range(50_000)]
    found = find_changes(points)
    assert len(found) == 1
    assert abs(found[0].at - 30_000) < 500


def test_silence_is_not_health() -> None:
    """Where nothing or too little was measured, that is said, and not that all was well."""
    moment = "2026-03-01T00:00:00.000Z"
    assert quiet_sentence(Measure.QUALITY, "bot", moment, 0).startswith(
        "Nothing of bot was measured since 2026-03-01 00:00 UTC, so nothing can be said of quality"
    )
    assert quiet_sentence(Measure.MEMORY, None, moment, 9).startswith("Too little was measured")
    well = "Nothing became worse since 2026-03-01 00:00 UTC in 1,200 measurements."
    assert quiet_sentence(Measure.LATENCY, None, moment, 1200) == well


def test_failures_that_became_a_quarter_are_found() -> None:
    """Nearly all values are the same, and still some days of failures after weeks of none are a change, where it is."""
    rng = random.Random(8)
    points = [Point(float(at), float(at >= 300 and rng.random() < 0.25)) for at in range(380)]
    found = find_changes(points, is_share=True)
    assert [change.before for change in found] == [0.0]
    assert 0.15 < found[0].after < 0.35
    assert 300 <= found[0].at <= 310
    assert found[0].earliest <= 300


def test_rare_failures_are_no_change() -> None:
    """However they fall: of 200 series in which one value in a hundred or in ten is another hardly any has one."""
    rng = random.Random(9)
    series = [
        [Point(float(at), float(rng.random() < share)) for at in range(300)]
        for share in (0.01, 0.1)
        for _ in range(100)
    ]
    assert sum(bool(find_changes(points, is_share=True)) for points in series) <= 1


def test_two_days_of_failing_questions_are_found() -> None:
    """Ten answers, of which eight score less, after fifty that scored as always."""
    scores = [1.0] * 50 + [1.0, 0.8, 0.7, 0.7, 0.7] * 2
    found = find_changes([Point(float(at), score) for at, score in enumerate(scores)], is_share=True)
    assert [(change.before, change.at) for change in found] == [(1.0, 51)]
    assert 50 in range(int(found[0].earliest), int(found[0].latest) + 1)


def test_what_is_well_again_is_found_as_well() -> None:
    """A bad release that was undone: both ends of it are found, though the whole is as good after as before."""
    values = [1.0] * 100 + [0.0] * 20 + [1.0] * 100
    found = find_changes([Point(60.0 * at, value) for at, value in enumerate(values)], is_share=True)
    assert [(change.at, change.before, change.after) for change in found] == [(6000, 1.0, 0.0), (7200, 0.0, 1.0)]


def test_parts_of_a_quiet_series_raise_no_alarm() -> None:
    """However many parts are looked at: of 100 series without a change at most one has one."""
    rng = random.Random(3)
    series = [[Point(float(at), rng.lognormvariate(0, 0.5)) for at in range(200)] for _ in range(100)]
    assert sum(bool(find_changes(points)) for points in series) <= 1


def test_several_changes_are_told_in_the_order_of_time() -> None:
    """Also where one was found inside a part that another had cut off: none of them has an empty side."""
    rng = random.Random(6)
    levels = [1.0] * 60 + [6.0] * 60 + [2.0] * 60 + [12.0] * 60 + [30.0] * 60
    points = [Point(i, level * rng.lognormvariate(0, 0.1)) for i, level in enumerate(levels)]
    found = find_changes(points)
    assert [round(change.at / 60) for change in found] == [1, 2, 3, 4]
    assert [change.at for change in found] == sorted(change.at for change in found)


def test_a_release_that_took_over_is_the_cause_even_where_the_change_is_seen_late(past: Past) -> None:
    """Prompts that grew with a release are not said to have grown by themselves."""
    past.promoted()
    late = HAPPENED + timedelta(hours=1)

    def row(at: datetime, after: bool) -> dict[str, Any]:
        return {"first": 0.5 if at >= late else 0.18, "release": 2, "prompt_tokens": 900} if after else {}

    past.requests(row)
    causes = past.blame(Measure.LATENCY)[0].causes
    assert "put bot@2 into production" in causes[0].sentence
    assert not any("no release changed them" in cause.sentence for cause in causes)


def test_in_a_thinned_series_the_moment_of_the_change_lies_within_its_bounds() -> None:
    """Also where neighbours from before and after it were put together."""
    rng = random.Random(8)
    for begin in range(2000, 2004):
        points = [Point(float(i), (5.0 if i >= begin else 1.0) * rng.lognormvariate(0, 0.05)) for i in range(4000)]
        change = find_changes(points)[0]
        assert change.earliest <= begin <= change.latest
