"""From what is wrong to who is told: a real database, real receivers on loopback, a clock that the test moves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from tests.support.alerts import Receiver, note, receiving
from tests.support.scripted import scripted
from tests.support.server import wait_for
from undercroft.core.clock import to_iso
from undercroft.core.errors import NotFoundError
from undercroft.core.home import Home
from undercroft.core.settings import AlertSettings, Settings
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving import deployments, promotions
from undercroft.serving.promotions import Plan, State
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Search
from undercroft.storage.tables import actions, alerts, incidents, probe_runs
from undercroft.watch.findings import Kind
from undercroft.watch.incidents import incident_store, outbox
from undercroft.watch.incidents.alert_texts import LANGUAGES
from undercroft.watch.incidents.alerting import Deliverer, Watcher
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.incidents.looking import Looker, sources_of
from undercroft.watch.incidents.notes import Event, note_of
from undercroft.watch.probes.probe_files import probe_file
from undercroft.watch.sinks.all import SINKS

START = datetime(2026, 11, 21, 7, tzinfo=UTC)
CANARY = "canary-Somchai-1103700012345"
PROBE = f"questions:\n  - {{id: one, text: {CANARY}, checks: [{{kind: contains, text: {CANARY}}}]}}\n"


@dataclass
class Recorder:
    """What the reconciler is asked, of a server that runs ``bot`` only."""

    asked: list[str] = field(default_factory=list)

    def restart(self, name: str) -> None:
        if name != "bot":
            raise NotFoundError("nothing-to-restart", f"{name!r} has no replica that runs")
        self.asked.append(f"restart {name}")

    def wake(self) -> None:
        self.asked.append("wake")


class World:
    """A home with one probe, and the two loops that a server runs, step by step."""

    def __init__(self, folder: Path, **alert_settings: Any) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)
        self.now = START
        self.server = Recorder()
        self.set(**alert_settings)
        probe_file(self.home, "bot").write_text(PROBE, encoding="utf-8")

    def set(self, **alert_settings: Any) -> None:
        """A server with other settings."""
        given = {"site": "cellar-1", "timeout_seconds": 5.0, **alert_settings}
        self.settings = Settings(alerts=AlertSettings.model_validate(given))
        seconds = lambda: (self.now - START).total_seconds()  # noqa: E731
        looker = Looker(sources_of(self.home, self.database, self.settings, None), seconds)
        alert, cause = self.settings.alerts, likely_cause(self.database, self.home)
        self.watcher = Watcher(self.home, self.database, alert, looker, self.server, cause)
        self.deliverer = Deliverer(self.database, alert)
        self.deliverer.begin(self.now)

    def secret(self, name: str, content: str) -> Path:
        file = self.folder / name
        file.write_text(content + "\n", encoding="utf-8")
        return file

    def probe(self, passed: int, *, asked: int = 1, note: str = "") -> None:
        """A run of the probe that has ended."""
        with self.database.write() as connection:
            connection.execute(
                insert(probe_runs).values(
                    probe="bot",
                    started_at=to_iso(self.now),
                    finished_at=to_iso(self.now),
                    release="bot@1",
                    asked=asked,
                    passed=passed,
                    score=passed / asked,
                    note=note,
                )
            )

    def step(self, minutes: float = 1.0) -> None:
        """Time goes on; both loops look once."""
        self.now += timedelta(minutes=minutes)
        self.watcher.look(self.now)
        self.deliverer.look(self.now)

    def incidents(self) -> list[tuple[str, str, bool]]:
        with self.database.read() as connection:
            return [
                (one.kind.value, one.subject, one.is_open)
                for one in reversed(incident_store.list_newest(connection, limit=1000))
            ]

    def states(self) -> list[str]:
        with self.database.read() as connection:
            return list(connection.execute(select(alerts.c.state).order_by(alerts.c.id)).scalars())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def with_webhook(world: World, receiver: Receiver, **others: Any) -> None:
    world.set(
        webhook_url_file=world.secret("url", f"{receiver.url}/hook"),
        webhook_secret_file=world.secret("secret", "a secret of the test, long enough"),
        **others,
    )


def told(receiver: Receiver) -> list[list[tuple[str, int]]]:
    """Event and incident of each note, message by message."""
    return [
        [(alert["event"], alert["incident"]) for alert in one.json()["data"]["alerts"]] for one in receiver.received
    ]


def fail(world: World, times: int = 3) -> None:
    for _ in range(times):
        world.probe(0)
        world.step()


def test_three_failures_in_a_row_alert_once_and_end_when_it_is_well(world: World, receiver: Receiver) -> None:
    """Not before the third, not again with the fourth; escalated after an hour; resolved after five quiet minutes."""
    with_webhook(world, receiver)
    fail(world, 2)
    assert told(receiver) == []
    fail(world, 2)
    assert told(receiver) == [[("opened", 1)]]
    world.step(61)
    world.step(61)
    assert told(receiver) == [[("opened", 1)], [("escalated", 1)]]
    world.probe(1)
    world.step()
    world.step(4)
    assert world.incidents() == [("probe-failing", "bot", True)]
    world.step(2)
    assert told(receiver)[2:] == [[("resolved", 1)]]
    assert world.incidents() == [("probe-failing", "bot", False)]


def test_a_probe_may_say_how_many_failures_alert(world: World, receiver: Receiver) -> None:
    """Its own number goes before that of the settings."""
    with_webhook(world, receiver, probe_failures=5)
    probe_file(world.home, "bot").write_text(f"alert_after_failures: 1\n{PROBE}", encoding="utf-8")
    fail(world, 1)
    assert told(receiver) == [[("opened", 1)]]


def test_a_sink_that_is_away_gets_everything_later_and_once(world: World, receiver: Receiver) -> None:
    """The first try fails; the next ones come after pauses; then all that waited arrives, each under its own key."""
    with_webhook(world, receiver)
    receiver.answer(503)
    fail(world)
    world.step(0.4)
    assert len(receiver.received) == 1
    world.step(1)
    assert len(receiver.received) == 2
    (world.home.probes / "broken.yaml").write_text("questions: 5\n", encoding="utf-8")
    receiver.answer(200)
    world.step(20)
    assert told(receiver)[2:] == [[("opened", 1)], [("opened", 2)]]
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    world.step(20)
    assert world.states() == ["sent", "sent"]


def test_a_sink_that_takes_nothing_has_dead_letters_that_others_hear_of(world: World, receiver: Receiver) -> None:
    """It is an incident of its own; what is dead is kept and can be tried again."""
    slack = world.secret("slack", f"{receiver.url}/slack")
    with receiving() as other:
        with_webhook(world, other, slack_url_file=slack)
        receiver.answer(404, b"no_service")
        fail(world)
        world.step()
        with world.database.read() as connection:
            states = {one.sink: one for one in outbox.states_of(connection, ("slack", "webhook"))}
        assert (states["slack"].dead, states["slack"].problem) == (2, "it answered 404: no_service")
        assert [one for group in told(other) for one in group] == [("opened", 1), ("opened", 2)]
        assert world.incidents()[1] == ("alerts-undelivered", "slack", True)
        receiver.answer(200)
        with world.database.write() as connection:
            assert outbox.retry(connection, "slack", world.now) == 2
        world.step()
        world.step(6)
        world.step(6)
    assert world.states().count("dead") == 0
    assert world.incidents()[1] == ("alerts-undelivered", "slack", False)


def test_never_more_than_the_rate_and_nothing_is_lost(world: World, receiver: Receiver) -> None:
    """Thirty incidents and five messages an hour: the fifth has the other twenty-six; what comes then waits an hour."""
    with_webhook(world, receiver, rate_per_hour=5)
    for number in range(30):
        (world.home.probes / f"p{number}.yaml").write_text("questions: 5\n", encoding="utf-8")
    world.step()
    assert [len(group) for group in told(receiver)] == [1, 1, 1, 1, 26]
    (world.home.probes / "late.yaml").write_text("questions: 5\n", encoding="utf-8")
    world.step(30)
    assert len(receiver.received) == 5
    world.step(31)
    numbers = [number for group in told(receiver) for event, number in group if event == "opened"]
    assert numbers == list(range(1, 32))


def test_a_server_that_is_killed_loses_nothing_and_marks_what_may_be_a_copy(world: World, receiver: Receiver) -> None:
    """kill -9 while a message is under way: the next server sends it again under the same key, and then no more."""
    with scripted(b"") as silent:
        world.set(slack_url_file=world.secret("slack", f"http://127.0.0.1:{silent}/slack"))
        with world.database.write() as connection:
            outbox.put(connection, [note(7)], ["slack"], world.now)
        code = (
            "import sys, threading\n"
            "from pathlib import Path\n"
            "from undercroft.core.settings import AlertSettings\n"
            "from undercroft.storage.database import Database\n"
            "from undercroft.watch.incidents.alerting import Deliverer, look_after_alerts\n"
            "settings = AlertSettings(slack_url_file=sys.argv[2], site='cellar-1', timeout_seconds=120)\n"
            "look_after_alerts(Deliverer(Database(Path(sys.argv[1])), settings), threading.Event())\n"
        )
        words = [sys.executable, "-c", code, str(world.home.database_file), str(world.folder / "slack")]
        process = subprocess.Popen(words)
        try:
            wait_for(lambda: world.states() == ["sending"], "the try to begin")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    world.set(slack_url_file=world.secret("slack", f"{receiver.url}/slack"))
    world.step()
    world.step()
    (one,) = receiver.received
    assert "sent again" in one.body.decode()
    assert world.states() == ["sent"]
    world.set(slack_url_file=world.secret("slack", f"{receiver.url}/slack"))
    world.step()
    assert len(receiver.received) == 1


def test_what_waits_for_a_sink_that_is_no_longer_set_is_dead(world: World, receiver: Receiver) -> None:
    """It is kept, and says why."""
    with_webhook(world, receiver)
    receiver.answer(503)
    fail(world)
    world.set()
    with world.database.read() as connection:
        (one,) = outbox.list_newest(connection, limit=10)
    assert (one["state"], one["problem"]) == ("dead", "the settings do not name this sink any more")


def test_no_prompt_and_no_personal_data_leaves(world: World, receiver: Receiver) -> None:
    """A question with a name and a number in it fails, its answer is kept in the report, and a person resolves the
    incident and says why: nothing of that is in what any service gets in any language, nor who it was, nor where the
    home is."""
    (world.home.reports / "bot.csv").write_text(CANARY, encoding="utf-8")
    fail(world)
    with world.database.write() as connection:
        opened = note_of(incident_store.get(connection, 1), Event.OPENED)
        resolved = incident_store.resolve(connection, 1, actor="cli:anna", reason=f"it was {CANARY}", now=world.now)
    secrets = {"slack_url": "slack", "teams_url": "teams", "webhook_url": "hook", "dingtalk_url": "ding"}
    files = {f"{name}_file": world.secret(name, f"{receiver.url}/{path}") for name, path in secrets.items()}
    words = ("telegram_token", "line_token", "dingtalk_secret", "webhook_secret")
    files |= {f"{name}_file": world.secret(name, "123:a-secret-of-the-test") for name in words}
    receiver.answer(200, b'{"errcode":0}')
    for language in LANGUAGES:
        world.set(
            **files,
            language=language,
            telegram_endpoint=receiver.url,
            telegram_chat="-1",
            line_endpoint=receiver.url,
            line_to="U1",
            alertmanager_url_file=world.secret("am", receiver.url),
        )
        with world.database.write() as connection:
            outbox.put(connection, [opened, resolved], [name for name in SINKS if name != "email"], world.now)
        world.step()
    paths = [one.path.partition("?")[0].rpartition("/")[2] for one in receiver.received]
    wanted = {**dict.fromkeys(("slack", "teams", "hook", "ding", "sendMessage", "push"), 12), "alerts": 6}
    assert Counter(paths) == wanted
    everything = "\n".join(json.dumps(one.json(), ensure_ascii=False) for one in receiver.received)
    assert "bot" in everything
    for private in (CANARY, "Somchai", "1103700012345", "anna", str(world.home.root), "cli:"):
        assert private not in everything


def test_alertmanager_is_told_again_and_again_and_then_that_it_is_over(world: World, receiver: Receiver) -> None:
    """Each minute while it is open, at once when something changes; a failure that lasts is an incident."""
    world.set(alertmanager_url_file=world.secret("am", receiver.url))
    fail(world)
    names = [[one["labels"]["alertname"] for one in each.json()] for each in receiver.received]
    assert names[-1] == ["UndercroftProbeFailing"]
    before = len(receiver.received)
    world.step()
    assert len(receiver.received) == before + 1
    world.step(0.1)
    assert len(receiver.received) == before + 1
    world.probe(1)
    world.step()
    world.step(6)
    (alert,) = receiver.received[-1].json()
    assert alert["endsAt"] == to_iso(world.now)
    receiver.answer(500)
    for _ in range(3):
        world.step()
    (found,) = world.deliverer.judge_mirror(world.now)
    assert (found.kind, found.subject) == (Kind.ALERTS_UNDELIVERED, "alertmanager")


def release_twice(world: World) -> None:
    """Two releases of ``bot``, the second in production."""
    content = check_content({"engine": "external", "settings": {"url": "http://127.0.0.1:9"}})
    other = check_content({"engine": "external", "settings": {"url": "http://127.0.0.1:10"}})
    for each in (content, other):
        with world.database.write() as connection:
            made = store.create(connection, "bot", each, actor="cli:anna", reason=None)
            begun = promotions.begin(connection, made, Plan.model_validate({}), actor="cli:anna", reason=None)
            promotions.end(connection, begun, State.DONE, "")


def rules(world: World, *lines: str) -> None:
    world.home.actions_file.write_text("rules:\n" + "".join(f"  - {line}\n" for line in lines), encoding="utf-8")


def test_a_rule_rolls_back_and_then_asks_a_human(world: World, receiver: Receiver) -> None:
    """Once within its window; the journal says which rule and which incident; the next time people are asked."""
    with_webhook(world, receiver, quiet_minutes=0)
    release_twice(world)
    rules(world, "{name: undo, when: [probe-failing], do: roll-back, at_most: 1}")
    fail(world)
    with world.database.read() as connection:
        assert store.tags_of(connection, "bot")["production"] == 1
        (entry, _), *_ = journal.find(connection, Search(action="action.roll-back"))
        (undone, _), *_ = journal.find(connection, Search(action="release.rollback"))
    assert (entry.subject, entry.reason) == ("bot", "rule undo, incident 1: probe-failing of bot")
    assert (undone.actor, undone.reason) == ("system", entry.reason)
    assert [one for group in told(receiver) for one in group] == [("opened", 1), ("acted", 1)]
    world.step()
    world.probe(1)
    world.step()
    fail(world)
    world.step()
    with world.database.read() as connection:
        assert store.tags_of(connection, "bot")["production"] == 1
        assert len(connection.execute(select(actions)).all()) == 1
    assert world.incidents() == [
        ("probe-failing", "bot", False),
        ("probe-failing", "bot", True),
        ("actions-exhausted", "bot", True),
    ]


def test_the_change_since_all_was_well_is_the_likely_cause(world: World, receiver: Receiver) -> None:
    """A release came into production between the last good run and the first bad one; an older change is none."""
    with_webhook(world, receiver)
    with world.database.write() as connection:
        for hours, subject in ((5, "bot@1"), (1, "bot@2")):
            at = world.now - timedelta(hours=hours)
            journal.record(
                connection, actor="cli:anna", action="release.promoted", subject=subject, reason="for Ben", at=at
            )
    world.now -= timedelta(hours=2)
    world.probe(1)
    world.now += timedelta(hours=2)
    fail(world)
    (alert,) = receiver.received[0].json()["data"]["alerts"]
    assert alert["cause"] == "release.promoted bot@2, 1 h before (undercroft journal show 2)"


def test_a_rule_never_rolls_forward_to_what_was_left_as_bad(world: World) -> None:
    """When the older release fails, too, it is for people; and nobody is told to go back to the newer one."""
    world.set(quiet_minutes=0)
    release_twice(world)
    rules(world, "{name: undo, when: [probe-failing], do: roll-back, at_most: 9}")
    fail(world)
    with world.database.read() as connection:
        assert incident_store.get(connection, 1).figures["previous"] == 1
    world.probe(1)
    world.step()
    fail(world)
    world.step()
    with world.database.read() as connection:
        assert store.tags_of(connection, "bot")["production"] == 1
        assert "previous" not in incident_store.get(connection, 2).figures
        problems = [row.problem for row in connection.execute(select(actions).order_by(actions.c.id))]
    assert problems == ["", "rolled-back-already"]
    assert world.incidents()[2] == ("action-failed", "bot", True)


def test_each_deed_does_what_it_says(world: World) -> None:
    """Restart asks the reconciler; pin, stop and priority change the deployment; all are in the journal."""
    release_twice(world)
    rules(
        world,
        "{name: a, when: [probe-failing], do: restart}",
        "{name: b, when: [probe-failing], do: pin}",
        "{name: c, when: [probe-failing], do: lower-priority, priority: -70}",
        "{name: d, when: [probe-failing], do: stop}",
    )
    fail(world)
    assert "restart bot" in world.server.asked
    with world.database.read() as connection:
        bot = deployments.get(connection, "bot")
        kept = [entry.action for entry, _ in journal.find(connection, Search(action="action"))]
    assert (bot.is_running, bot.settings.is_pinned, bot.settings.priority) == (False, True, -70)
    assert kept == ["action.restart", "action.pin", "action.lower-priority", "action.stop"]


def test_what_a_rule_cannot_do_is_an_incident(world: World) -> None:
    """There is nothing to go back to; it is not tried again."""
    rules(world, "{name: undo, when: [probe-failing], do: roll-back}")
    fail(world)
    world.step()
    world.step()
    assert world.incidents() == [("probe-failing", "bot", True), ("action-failed", "bot", True)]
    with world.database.read() as connection:
        (row,) = connection.execute(select(actions)).all()
    assert row.problem == "no-such-release"


def test_a_broken_file_of_rules_is_an_incident_and_nothing_acts(world: World) -> None:
    """It ends when the file is mended."""
    rules(world, "{name: undo}")
    fail(world)
    assert world.incidents()[0] == ("rules-unusable", "actions.yaml", True)
    assert world.server.asked == []
    world.home.actions_file.unlink()
    world.step()
    world.step(6)
    assert world.incidents()[0] == ("rules-unusable", "actions.yaml", False)


def test_what_a_person_resolved_stays_so_until_it_was_well(world: World, receiver: Receiver) -> None:
    """It is told as resolved; the same failure opens nothing; after a good run the next three open a new one."""
    with_webhook(world, receiver, quiet_minutes=0)
    fail(world)
    with world.database.write() as connection:
        resolved = incident_store.resolve(connection, 1, actor="cli:anna", reason="known", now=world.now)
        assert resolved.event is Event.RESOLVED
    fail(world)
    assert world.incidents() == [("probe-failing", "bot", False)]
    world.probe(1)
    world.step()
    fail(world)
    assert world.incidents() == [("probe-failing", "bot", False), ("probe-failing", "bot", True)]
    with world.database.read() as connection:
        (entry, _), *_ = journal.find(connection, Search(action="incident.resolve"))
        assert (entry.actor, entry.subject, entry.reason) == ("cli:anna", "incident 1", "known")
        row = connection.execute(select(incidents).where(incidents.c.id == 1)).one()
        assert row.cleared_at is not None
