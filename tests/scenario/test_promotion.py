"""Releases promoted and rolled back while users ask: nobody's request fails, and each answer says whose it is."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.server import Server, kill, wait_for
from tests.support.steady import Answer, Steady, ask, rate
from undercroft.core.home import Home
from undercroft.serving import promotions
from undercroft.storage.database import Database
from undercroft.storage.tables import usage

NAME = "ticket-pilot"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Server]:
    """The starter model as a deployment without releases, ready; what leaves production is soon unloaded."""
    server = Server(tmp_path / "home", UNDERCROFT_RELEASES__KEEP_WARM_SECONDS="2")
    try:
        server.up()
        server.wait_ready()
        yield server
    finally:
        server.down()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The starter model with a release in production that answers as it likes, for tests that leave it as it was."""
    server = Server(tmp_path_factory.mktemp("shared") / "home")
    try:
        server.up()
        assert promote(server, make(server, "temperature=0"))["state"] == "done"
        yield server
    finally:
        server.down()


def make(server: Server, sampling: str, *options: str) -> int:
    """A release of the starter model; its number."""
    found = server.json("release", "create", NAME, "--model", NAME, "--sampling", sampling, *options)
    return int(found["number"])


def counting(server: Server, tokens: int, *options: str) -> int:
    """A release that answers with so many tokens, which tells whose answer it is; its number."""
    return make(server, f"temperature=0,max_tokens={tokens}", *options)


def promote(server: Server, number: int, *options: str) -> dict[str, Any]:
    """Follows a promotion to its end."""
    result = server.run("release", "promote", f"{NAME}@{number}", "--json", *options, check=False)
    assert result.returncode in (0, 1), result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def newest(server: Server) -> dict[str, Any]:
    """The promotion of ``bot`` that began last."""
    found: dict[str, Any] = server.json("release", "status", "bot")["bot"]
    return dict(found["running"] or found["last"])


def live(server: Server) -> str:
    """The release that answers."""
    return ask(server, NAME).release


def replicas(server: Server) -> dict[str, list[str]]:
    """Deployment → ids of the replicas that it has."""
    return {one["name"]: [replica["id"] for replica in one["replicas"]] for one in server.status()["deployments"]}


def said(answers: list[Answer]) -> set[tuple[str, int]]:
    """Who answered with how many tokens."""
    return {(answer.release, answer.tokens) for answer in answers if answer.release}


@pytest.mark.long
def test_nobody_notices_a_promotion_or_a_rollback(plain: Server, is_full: bool) -> None:
    """At a steady rate of requests a deployment gets its first release, and releases that share an engine or have one
    of their own are promoted and rolled back again and again: no request fails, and each answer is whole and of the
    release that its header names. The first request after a rollback is answered by the release that is back."""
    with Steady(plain, NAME, per_second=50 if is_full else 6) as users:
        first = counting(plain, 2)
        assert promote(plain, first)["state"] == "done"
        second, third = counting(plain, 3), counting(plain, 4, "--slots", "3")
        for turn in range(20 if is_full else 1):
            for number in (second, third):
                assert promote(plain, number)["state"] == "done"
                users.wait_for_more(2, f"{NAME}@{number}")
                is_warm = bool(replicas(plain).get(f"{NAME}@{first}"))
                assert plain.run("release", "rollback", NAME).returncode == 0
                assert live(plain) == f"{NAME}@{first}", (turn, number, is_warm)
    print(f"{len(users.answers)} requests: {Counter((a.status, a.release, a.tokens) for a in users.answers)}")
    assert users.failed == []
    assert said(users.answers) == {(f"{NAME}@{number}", tokens) for number, tokens in ((1, 2), (2, 3), (3, 4))}


@pytest.mark.long
def test_an_edited_prompt_needs_no_load_and_another_setting_does(plain: Server) -> None:
    """A release with another prompt is answered by the same engine process; one with other engine settings has its own,
    and what was there before leaves when nobody asks for it any more. Rolling back to it loads it again, and no request
    fails meanwhile."""
    first = counting(plain, 2)
    promote(plain, first)
    founder = f"{NAME}@{first}"
    engine = replicas(plain)[founder]
    with Steady(plain, NAME, per_second=4) as users:
        second = counting(plain, 3, "--system", "Answer briefly.")
        assert promote(plain, second)["state"] == "done"
        assert replicas(plain)[founder] == engine
        assert live(plain) == f"{NAME}@{second}"
        third = counting(plain, 4, "--slots", "3")
        assert promote(plain, third)["state"] == "done"
        assert len(replicas(plain)[f"{NAME}@{third}"]) == 1
        wait_for(lambda: not replicas(plain).get(founder), "what left production to be unloaded")
        plain.run("release", "rollback", NAME)
        assert live(plain) == f"{NAME}@{second}"
        assert replicas(plain)[founder] not in ([], engine)
    assert users.failed == []
    assert said(users.answers) <= {(f"{NAME}@{number}", tokens) for number, tokens in ((1, 2), (2, 3), (3, 4))}


