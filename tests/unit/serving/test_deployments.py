"""Deployments: what is wanted, and every change in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.serving import deployments
from undercroft.serving.deployments import DeploymentSettings, check_settings
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import models


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    with opened.write() as connection:
        connection.execute(
            insert(models).values(
                name="tiny",
                digest="sha256:" + "0" * 64,
                source="file",
                format="gguf",
                size_bytes=1,
                facts={},
                lineage={},
                created_at="2026-01-01T00:00:00.000Z",
            )
        )
    yield opened
    opened.close()


def create(database: Database, name: str = "bot", **changes: object) -> deployments.Deployment:
    values: dict[str, object] = {
        "name": name,
        "engine": "llama.cpp",
        "model": "tiny",
        "settings": DeploymentSettings(),
        "actor": "cli:test",
    }
    return deployments.create(database, **{**values, **changes})  # type: ignore[arg-type]


def actions(database: Database) -> list[str]:
    with database.read() as connection:
        return [entry.action for entry, _ in journal.entries(connection)]


def test_what_was_created_is_read_back(database: Database) -> None:
    """Name, engine, model, settings and count survive the database."""
    made = create(database, settings=DeploymentSettings(context_tokens=512, load="on-demand"), replicas=2)
    with database.read() as connection:
        assert deployments.get(connection, "bot") == made
        assert deployments.list_all(connection) == [made]


def test_each_change_is_in_the_journal(database: Database) -> None:
    """Create, change, stop, start, remove: five entries; a stop of what is stopped is none."""
    create(database)
    deployments.change(database, "bot", settings={"slots": 2}, actor="cli:test")
    for is_running in (False, False, True):
        deployments.set_running(database, "bot", is_running, actor="cli:test")
    deployments.remove(database, "bot", actor="cli:test", reason="not used")
    assert actions(database) == [f"deployment.{what}" for what in ("create", "change", "stop", "start", "remove")]


def test_a_taken_name_is_refused(database: Database) -> None:
    """Two deployments cannot have one name."""
    create(database)
    with pytest.raises(ConflictError, match="there is a deployment 'bot' already"):
        create(database)


def test_an_unknown_model_is_refused(database: Database) -> None:
    """A deployment of a model that is not registered is not made, nor written to the journal."""
    with pytest.raises(NotFoundError, match="there is no model 'gone'"):
        create(database, model="gone")
    assert actions(database) == []


@pytest.mark.parametrize("name", ["../x", "A", "", "a b"])
def test_a_hostile_name_is_refused(database: Database, name: str) -> None:
    """A name that could become a path or an option is no name."""
    with pytest.raises(InvalidError):
        create(database, name=name)


@pytest.mark.parametrize(
    ("engine", "model", "url"),
    [
        ("external", "tiny", "http://x"),
        ("external", None, None),
        ("external", None, "file:///x"),
        ("llama.cpp", None, None),
    ],
)
def test_an_engine_gets_what_it_needs(database: Database, engine: str, model: str | None, url: str | None) -> None:
    """An external engine needs a URL and no model, llama.cpp a model and no URL."""
    with pytest.raises(InvalidError):
        create(database, engine=engine, model=model, settings=DeploymentSettings(url=url))


def test_every_bad_setting_is_named() -> None:
    """An unknown name and a value out of range stand in one message."""
    with pytest.raises(InvalidError) as caught:
        check_settings({"slots": 1000, "contex": 1})
    assert "slots" in str(caught.value)
    assert "contex" in str(caught.value)


def test_a_bad_change_changes_nothing(database: Database) -> None:
    """A refused change leaves the deployment and the journal as they were."""
    made = create(database)
    with pytest.raises(InvalidError):
        deployments.change(database, "bot", settings={"slots": -1}, actor="cli:test")
    with database.read() as connection:
        assert deployments.get(connection, "bot") == made
    assert actions(database) == ["deployment.create"]


def test_what_is_not_there_cannot_be_changed(database: Database) -> None:
    """Changing, stopping or removing an unknown deployment says so."""
    with pytest.raises(NotFoundError):
        deployments.change(database, "bot", settings={}, actor="x")
    with pytest.raises(NotFoundError):
        deployments.set_running(database, "bot", False, actor="x")
    with pytest.raises(NotFoundError):
        deployments.remove(database, "bot", actor="x")


@pytest.mark.parametrize("setting", [{"cache_type": "q8_0"}, {"gpu_layers": 4}, {"dtype": "float16"}])
def test_what_onnxruntime_does_not_heed_is_refused(database: Database, setting: dict[str, object]) -> None:
    """A setting that would change nothing is no setting of this engine."""
    with database.write() as connection:
        connection.execute(update(models).values(format="onnx"))
    with pytest.raises(InvalidError) as refused:
        create(database, engine="onnxruntime", settings=DeploymentSettings.model_validate(setting))
    assert refused.value.code == "not-of-this-engine"
    assert next(iter(setting)) in refused.value.message
