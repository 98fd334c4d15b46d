"""The command line as a whole: wrong calls, narrow terminals, strange locales."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model

pytestmark = pytest.mark.long

THAI = "ลูกค้าขอให้เก็บไว้"


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        ("status --nope", "unknown-option", "there is no option --nope", "undercroft status -h"),
        ("status --jsn", "unknown-option", "near it: --json", "undercroft status -h"),
        ("statuss", "bad-usage", "'statuss'", "undercroft -h"),
        ("model show", "missing-argument", "NAME is missing", "undercroft model show -h"),
        ("journal show -n x", "bad-value", "--last: expected a whole number, got 'x'", "undercroft journal show -h"),
        ("journal show -n 0", "bad-value", "--last: expected at least 1, got '0'", "undercroft journal show -h"),
        ("chat --temperature 9", "bad-value", "--temperature: expected at most 2, got '9'", "undercroft chat -h"),
        ("key create a b", "bad-usage", "(b)", "undercroft key create -h"),
        ("key create", "missing-argument", "NAME is missing", "undercroft key create -h"),
    ],
)
def test_a_wrong_call_is_an_error_like_others(cellar: Cellar, words: str, code: str, message: str, hint: str) -> None:
    """A sentence, what to do, and exit status 2; JSON where that was asked for, anywhere among the words."""
    plain = cellar.run(*words.split(), expected=2).stderr
    assert plain.startswith(f"{code}: ")
    assert message in plain
    assert plain.endswith(f"Try: {hint}\n")
    assert "Input should" not in plain
    found = json.loads(cellar.run(*words.split(), "--json", expected=2).stderr)["error"]
    assert (found["code"], found["hint"]) == (code, hint)
    assert message in found["message"]


def test_json_counts_wherever_it_stands(cellar: Cellar) -> None:
    """Before the command it is no option, and the error about that is JSON too."""
    assert json.loads(cellar.run("--json", "status", expected=2).stderr)["error"]["code"] == "unknown-option"


def test_a_noun_alone_shows_its_help(cellar: Cellar) -> None:
    """Who gives no command sees which there are."""
    assert "Commands:" in cellar.run("model", expected=2).stderr
    assert "Commands:" in cellar.run(expected=2).stderr


def test_a_key_for_models_that_are_not_there_is_refused(cellar: Cellar) -> None:
    """A typing error in --model makes no key."""
    result = cellar.run("key", "create", "a", "--model", "nope", expected=4)
    assert "no deployment 'nope'; there are none" in result.stderr
    assert cellar.json("key", "list") == []


@pytest.mark.parametrize("width", [40, 60, 80])
def test_listings_break_no_word(cellar: Cellar, tmp_path: Path, width: int) -> None:
    """Names, addresses and ids stand whole on one line in every listing, and what has shorter words fits."""
    long_name = "support-assistant-of-the-thailand-team"
    model = str(write_chat_model(tmp_path / "m.gguf", licence="apache-2.0"))
    for name in ("tiny", long_name):
        cellar.run("model", "pull", model, "--name", name, "--because", "a reason that needs more than one line")
    address = "https://inference.example.com:8000"
    external = ("--engine", "external", "--url", address)
    cellar.environment["UNDERCROFT_ENGINES__EXTERNAL_HOSTS"] = "inference.example.com"
    cellar.run("deployment", "create", "ext", *external)
    cellar.run("deployment", "create", "tiny", "--name", long_name)
    key = cellar.json("key", "create", "frontend", "--model", long_name, "--model", "ext")
    cellar.environment["COLUMNS"] = str(width)
    listings = {
        "model list": ["tiny", long_name, "apache-2.0", "architecture"],
        "deployment list": ["ext", long_name, address, "llama.cpp"],
        "key list": [key["id"], "frontend", long_name],
        "journal show": [key["id"], "deployment.create", long_name],
        "config show": ["engines.restart_backoff_limit_seconds", "default"],
    }
    for command, wholes in listings.items():
        lines = cellar.run(*command.split()).stdout.splitlines()
        text = "\n".join(lines)
        for whole in wholes:
            assert whole in text, (command, whole)
        too_wide = [line for line in lines if len(line.rstrip()) > width and str(tmp_path) not in line]
        assert all(4 + max(map(len, line.split())) > width for line in too_wide), (command, too_wide)


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "xx_XX"}]
)
def test_text_is_kept_in_a_locale_that_cannot_read_it(tmp_path: Path, locale: dict[str, str]) -> None:
    """Where the locale knows ASCII only, or is not installed, a Thai reason is kept and shown as it was typed."""
    cellar = Cellar(tmp_path, **locale)
    model = str(write_chat_model(tmp_path / "m.gguf"))
    cellar.run("model", "pull", model, "--because", THAI)
    assert THAI in cellar.run("journal", "show").stdout
    assert [entry["reason"] for entry in cellar.json("journal", "show")] == [THAI]