@pytest.mark.long
def test_a_good_candidate_gets_its_share_and_then_all(shared: Server, tmp_path: Path) -> None:
    """A share of the users is answered by the candidate, each always by the same release; nobody's request fails, and
    after enough of them it is in production."""
    (tmp_path / "rules.yaml").write_text("min_requests: 30\n")
    number = make(shared, "temperature=0", "--slots", "3")
    try:
        with Steady(shared, NAME, per_second=10, user=lambda n: f"user-{n % 40}") as users:
            ended = promote(shared, number, "--canary", "40%", "--rules", str(tmp_path / "rules.yaml"))
    finally:
        shared.run("release", "rollback", NAME, check=False)
    assert ended["state"] == "done", ended
    assert users.failed == []
    seen: dict[str, list[str]] = {}
    for answer in sorted(users.answers, key=lambda one: one.asked_at):
        seen.setdefault(answer.user, []).append(answer.release)
    # Whoever came to the candidate stays there: first as one of its share, then because it is in production.
    for user, releases in seen.items():
        switches = sum(earlier != later for earlier, later in itertools.pairwise(releases))
        assert switches <= 1, (user, releases)
    assert ended["evidence"]["requests"]["candidate"] >= 30
    assert ended["evidence"]["requests"]["production"] > 0


_WORSE = {
    "cut": (("temperature=0,max_tokens=3",), "cut at their limit"),
    "empty": (('temperature=0,stop="{"',), "empty"),
    "refusing": (("temperature=0", "--context", "256", "--system", "Help desk. " * 300), "refuses a first"),
    "slow": (("temperature=0", "--slots", "2", "--system", "You are a help desk. " * 60), "time a token"),
}


@pytest.mark.long
@pytest.mark.parametrize("how", _WORSE)
def test_a_worse_candidate_is_sent_back(shared: Server, tmp_path: Path, how: str) -> None:
    """Answers that are cut, empty, refused by the engine or slow: it is sent back with the reason while half of the
    users are its; nobody's request fails, and what was in production stays there."""
    (tmp_path / "rules.yaml").write_text("min_requests: 2000\n")
    options, reason = _WORSE[how]
    before = live(shared)
    number = make(shared, *options)
    with Steady(shared, NAME, per_second=10) as users:
        ended = promote(shared, number, "--canary", "50%", "--rules", str(tmp_path / "rules.yaml"))
        users.wait_for_more(2, before)
    print(ended["note"])
    assert ended["state"] == "reverted", ended
    assert reason in ended["note"]
    assert users.failed == []
    assert live(shared) == before


@pytest.mark.long
def test_a_candidate_that_users_dislike_is_sent_back(shared: Server, tmp_path: Path) -> None:
    """It answers as well as production as far as a form shows; users of both rate some answers, its own as bad, and the
    journal says that it was sent back for that, with the ratings."""
    (tmp_path / "rules.yaml").write_text("min_requests: 2000\n")
    before, number = live(shared), make(shared, "temperature=0,top_k=1")
    options = ("--canary", "50%", "--rules", str(tmp_path / "rules.yaml"), "--no-wait")
    shared.run("release", "promote", f"{NAME}@{number}", *options)
    told: list[int] = []

    def ask_and_rate(user: int) -> None:
        answer = ask(shared, NAME, f"user-{user}")
        told.append(rate(shared, answer, "good" if answer.release == before else "bad"))

    def is_ended() -> dict[str, Any] | None:
        with ThreadPoolExecutor(8) as users:
            list(users.map(ask_and_rate, range(len(told), len(told) + 8)))
        with reading(shared) as connection:
            last = promotions.list_of(connection, NAME, limit=1)[0]
        return last.to_dict() if last.ended_at is not None else None

    ended = wait_for(is_ended, "it to be sent back")
    assert set(told) == {200}
    assert (ended["to"], ended["state"]) == (number, "reverted"), ended
    assert "answers that users rated bad: 100.0 % against 0.0 %" in ended["note"]
    assert ended["evidence"]["ratings"]["candidate"] >= 5
    (entry,) = shared.json("journal", "search", "--action", "release.reverted", "--subject", f"{NAME}@{number}")
    assert entry["after"]["evidence"]["ratings"] == ended["evidence"]["ratings"]
    assert live(shared) == before


@contextmanager
def reading(server: Server) -> Iterator[Connection]:
    """A look into the database of a server, which is closed at once: what waits for something looks often."""
    database = Database(Home(server.home).database_file)
    try:
        with database.read() as connection:
            yield connection
    finally:
        database.close()


def copies(server: Server, number: int) -> list[dict[str, Any]]:
    """What is known of the copies of requests that a release got."""
    with reading(server) as connection:
        query = usage.select().where(usage.c.release == number, usage.c.key_id == "key_shadow")
        return [dict(row._mapping) for row in connection.execute(query)]


