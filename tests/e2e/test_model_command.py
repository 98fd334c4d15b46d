"""``undercroft model`` as it is installed: what it prints, its exit statuses, and what a kill leaves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path, "model")


def test_a_day_of_a_model(cellar: Cellar, tmp_path: Path) -> None:
    """Pull, list, show, verify, remove and gc say what they did in 80 columns, and the same as JSON."""
    path = write_chat_model(tmp_path / "Tiny.gguf", licence="mit")
    assert "There is no model" in cellar.run("list").stdout
    outputs = [
        cellar.run("pull", str(path), "--name", "tiny", "--because", "a trial"),
        cellar.run("list"),
        cellar.run("show", "tiny"),
        cellar.run("verify"),
        cellar.run("verify", "tiny"),
    ]
    assert "Model tiny is registered" in outputs[0].stdout
    for words in ("tiny", "gguf", "llama", "116.4 K", "F32", "512", "mit"):
        assert words in outputs[1].stdout
    for words in ("licence", "mit", "languages", "unknown", "{% for m in messages %}", "sha256:"):
        assert words in outputs[2].stdout
    assert "1 of 1 files of 1 models are whole" in outputs[3].stdout
    shown = cellar.json("show", "tiny")
    assert shown["facts"]["chat_template"].startswith("{% for m in messages %}")
    assert shown.pop("licence_verdict")["outcome"] == "allowed"
    assert cellar.json("list") == [shown]
    assert cellar.json("verify")["is_whole"]
    assert cellar.json("remove", "tiny")["removed"] == "tiny"
    assert cellar.json("gc", "--dry-run")["files"] == 1
    assert cellar.json("gc")["files"] == 1
    assert cellar.blobs() == []
    widest = max(len(line) for output in outputs for line in output.stdout.splitlines() if str(tmp_path) not in line)
    assert widest <= 100


def test_pull_as_json(cellar: Cellar, tmp_path: Path) -> None:
    """One JSON document tells of the model, whether it is new, and how its bytes came."""
    path = write_chat_model(tmp_path / "m.gguf")
    first, second = cellar.json("pull", str(path)), cellar.json("pull", str(path))
    assert (first["is_new"], second["is_new"]) == (True, False)
    assert first["methods"] in (["hard link"], ["reflink"])
    assert first["digest"] == second["digest"]
    copied = cellar.json("pull", str(path), "--copy", "--name", "other")
    assert copied["methods"] == ["copy"]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["show", "nope"], 4, "no-such-model"),
        (["verify", "nope"], 4, "no-such-model"),
        (["remove", "nope"], 4, "no-such-model"),
        (["pull", "/nope.gguf"], 4, "no-such-file"),
        (["pull", "oci://x/y"], 2, "bad-reference"),
        (["pull", "pickle"], 3, "unsafe-format"),
        (["pull", "text"], 2, "unknown-format"),
        (["pull", "cut-off"], 2, "bad-gguf"),
    ],
)
def test_refusals(cellar: Cellar, tmp_path: Path, arguments: list[str], status: int, code: str) -> None:
    """Each refusal has its exit status and code, as JSON on stderr where that was asked for, and no traceback."""
    (tmp_path / "pickle").write_bytes(b"\x80\x04\x95...")
    (tmp_path / "text").write_text("hello")
    sound = write_chat_model(tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut-off").write_bytes(sound[: len(sound) // 2])
    given = [str(tmp_path / word) if (tmp_path / word).is_file() else word for word in arguments]
    if "pull" in arguments:
        plain = cellar.run(*given, expected=status)
        assert plain.stderr.startswith(f"{code}: ")
        assert "Traceback" not in plain.stderr
        return
    as_json = cellar.run(*given, "--json", expected=status)
    assert json.loads(as_json.stderr)["error"]["code"] == code
    assert as_json.stdout == ""


def test_damage_is_found(cellar: Cellar, tmp_path: Path) -> None:
    """verify names a damaged file and ends with a status that a script sees."""
    cellar.run("pull", str(write_chat_model(tmp_path / "m.gguf")), "--copy")
    (blob,) = cellar.blobs()
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.truncate(1000)
    result = cellar.run("verify", expected=6)
    assert "damaged: m: m.gguf: its content was changed" in result.stdout
    as_json = cellar.run("verify", "--json", expected=6)
    assert json.loads(as_json.stdout)["is_whole"] is False


def test_hostile_text_is_shown_not_obeyed(cellar: Cellar, tmp_path: Path) -> None:
    """Control characters in a template or a name reach no terminal."""
    cellar.run("pull", str(write_chat_model(tmp_path / "m.gguf", chat_template="a\x1b[2Jb\x07", name="x\x1b[31m")))
    shown = cellar.run("show", "m").stdout + cellar.run("list").stdout
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown


@pytest.mark.long
def test_killed_at_any_time(cellar: Cellar, tmp_path: Path, is_full: bool) -> None:
    """An import that is killed leaves the whole model or none; the next one ends well, and gc leaves nothing over."""
    paths = [write_chat_model(tmp_path / f"m{n}.gguf", seed=n, width=256, layers=8) for n in range(2)]
    chance = random.Random(20_261_120)
    for number in range(60 if is_full else 3):
        name = f"model-{number}"
        process = cellar.start("pull", str(paths[number % 2]), "--copy", "--name", name)
        delay = chance.uniform(0.2, 1.5)
        try:
            process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        there = [model["name"] for model in cellar.json("list")]
        if name in there:
            assert cellar.json("verify", name)["is_whole"]
        else:
            assert cellar.json("pull", str(paths[number % 2]), "--copy", "--name", name)["is_new"]
        cellar.run("remove", name)
    cellar.run("gc")
    assert cellar.blobs() == []
    assert list((cellar.home / "quarantine").iterdir()) == []
