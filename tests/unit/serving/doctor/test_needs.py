"""What deployments need, from real files in a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ggufs import write_chat_model
from tests.unit.serving.doctor.conftest import plain_machine
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.planning.forecasts import MemoryForecast, Term, TermName
from undercroft.registry.importing import register
from undercroft.registry.progress import silent
from undercroft.registry.sources.local import collect
from undercroft.serving import deployments
from undercroft.serving.deployments import DeploymentSettings
from undercroft.serving.doctor.needs import Need, host_bytes, read_needs
from undercroft.storage.blobs import digest_file
from undercroft.storage.database import Database

SETTINGS = EngineSettings()
MIB = 1024**2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one model of a few layers."""
    made = Home(tmp_path / "home")
    made.prepare()
    files, origin = collect(write_chat_model(tmp_path / "tiny.gguf", context_tokens=4096))
    database = Database(made.database_file)
    register(database, made, files, origin, name="tiny", actor="cli:anna", must_copy=True, progress=silent)
    database.close()
    return made


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    """Its database, to deploy with."""
    opened = Database(home.database_file)
    yield opened
    opened.close()


def deploy(database: Database, name: str, settings: DeploymentSettings, replicas: int = 1) -> None:
    deployments.create(
        database, name=name, engine="llama.cpp", model="tiny", settings=settings, replicas=replicas, actor="cli:anna"
    )


def needs(home: Home) -> list[Need]:
    return read_needs(home, SETTINGS, plain_machine())


def test_needs_are_forecast_from_the_header(home: Home, database: Database) -> None:
    """More context needs more; wanted replicas and the way of loading are kept; stopped deployments need nothing."""
    deploy(database, "long", DeploymentSettings(context_tokens=4096, slots=4, load="on-demand"), 2)
    deploy(database, "short", DeploymentSettings(context_tokens=256, slots=1))
    deploy(database, "stopped", DeploymentSettings())
    deployments.set_running(database, "stopped", False, actor="cli:anna")
    long, short = needs(home)
    assert (long.deployment, long.how, long.replicas, long.is_always_loaded) == ("long", "about", 2, False)
    assert (short.deployment, short.how, short.replicas, short.is_always_loaded) == ("short", "about", 1, True)
    assert long.one_bytes > short.one_bytes > 10 * MIB


def test_a_damaged_file_counts_with_its_size(home: Home, database: Database) -> None:
    """What cannot be read for a forecast is at least as large as the registry says."""
    deploy(database, "bot", DeploymentSettings())
    (path,) = (p for p in (home.blobs / "sha256").rglob("*") if p.is_file())
    size = path.stat().st_size
    path.unlink()
    (need,) = needs(home)
    assert (need.how, need.one_bytes) == ("at least", size)


def test_looking_changes_nothing(home: Home, database: Database) -> None:
    """Neither the database nor the folder of stored files."""
    deploy(database, "bot", DeploymentSettings())
    database.close()
    before = digest_file(home.database_file), sorted(home.root.rglob("*"))
    assert len(needs(home)) == 1
    assert (digest_file(home.database_file), sorted(home.root.rglob("*"))) == before


def test_no_database_is_no_need(tmp_path: Path) -> None:
    """A home that is not there yet, and one whose database is damaged."""
    assert needs(Home(tmp_path / "none")) == []
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/undercroft.db").write_bytes(b"x" * 4096)
    assert needs(Home(tmp_path / "bad")) == []


def term(name: TermName, mib: int, *, is_file: bool = False, pool: str = "host") -> Term:
    return Term(name, pool, mib * MIB, is_file, "", "")


def test_pages_that_were_repacked_count_once() -> None:
    """300 MiB of file of which 250 are repacked: 50 of it are still read; what lies on a GPU does not count."""
    forecast = MemoryForecast(
        (
            term("weights", 300, is_file=True),
            term("repacked weights", 250),
            term("kv cache", 100),
            term("weights", 999, pool="gpu0"),
        ),
        gpu_layers=0,
    )
    assert host_bytes(forecast) == 400 * MIB
