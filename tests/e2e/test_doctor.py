"""``undercroft doctor`` on mistakes that are really made: the installed command, real homes, real limits."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ggufs import write_chat_model
from tests.support.server import COMMAND, Server


@pytest.fixture
def quiet(tmp_path: Path) -> Server:
    """A home that nobody has started anything on, with a locale as a person has one."""
    return Server(tmp_path / "home", LC_ALL="C.UTF-8")


def examine(server: Server) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and the findings by name; of several by one name the first, which is the worst."""
    result = server.run("doctor", "--patience", "60", "--json", check=False)
    findings: dict[str, dict[str, str]] = {}
    for finding in json.loads(result.stdout):
        findings.setdefault(finding["name"], finding)
    return result.returncode, findings


def test_a_fresh_home_has_no_problem_and_none_is_made(quiet: Server) -> None:
    """Exit status 0, and looking leaves nothing behind."""
    status, findings = examine(quiet)
    assert [f for f in findings.values() if f["level"] == "problem"] == []
    assert status == 0
    assert not quiet.home.exists()


def test_strict_fails_on_warnings_too(quiet: Server) -> None:
    """A warning is exit status 0 without --strict and 1 with it."""
    quiet.environment["LC_ALL"] = "C"
    assert quiet.run("doctor", "--patience", "60", check=False).returncode == 0
    assert quiet.run("doctor", "--patience", "60", "--strict", check=False).returncode == 1


def test_the_output_is_for_people(quiet: Server) -> None:
    """Problems first, then warnings, each with its reason and remedy, 80 columns, and a count of what is fine."""
    quiet.environment["LC_ALL"] = "C"
    quiet.home.mkdir(mode=0o777)
    quiet.home.chmod(0o777)
    result = quiet.run("doctor", "--patience", "60", check=False)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("PROBLEM  home: other users can change")
    marks = [line[:7] for line in lines if line.startswith(("PROBLEM", "WARNING"))]
    assert marks == sorted(marks)
    assert lines[-1].endswith("checks are fine. All of them: undercroft doctor --all")
    assert [line for line in lines if len(line) > 80 and str(quiet.home) not in line] == []
    assert len(quiet.run("doctor", "--patience", "60", "--all", check=False).stdout.splitlines()) > len(lines)


