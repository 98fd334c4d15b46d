"""Homes that past versions wrote, opened by the installed command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.homes import SCHEMAS, past_home
from undercroft.storage.database import SCHEMA_REVISION


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_past_home_is_read_by_the_command(schema: str, tmp_path: Path) -> None:
    """The first command upgrades it and says so on stderr once; models are listed, the journal is whole."""
    cellar = Cellar(tmp_path)
    past_home(schema, cellar.home)
    listed = cellar.run("model", "list", "--json")
    assert [model["name"] for model in json.loads(listed.stdout)] == ["spare", "tiny"]
    was_old = schema < SCHEMA_REVISION
    assert (f"Upgraded: the database went from schema {schema} to {SCHEMA_REVISION}" in listed.stderr) == was_old
    verified = cellar.run("journal", "verify")
    assert "The journal is whole" in verified.stdout
    assert verified.stderr == ""


def test_status_and_doctor_know_an_old_home(tmp_path: Path) -> None:
    """Status says that nothing runs, doctor names the copy that the upgrade kept."""
    cellar = Cellar(tmp_path)
    past_home(SCHEMAS[0], cellar.home)
    assert len(cellar.json("deployment", "list")) == 2
    assert "not-running" in cellar.run("status", expected=4).stderr
    findings = {one["name"]: one for one in json.loads(cellar.run("doctor", "--json", expected=1).stdout)}
    assert f"as it was before upgrades: undercroft.db.before-{SCHEMA_REVISION}" in findings["database"]["saw"]