@pytest.mark.long
def test_users_see_nothing_of_a_shadow(shared: Server, tmp_path: Path) -> None:
    """Copies of requests go to the candidate and are compared with what the users got, which is all from what is in
    production; a rollback ends it."""
    (tmp_path / "rules.yaml").write_text("min_requests: 2000\n")
    before = live(shared)
    number = make(shared, "temperature=0", "--slots", "2")
    with Steady(shared, NAME, per_second=3) as users:
        options = ("--shadow", "--rules", str(tmp_path / "rules.yaml"), "--no-wait")
        shared.run("release", "promote", f"{NAME}@{number}", *options)
        wait_for(lambda: len(copies(shared, number)) >= 10, "copies")
        shared.run("release", "rollback", NAME)
    assert users.failed == []
    assert {answer.release for answer in users.answers} == {before}
    found = copies(shared, number)
    assert {row["status"] for row in found} == {200}
    assert all(0 <= row["signs"]["likeness"] <= 1 for row in found)


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--no-probes",)])
def test_a_prompt_that_does_not_fit_never_reaches_users(shared: Server, options: tuple[str, ...]) -> None:
    """A first request finds it, whether there are standard questions or not; what is in production stays."""
    before = live(shared)
    ended = promote(shared, counting(shared, 3, "--system", "Answer with care. " * 900), *options)
    assert ended["state"] == "reverted"
    assert "refuses a first request" in ended["note"]
    assert live(shared) == before


@pytest.mark.long
def test_a_candidate_that_answers_its_questions_worse_is_sent_back(shared: Server) -> None:
    """Both are asked the standard questions of the name before any user is; the one that it fails is named."""
    probe = shared.home / "probes" / f"{NAME}.yaml"
    answer = ask(shared, NAME, text="Where is my order AB-1?", temperature=0).text
    checks = f"[{{kind: contains, text: {json.dumps(answer[:8])}}}]"
    probe.write_text(f'questions:\n  - {{id: order, text: "Where is my order AB-1?", checks: {checks}}}\n')
    before = live(shared)
    try:
        worse = promote(shared, make(shared, f"temperature=0,stop={json.dumps(answer[:2])}"))
        good = promote(shared, make(shared, "temperature=0,top_k=1"))
        shared.run("release", "rollback", NAME)
    finally:
        probe.unlink()
    assert worse["state"] == "reverted", worse
    assert "it fails order" in worse["note"]
    assert worse["evidence"]["probes"]["failed"] == ["order"]
    assert good["state"] == "done", good
    assert live(shared) == before


@pytest.mark.long
def test_a_prompt_that_needs_values_gets_those_of_the_questions(shared: Server, tmp_path: Path) -> None:
    """Questions that lack one are refused in words before anything is loaded; with it both releases are asked."""
    prompt, probe = tmp_path / "prompt.yaml", shared.home / "probes" / f"{NAME}.yaml"
    prompt.write_text("system: You answer for {{shop}}.\nvariables: {shop: null}\n")
    question = "questions:\n  - {id: order, text: Where is my order AB-1?, checks: [{kind: json}]}\n"
    before, number = live(shared), make(shared, "temperature=0", "--prompt", str(prompt))
    try:
        probe.write_text(question)
        refused = shared.run("release", "promote", f"{NAME}@{number}", check=False)
        probe.write_text(question.replace("checks", "variables: {shop: Corner}, checks"))
        ended = promote(shared, number)
    finally:
        shared.run("release", "rollback", NAME, check=False)
        probe.unlink()
    assert refused.returncode == 5
    assert f"the prompt of {NAME}@{number} needs a value for shop" in refused.stderr
    assert ended["state"] == "done", ended
    assert (ended["evidence"]["probes"]["candidate"], ended["evidence"]["probes"]["production"]) == (1.0, 1.0)
    assert live(shared) == before


@pytest.mark.long
def test_a_canary_whose_engine_ends_costs_nobody_an_answer(fake_server: Callable[..., Server], tmp_path: Path) -> None:
    """Its process is killed again and again, in the middle of requests: each is answered, and it is sent back."""
    server = fake_server()
    server.run("release", "create", "bot", "--model", "bot")
    server.run("release", "promote", "bot@1")
    server.run("release", "create", "bot", "--model", "bot", "--slots", "2")
    rules = tmp_path / "rules.yaml"
    rules.write_text("min_requests: 2000\n")
    ended = threading.Event()

    def end_its_engine() -> None:
        while not ended.wait(0.2):
            for deployment in server.status()["deployments"]:
                for replica in deployment["replicas"] if deployment["name"] == "bot@2" else ():
                    if replica["state"] == "ready" and replica["pid"]:
                        kill(replica["pid"])

    with Steady(server, "bot", per_second=10) as users:
        server.run("release", "promote", "bot@2", "--canary", "50%", "--rules", str(rules), "--no-wait")
        users.wait_for_more(2, "bot@2")
        ender = threading.Thread(target=end_its_engine)
        ender.start()
        try:
            last = wait_for(lambda: (p := newest(server))["ended_at"] and p, "it to be sent back")
        finally:
            ended.set()
            ender.join()
    assert (last["to"], last["state"]) == (2, "reverted"), last
    assert users.failed == []
