"""Standard suites by lm-eval, really asked: its figures are those that our engine's own numbers give.

The environment ``lm-eval`` is really installed from the package index: 758 MB, a minute or two.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import undercroft
from tests.support.cellar import Cellar
from tests.support.damaged_models import damage
from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.environments.recipes import find
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading
from undercroft.storage.database import Database

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
_TICKETS = (
    ("Where is my order {0}?", "order_status"),
    ("Please cancel order {0} right away, I clicked buy twice.", "cancel_order"),
    ("I want my money back for order {0}, please.", "refund_request"),
    ("The lamp of order {0} arrived broken in two pieces.", "damaged_item"),
)
_INTENTS = tuple(intent for _, intent in _TICKETS)
_CHOICE = """\
task: intents
dataset_path: acme/tickets
test_split: test
output_type: multiple_choice
doc_to_text: "<|user|>{{ticket}}<|assistant|>"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
"""
_ANSWER = """\
task: answers
dataset_path: json
dataset_kwargs: {data_files: {test: answers.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "<|user|>{{ticket}}<|assistant|>"
doc_to_target: "{{intent}}"
generation_kwargs: {until: [',"urgency"'], max_gen_toks: 32, do_sample: false}
metric_list:
  - metric: exact_match
"""
_BOTH = """\
group: tickets
task: [intents, answers]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
"""


@pytest.fixture(scope="module")
def cellar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellar]:
    """A home with the environment; whatever is in it goes when the last test has ended."""
    if not request.config.getoption("--full"):
        pytest.skip("installs 758 MB; runs with --full")
    cellar = Cellar(tmp_path_factory.mktemp("suites"))
    home = Home(cellar.home)
    home.prepare()
    installing.install(home, Database(home.database_file), find("lm-eval"), actor="cli:test")
    yield cellar
    shutil.rmtree(cellar.home)


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    """A folder with two suites, a group of them, and their data: forty tickets each."""
    folder = tmp_path / "suites"
    (folder / "acme" / "tickets").mkdir(parents=True)
    for name, text in (("intents.yaml", _CHOICE), ("answers.yaml", _ANSWER), ("both.yaml", _BOTH)):
        (folder / name).write_text(text, encoding="utf-8")
    rows = [
        {"ticket": text.format(1000 + number), "label": _INTENTS.index(intent), "choices": choices()}
        for number in range(10)
        for text, intent in _TICKETS
    ]
    lines = "\n".join(map(json.dumps, rows))
    (folder / "acme" / "tickets" / "test.jsonl").write_text(lines, encoding="utf-8")
    answers = [{"ticket": row["ticket"], "intent": row["choices"][row["label"]].removesuffix(",")} for row in rows]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
    return folder


def choices() -> list[str]:
    """How an answer of the starter begins, for each intent."""
    return [f'{{"language":"en","intent":"{intent}",' for intent in _INTENTS]


def judged_by_hand(model: Path, folder: Path) -> float:
    """Share of the tickets whose right choice is the likeliest, from the engine's own numbers."""
    rows = [json.loads(line) for line in (folder / "acme" / "tickets" / "test.jsonl").read_text().splitlines()]
    texts = [choice for row in rows for choice in row["choices"]]
    contexts = [f"<|user|>{row['ticket']}<|assistant|>" for row in rows for _ in row["choices"]]
    read = token_log_probabilities(model, texts, Reading(512, has_marks=True, threads=1), contexts=contexts)
    sums = [float(one.log_probabilities.sum()) for one in read]
    groups = [sums[first : first + len(_INTENTS)] for first in range(0, len(sums), len(_INTENTS))]
    right = [group.index(max(group)) == row["label"] for group, row in zip(groups, rows, strict=True)]
    return sum(right) / len(right)


def evaluated(cellar: Cellar, suites: Path, *more: str, expected: int = 0) -> Any:
    command = ("optimize", "evaluate", *more, "--suite-data", str(suites), "--threads", "1", "--json")
    ended = cellar.run(*command, expected=expected)
    return json.loads(ended.stdout or ended.stderr)


@pytest.mark.timeout(1200)
def test_its_figures_are_those_of_our_engine(cellar: Cellar, suites: Path, tmp_path: Path) -> None:
    """A model and its damaged form, by a group of suites: right shares, a paired test, and a gate that shuts."""
    damaged = damage(STARTER, tmp_path / "damaged.gguf", strength=80)
    gate = tmp_path / "gate.yaml"
    gate.write_text("suites: {intents: {metric: acc, max_loss_percent: 1}}", encoding="utf-8")
    asked = (str(damaged), "--against", str(STARTER), "--suite", "tickets", "--gate", str(gate))
    card = evaluated(cellar, suites, *asked, expected=3)
    rows = {(row["suite"], row["metric"]): row for row in card["suites"]}
    assert rows["intents", "acc"]["candidate"]["value"] == pytest.approx(judged_by_hand(damaged, suites))
    assert rows["intents", "acc"]["parent"]["value"] == pytest.approx(judged_by_hand(STARTER, suites))
    assert rows["answers", "exact_match"]["parent"]["value"] > rows["answers", "exact_match"]["candidate"]["value"]
    assert rows["tickets", "acc"]["parent"]["value"] == pytest.approx(rows["intents", "acc"]["parent"]["value"])
    assert rows["intents", "acc"]["candidate"]["count"] == 40
    assert rows["intents", "acc"]["comparison"]["verdict"] == "worse"
    assert [finding["state"] for finding in card["gate"]["findings"]] == ["broken"]


@pytest.mark.timeout(1200)
def test_what_is_not_at_hand_is_refused(cellar: Cellar, suites: Path) -> None:
    """A suite that nobody knows with the nearest name, one of lm-eval's with the place where its data is missed."""
    unknown = evaluated(cellar, suites, str(STARTER), "--suite", "intens", expected=2)
    assert unknown["error"]["code"] == "no-such-suite"
    assert "intents" in unknown["error"]["hint"]
    absent = evaluated(cellar, suites, str(STARTER), "--suite", "arc_easy", expected=2)
    assert absent["error"]["code"] == "data-not-at-hand"
    assert str(suites / "allenai" / "ai2_arc") in absent["error"]["message"]


@pytest.mark.timeout(1200)
def test_a_recipe_is_judged_by_suites(cellar: Cellar, suites: Path, tmp_path: Path) -> None:
    """A rule for a suite that is not asked is refused at once; what passes has the suites in its lineage."""
    cellar.run("model", "pull", str(STARTER), "--name", "pilot")
    recipe = tmp_path / "recipe.yaml"
    text = (
        "from: pilot\nto: pilot-q6\nsteps:\n  - quantize: {scheme: Q6_K, allow_requantize: true}\n"
        "evaluation:\n  suites: {folder: suites, names: [intents], most_items: 12}\n"
        "gate:\n  undecided: pass\n  suites: {WHICH: {min_value: 0.5, max_loss_percent: 50}}\n"
    )
    recipe.write_text(text.replace("WHICH", "answers"), encoding="utf-8")
    refused = cellar.run("optimize", "run", str(recipe), expected=2)
    assert "rules for suite 'answers'" in " ".join(refused.stderr.split())
    recipe.write_text(text.replace("WHICH", "intents"), encoding="utf-8")
    cellar.run("optimize", "run", str(recipe))
    card = cellar.json("model", "show", "pilot-q6")["lineage"]["card"]
    assert [row["candidate"]["count"] for row in card["suites"]] == [12, 12]
    assert card["circumstances"]["suites"]["digest"].startswith("sha256:")
    assert card["gate"]["has_passed"]
