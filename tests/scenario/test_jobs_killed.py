"""A job whose process is killed again and again, at random moments, and resumed each time."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.support.ggufs import write_chat_model
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.optimize.jobs import asking, orders, store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import run_job
from undercroft.optimize.jobs.states import ENDED, State
from undercroft.optimize.jobs.store import Job
from undercroft.optimize.jobs.worker import sweep
from undercroft.optimize.recipes import make_recipe
from undercroft.registry import models
from undercroft.registry.quarantine import clean_quarantine
from undercroft.storage import journal
from undercroft.storage.database import Database


def found(database: Database, job: str) -> Job:
    with database.read() as connection:
        return store.find(connection, job)


def undisturbed(home: Home, database: Database) -> str:
    """The digest that the recipe gives when nobody kills anything."""
    process = identify(os.getpid())
    assert process is not None
    recipe = make_recipe({"from": "tiny", "to": "undisturbed", "steps": [{"quantize": {"scheme": "IQ4_XS"}}]})
    with database.write() as connection:
        store.add(
            connection, kind="quantize", recipe=recipe.to_dict(), parents=[], result=recipe.to, actor="x", reason=None
        )
        job = store.claim(connection, process)
    assert job is not None
    run_job(home, database, job, tell=lambda line: None)
    with database.read() as connection:
        return models.get(connection, "undisturbed").digest


def test_killed_at_any_moment_it_loses_nothing_but_time(tmp_path: Path, is_full: bool) -> None:
    """After each kill the job is queued, interrupted or done, no half model has a name, and in the end the digest is
    that of an undisturbed run; nothing is left in the folders."""
    home = Home(tmp_path / "home")
    home.prepare()
    database = Database(home.database_file)
    try:
        file = write_chat_model(tmp_path / "tiny.gguf", width=512, layers=2)
        models.add_local(database, home, file, actor="cli:anna")
        wanted = undisturbed(home, database)
        recipe = make_recipe({"from": "tiny", "to": "small", "steps": [{"quantize": {"scheme": "IQ4_XS"}}]})
        job = asking.begin(home, database, asking.look_at(home, database, recipe), actor="cli:anna").id
        chance = random.Random()
        for _ in range(60 if is_full else 4):
            kill_after(database, job, chance.uniform(0.0, 2.0))
            if found(database, job).state is State.DONE:
                break
            with database.read() as connection:
                assert {model.name for model in models.list_models(connection)} == {"tiny", "undisturbed"}
                assert journal.find_damage(connection) is None
            orders.resume(home, database, job, actor="cli:anna")
        while found(database, job).state not in ENDED:
            time.sleep(0.05)
        with database.read() as connection:
            assert models.get(connection, "small").digest == wanted
            assert store.find(connection, job).state is State.DONE
        wait_until_gone(database, job)
        sweep(home, database)  # as the next job begins, for one that was killed just after its model had its name
        assert [path.name for path in JobFolder(home, job).root.iterdir()] == ["log.txt"]
        clean_quarantine(home)
        assert list(home.quarantine.iterdir()) == []
    finally:
        database.close()


def kill_after(database: Database, job: str, seconds: float) -> None:
    """Kills the process of a job some time after it was begun, or finds that it has ended."""
    while found(database, job).state is State.QUEUED:
        time.sleep(0.01)
    end = time.monotonic() + seconds
    while time.monotonic() < end and found(database, job).state is State.RUNNING:
        time.sleep(0.01)
    process = found(database, job).process
    assert process is not None
    process.send(signal.SIGKILL)
    wait_until_gone(database, job)


def wait_until_gone(database: Database, job: str) -> None:
    process = found(database, job).process
    while process is not None and process.is_alive():
        time.sleep(0.01)
