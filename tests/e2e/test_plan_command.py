"""``undercroft plan`` as it is installed: for people on 80 and 60 columns, for programs as JSON, with exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model
from tests.support.hub import Repository, running_hub
from undercroft.planning.calibration import Kind, Pair, Quantity
from undercroft.serving.accuracy import Observation, keep
from undercroft.storage.database import Database

PLAN_FIELDS = {
    "verdict",
    "sentence",
    "model",
    "machine",
    "workload",
    "memory",
    "best_quantization",
    "quantizations",
    "largest_context_tokens",
    "most_users",
    "speed",
    "cost",
    "licence",
    "assumptions",
    "notes",
    "explained",
}


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path, "plan")


def longest_line(text: str) -> int:
    return max(len(line.rstrip()) for line in text.splitlines())


def test_a_plan_for_a_device(cellar: Cellar) -> None:
    """The sentence first; then memory, quantizations, speed, reach, cost, licence and notes; looking makes no home."""
    shown = cellar.run("qwen2.5-7b", "--device", "nvidia-l4", "--users", "4").stdout
    first = " ".join(shown.split("\n\n")[0].split())
    assert first.startswith("qwen2.5-7b in Q8_0 fits on NVIDIA L4 with ")
    for words in ("to spare", "tokens/s for one user", "for each of 4 at once", "a month", "Apache License 2.0"):
        assert words in first
    for words in ("kv cache", "Q4_K_M", "prompt", "there is room for", "electricity", "owning", "well-trodden"):
        assert words in shown
    assert longest_line(shown) <= 80
    assert not cellar.home.exists()


@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_is_wider_than_the_terminal(cellar: Cellar, columns: int) -> None:
    """Every term of it, too, and what does not fit ends with 6."""
    cellar.environment["COLUMNS"] = str(columns)
    fitting = cellar.run("llama-3.1-8b", "--device", "rtx 3060 12gb", "--users", "3", "--explain")
    refused = cellar.run("llama-3.1-70b", "--device", "nvidia-jetson-orin-nano-8gb", "--explain", expected=6)
    assert max(longest_line(fitting.stdout), longest_line(refused.stdout)) <= columns
    assert "source:" in fitting.stdout
    assert "are missing" in refused.stdout


def test_fields_of_the_json_are_stable(cellar: Cellar) -> None:
    """Programs find the same names whether it fits or not; what does not exist is null."""
    fits = cellar.json("llama-3.2-3b", "--device", "nvidia-l4", "--users", "2")
    refused = json.loads(cellar.run("llama-3.1-70b", "--device", "apple-m1", "--json", expected=6).stdout)
    assert set(fits) == set(refused) == PLAN_FIELDS
    assert (fits["verdict"], refused["verdict"]) == ("fits", "does not fit")
    assert set(fits["workload"]) == {
        "engine",
        "quantization",
        "context_tokens",
        "users",
        "slots",
        "cache_type",
        "prompt_tokens",
        "answer_tokens",
    }
    assert set(fits["memory"]["pools"][0]["terms"][0]) == {"name", "size_bytes", "is_file", "formula", "source"}
    assert set(fits["speed"]["decode_tokens_per_second"]) == {"value", "low", "high", "source"}
    assert set(fits["cost"]["month"]) == {"purchase", "electricity", "cooling", "work", "parts", "total"}
    assert fits["licence"]["outcome"] == "needs-acceptance"
    assert (refused["speed"], refused["cost"], refused["most_users"]) == (None, None, 0)
    assert refused["memory"]["missing_bytes"] > 20e9


def test_a_file_and_a_registered_model_on_this_machine(cellar: Cellar, tmp_path: Path) -> None:
    """Both are planned as they are stored; a model whose name is a command is reached by its path."""
    path = write_chat_model(tmp_path / "devices", licence="mit")
    own = Cellar(tmp_path)
    by_path = cellar.json(str(path))
    assert by_path["model"]["origin"] == "file"
    assert by_path["machine"]["name"] == "this machine"
    assert by_path["workload"]["quantization"] == by_path["model"]["stored_quantization"]
    assert [choice["quantization"] for choice in by_path["quantizations"]] == [by_path["workload"]["quantization"]]
    own.run("model", "pull", str(path), "--name", "mine")
    registered = cellar.json("mine")
    assert (registered["model"]["origin"], registered["licence"]["licence"]) == ("registry", "mit")
    assert registered["verdict"] == "fits"


def test_a_model_on_a_hub_is_planned_from_its_header(cellar: Cellar, tmp_path: Path) -> None:
    """By quantization, with the licence of its card; its weights are not fetched and no home is made."""
    weights = write_chat_model(tmp_path / "m.gguf", width=256, layers=4).read_bytes()
    repository = Repository({"m-Q8_0.gguf": weights}, large={"m-Q8_0.gguf"}, card={"license": "apache-2.0"})
    with running_hub({"org/public": repository}) as hub:
        cellar.environment["HF_ENDPOINT"] = hub.url
        found = cellar.json("hf://org/public:q8_0", "--device", "nvidia-l4")
        missing = cellar.run("hf://org/nothing", expected=3).stderr
    assert (found["model"]["origin"], found["verdict"]) == ("hub", "fits")
    assert found["licence"]["licence"] == "apache-2.0"
    assert sum(hub.sent_bytes.values()) < len(weights)
    assert "org/nothing" in missing
    assert not cellar.home.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("qwen2.5-70b",), 4, "qwen2.5-72b"),
        (("qwen2.5-7b", "--quant", "Q8_1"), 2, "'Q8_0'"),
        (("qwen2.5-7b", "devices"), 2, "devices"),
        ((), 2, "MODEL"),
    ],
)
def test_a_wrong_call_says_what_was_expected(
    cellar: Cellar, arguments: tuple[str, ...], status: int, words: str
) -> None:
    """One sentence with what is near, the exit status of its kind, and something to do; nothing on stdout."""
    refused = cellar.run(*arguments, expected=status)
    assert words in refused.stderr
    assert "Try: " in refused.stderr
    assert refused.stdout == ""


def test_assumptions_come_from_settings_and_from_the_call(cellar: Cellar) -> None:
    """The option wins over the file; each is shown with unit and source, and the plan is computed with them."""
    cellar.home.mkdir()
    (cellar.home / "config.toml").write_text('[planning]\nkwh_price = 0.5\nyears = 2\ncurrency = "eur"\n')
    listed = {one["name"]: one for one in cellar.json("assumptions", "--assume", "years=3")}
    assert (listed["kwh_price"]["value"], listed["years"]["value"]) == ("0.5", "3")
    assert listed["kwh_price"]["unit"] == "EUR / kWh"
    assert "Uptime Institute" in listed["pue"]["source"]
    dear, usual = (
        cellar.json("qwen2.5-7b", "--device", "nvidia-l4", *more)["cost"]["month"]
        for more in ((), ("--assume", "kwh=0.25"))
    )
    assert dear["electricity"] == pytest.approx(2 * usual["electricity"])
    (cellar.home / "config.toml").write_text("[planning]\nkwh_prize = 0.5\n")
    assert "'planning.kwh_price'" in cellar.run("assumptions", expected=2).stderr


def test_lists_for_people_and_programs(cellar: Cellar) -> None:
    """Devices, models, assumptions and accuracy fit 80 columns; where nothing was measured, that is what is said."""
    for words in (("devices",), ("models",), ("models", "qwen2.5-7b"), ("assumptions",), ("accuracy",)):
        assert longest_line(cellar.run(*words).stdout) <= 80
    assert "undercroft up" in cellar.run("accuracy").stdout
    assert cellar.json("accuracy") == []
    assert {"name", "licence", "official_languages", "sources"} <= set(cellar.json("models")[0])
    assert cellar.json("models", "qwen2.5:7b")["name"] == "qwen2.5-7b"
    assert {one["id"] for one in cellar.json("devices")} >= {"nvidia-l4", "raspberry-pi-5-8gb"}
    assert json.loads(cellar.run("--json", "devices", "l4").stdout)["id"] == "nvidia-l4"


def test_a_need_is_ranked(cellar: Cellar, tmp_path: Path) -> None:
    """The cheapest first within 80 columns, what was assumed, why the others do not; as JSON and as a report, too."""
    need = "users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD"
    report = tmp_path / "need.html"
    shown = cellar.run("--need", need, "--html", str(report)).stdout
    assert longest_line(shown) <= 80
    for words in ("The cheapest that is just right", "is assumed", "why the others do not", "language", "budget"):
        assert words in " ".join(shown.split())
    assert "<html" in report.read_text(encoding="utf-8")
    data = cellar.json("--need", need, "--top", "3")
    prices = [one["price"] for one in data["candidates"]]
    assert len(prices) == 3
    assert prices == sorted(prices)
    assert max(prices) <= 3000
    assert all(one["decode_user_tokens_per_second"] >= 15 for one in data["candidates"])
    refused = {(one["model"], one["device"]) for one in data["rejections"]}
    assert ("bert-base", None) in refused


def test_a_need_that_nothing_satisfies(cellar: Cellar) -> None:
    """Ends with 6 and says what to ask less of; a wrong need ends with 2; every pair has its reason with --all."""
    none = cellar.run("--need", "users=5000,budget=100", "--device", "rtx 4090", "--all", expected=6).stdout
    assert "Ask for less of one" in " ".join(none.split())
    assert "qwen2.5-7b on" in none
    assert "'users'" in cellar.run("--need", "usr=3", expected=2).stderr
    assert "--users" in cellar.run("--need", "users=3", "--users", "4", expected=2).stderr
    assert "--need" in cellar.run("qwen2.5-7b", "--all", expected=2).stderr
    assert "MODEL" in cellar.run("qwen2.5-7b", "--need", "users=3", expected=2).stderr


def test_reports_are_written_beside_what_is_printed(cellar: Cellar, tmp_path: Path) -> None:
    """HTML and SVG where they were asked for; a folder that is not there is said to be that."""
    page, picture = tmp_path / "plan.html", tmp_path / "plan.svg"
    shown = cellar.run("qwen2.5-7b", "--device", "nvidia-l4", "--html", str(page), "--svg", str(picture)).stdout
    assert "qwen2.5-7b" in page.read_text(encoding="utf-8")
    assert picture.read_text(encoding="utf-8").lstrip().startswith(("<svg", "<?xml"))
    assert f"Written: {page}" in shown
    refused = cellar.run("qwen2.5-7b", "--device", "nvidia-l4", "--svg", str(tmp_path / "no" / "p.svg"), expected=2)
    assert "cannot-write" in refused.stderr


def test_accuracy_tells_of_forecasts_that_met_reality(cellar: Cellar) -> None:
    """Errors before and after learning, by engine, model and device, for people and programs."""
    cellar.home.mkdir()
    kind = Kind("llama.cpp", "EPYC", "qwen2", "Q8_0")
    pair = Pair(kind, Quantity.PRIVATE_BYTES, plain=1.2e9, forecast=1.05e9, measured=1e9)
    with Database(cellar.home / "undercroft.db").write() as connection:
        keep(connection, [Observation(pair, True)], deployment="qwen", model_digest=None)
    (found,) = cellar.json("accuracy")
    assert (found["engine"], found["architecture"], found["device"]) == ("llama.cpp", "qwen2", "EPYC")
    assert (found["quantity"], found["pairs"]) == ("private_bytes", 1)
    assert found["median_error_before_ratio"] == pytest.approx(0.2)
    assert found["median_error_after_ratio"] == pytest.approx(0.05)
    shown = cellar.run("accuracy").stdout
    assert "20.0%" in shown
    assert longest_line(shown) <= 80


def test_accuracy_shows_what_a_short_use_has_measured_as_at_least(cellar: Cellar) -> None:
    """Memory below its forecast right after loading is told as a bound, and as nothing that was learnt."""
    cellar.home.mkdir()
    kind = Kind("llama.cpp", "EPYC", "qwen2", "Q8_0")
    pair = Pair(kind, Quantity.PRIVATE_BYTES, plain=1024**3, forecast=1024**3, measured=700 * 1024**2)
    with Database(cellar.home / "undercroft.db").write() as connection:
        keep(connection, [Observation(pair, False)], deployment="qwen", model_digest=None)
    shown = cellar.run("accuracy").stdout
    assert "at least 700.0 MiB" in shown
    assert "1.0 GiB" in shown
    assert longest_line(shown) <= 80
    (found,) = cellar.json("accuracy")
    assert (found["measured_at_least"], found["forecast"]) == (700 * 1024**2, 1024**3)
    assert found["median_error_after_ratio"] is None


def test_help_says_how_to_reach_everything(cellar: Cellar) -> None:
    """Options, commands, exit status, and what to do with a model that is called like a command."""
    shown = " ".join(cellar.run("--help").stdout.split())
    for words in ("MODEL", "--device", "accuracy", "./devices", "6 it does not fit"):
        assert words in shown


def test_a_declared_use_that_the_licence_does_not_cover_is_refused(cellar: Cellar) -> None:
    """After the plan, with status 3, however the use was declared; what nobody declared is only told."""
    words = ("qwen2.5-3b", "--device", "nvidia-l4")
    refused = cellar.run(*words, "--use", "commercial", expected=3)
    assert "does not cover commercial use" in " ".join(refused.stdout.split())
    assert "licence-refuses-use: qwen2.5-3b" in refused.stderr
    assert not cellar.home.exists()
    cellar.environment["UNDERCROFT_REGISTRY__USE"] = "commercial"
    assert "licence-refuses-use" in cellar.run(*words, expected=3).stderr
    del cellar.environment["UNDERCROFT_REGISTRY__USE"]
    assert cellar.run("llama-3.2-1b", "--device", "nvidia-l4").stderr == ""


def test_accepting_lets_a_plan_pass_and_the_journal_keeps_it(cellar: Cellar, tmp_path: Path) -> None:
    """From then on the same use passes by itself, another one does not."""
    words = ("llama-3.2-1b", "--device", "nvidia-l4", "--use")
    assert "licence-not-accepted" in cellar.run(*words, "commercial", expected=3).stderr
    passed = cellar.run(*words, "commercial", "--accept-licence", "--because", "counsel, 12 March").stdout
    assert passed.endswith("undercroft licence show, undercroft journal show\n")
    assert "was accepted for commercial by" in " ".join(cellar.run(*words, "commercial").stdout.split())
    assert "licence-not-accepted" in cellar.run(*words, "personal", expected=3).stderr
    entries = json.loads(Cellar(tmp_path).run("journal", "show", "--json").stdout)
    assert "licence.accept" in json.dumps(entries)
    assert "counsel, 12 March" in json.dumps(entries)


def test_a_licence_is_accepted_even_where_the_plan_does_not_fit(cellar: Cellar, tmp_path: Path) -> None:
    """Accepting is not lost because this device was too small; the plan still ends with 6."""
    words = ("llama-3.3-70b", "--device", "jetson-orin-nano-8gb", "--use", "commercial")
    told = cellar.run(*words, "--accept-licence", expected=6).stdout
    assert "The licence is accepted for this use" in told
    entries = json.loads(Cellar(tmp_path).run("journal", "show", "--json").stdout)
    assert [(entry["action"], entry["subject"]) for entry in entries] == [("licence.accept", "llama3.3")]