def test_a_taken_port(quiet: Server) -> None:
    """It names the process that listens there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", quiet.port))
        other.listen()
        status, findings = examine(quiet)
    assert status == 1
    assert findings["port"]["level"] == "problem"
    assert f"127.0.0.1:{quiet.port} is taken by process {os.getpid()}" in findings["port"]["saw"]
    assert findings["port"]["mend"] == f"UNDERCROFT_GATEWAY__PORT={quiet.port + 1} undercroft up"


def test_a_home_that_others_can_read_is_mended_by_the_command(quiet: Server) -> None:
    """What it says to type makes it silent."""
    quiet.home.mkdir()
    quiet.home.chmod(0o755)
    _, findings = examine(quiet)
    assert findings["home"]["level"] == "warning"
    subprocess.run(shlex.split(findings["home"]["mend"]), check=True)
    assert examine(quiet)[1]["home"]["level"] == "ok"


@pytest.fixture
def kept(quiet: Server, tmp_path: Path) -> Iterator[Server]:
    """A home with one small model and no server."""
    file = write_chat_model(tmp_path / "tiny.gguf")
    quiet.run("model", "pull", str(file), "--name", "tiny")
    yield quiet
    quiet.down()


def test_a_damaged_database(kept: Server) -> None:
    """Noise in the middle of the file is a problem; the checks that read it say nothing of their own."""
    database = kept.home / "undercroft.db"
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 3 * 4096)
    status, findings = examine(kept)
    assert status == 1
    assert findings["database"]["level"] == "problem"
    assert "damaged" in findings["database"]["saw"]
    assert findings["stored files"]["level"] == "ok"


def test_a_changed_journal(kept: Server) -> None:
    """Whoever changes an entry afterwards is told of."""
    script = (
        "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\"UPDATE journal SET actor='eve'\"); c.commit()"
    )
    subprocess.run([COMMAND.with_name("python"), "-c", script, kept.home / "undercroft.db"], check=True)
    _, findings = examine(kept)
    assert findings["database"]["saw"].startswith("the journal does not hold together: entry 1 was changed")


def test_a_damaged_stored_file(kept: Server) -> None:
    """Cut short is a problem, gone is a problem; before that all is well."""
    assert examine(kept)[1]["stored files"]["saw"] == "as they were when hashed: 1"
    (path,) = (p for p in (kept.home / "blobs/sha256").rglob("*") if p.is_file())
    path.chmod(0o600)
    os.truncate(path, 10)
    status, findings = examine(kept)
    assert (status, findings["stored files"]["level"]) == (1, "problem")
    assert "another size" in findings["stored files"]["saw"]
    path.unlink()
    assert "gone" in examine(kept)[1]["stored files"]["saw"]


def under_limits(server: Server, limits: str) -> dict[str, dict[str, str]]:
    """The findings of a shell with other limits."""
    result = subprocess.run(
        ["bash", "-c", f"{limits} && exec {shlex.quote(str(COMMAND))} doctor --patience 60 --json"],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[dict[str, str]] = json.loads(result.stdout)
    return {finding["name"]: finding for finding in reversed(found)}


def test_few_open_files(quiet: Server) -> None:
    """As in a container with ``--ulimit nofile=1000:1000``."""
    finding = under_limits(quiet, "ulimit -n 1000")["open files"]
    assert (finding["level"], finding["saw"]) == ("warning", "at most 1000 open files")


def test_a_limited_address_space(quiet: Server) -> None:
    """A batch system's ``ulimit -v`` below main memory."""
    finding = under_limits(quiet, "ulimit -v 3000000")["address space"]
    assert (finding["level"], finding["mend"]) == ("warning", "ulimit -v unlimited")


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({"LC_ALL": "C"}, "locale", "LC_ALL is 'C'"),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, "proxy", "HTTP_PROXY is set"),
        ({"OMP_NUM_THREADS": "4096"}, "OpenMP", "OMP_NUM_THREADS is 4096"),
        ({"CUDA_VISIBLE_DEVICES": "97"}, "visible devices", "CUDA_VISIBLE_DEVICES is '97'"),
        ({"PYTHONPATH": "/nowhere"}, "command", "PYTHONPATH is '/nowhere'"),
        ({"UNDERCROFT_GATEWAY__PROT": "1"}, "settings", "nearest is 'gateway.port'"),
        ({"UNDERCROFT_ENGINES__THREADS": "1000"}, "CPU quota", "engines.threads is 1000"),
        ({"UNDERCROFT_ENGINES__LLAMA_SERVER": "/nowhere/llama-server"}, "engine", "/nowhere/llama-server does not run"),
        ({"UNDERCROFT_REGISTRY__HUB_TOKEN_FILE": "/nowhere/token"}, "secret files", "/nowhere/token"),
    ],
)
def test_variables_and_settings_that_hurt(quiet: Server, variables: dict[str, str], name: str, words: str) -> None:
    """Each is told by its own check, with something to do."""
    quiet.environment.update(variables)
    _, findings = examine(quiet)
    finding: dict[str, Any] = findings[name]
    assert finding["level"] in {"warning", "problem"}, finding
    assert words in finding["saw"]
    assert finding["why"]
    assert finding["mend"]


def test_another_installation_on_path(quiet: Server, tmp_path: Path) -> None:
    """A shell would find the other one first."""
    (tmp_path / "bin").mkdir()
    other = tmp_path / "bin/undercroft"
    other.write_text("#!/bin/sh\n", encoding="ascii")
    other.chmod(0o755)
    quiet.environment["PATH"] = f"{other.parent}:{quiet.environment['PATH']}"
    finding = examine(quiet)[1]["command"]
    assert (finding["level"], f"a shell finds {other} first" in finding["saw"]) == ("warning", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_another_user(kept: Server) -> None:
    """As after a first start with sudo, the other way round."""
    os.chown(kept.home / "logs", 12345, 12345)
    finding = examine(kept)[1]["ownership"]
    assert finding["level"] == "problem"
    assert finding["mend"] == f"sudo chown -R {os.geteuid()} {kept.home}"
    os.chown(kept.home / "logs", 0, 0)
