"""``undercroft optimize evaluate`` as it is installed: the starter beside itself, and beside a damaged form of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import undercroft
from tests.support.cellar import Cellar
from tests.support.damaged_models import damage

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
_TICKETS = (
    ("en", "order_status", "Hi, where is my order 5512? It should have come on Monday."),
    ("en", "cancel_order", "Please cancel order 77120394 right away, I clicked buy twice."),
    ("en", "refund_request", "I want my money back for order 8841, please."),
    ("en", "damaged_item", "The lamp of order 9120 arrived broken in two pieces."),
    ("en", "invoice_request", "Could you send me the invoice for order 3318?"),
    ("en", "change_address", "Please send order 4410 to my new address, I have moved."),
    ("th", "order_status", "สินค้าของฉันอยู่ที่ไหน คำสั่งซื้อ 5512"),
    ("th", "cancel_order", "ขอยกเลิกคำสั่งซื้อ 7712 ค่ะ"),
    ("th", "refund_request", "ขอเงินคืนสำหรับคำสั่งซื้อ 8841 ค่ะ"),
)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Tickets whose intent is checked, twice each with other numbers, so that a loss can be shown."""
    lines = [
        {
            "prompt": f"{text} {'!' * extra}",
            "language": language,
            "checks": [{"kind": "exact", "at": "intent", "text": intent}],
            "max_tokens": 64,
        }
        for extra in range(2)
        for language, intent, text in _TICKETS
    ]
    path = tmp_path / "tickets.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return path


def test_the_starter_is_not_worse_than_itself(tmp_path: Path, tasks: Path) -> None:
    """It passes a strict gate, in 80 columns, with figures of both, and the command ends well."""
    gate = tmp_path / "gate.yaml"
    gate.write_text("max_score_loss_percent: 0\nmax_kl: 0.000001\nmin_score: 0.5\n", encoding="utf-8")
    texts = tmp_path / "own.txt"
    texts.write_text("\n\n".join(text * 8 for _, _, text in _TICKETS[:3]), encoding="utf-8")
    command = ("optimize", "evaluate", str(STARTER), "--against", str(STARTER), "--tasks", str(tasks))
    said = Cellar(tmp_path).run(*command, "--texts", str(texts), "--gate", str(gate), "--slots", "1").stdout
    assert said.startswith("ticket-pilot.gguf: It passes its gate: 3 rules.")
    assert max(len(line) for line in said.splitlines()) <= 80
    assert "no difference shown" in said
    assert "worse" not in said
    assert "perplexity" in said


def test_a_damaged_model_is_worse_and_gets_a_card_that_says_so(tmp_path: Path, tasks: Path) -> None:
    """Status 3 and the reason on stderr; JSON on stdout is the card in the folder; nothing of the tickets is in it."""
    damaged = damage(STARTER, tmp_path / "damaged.gguf", strength=80)
    gate = tmp_path / "gate.yaml"
    gate.write_text("gate: {max_score_loss_percent: 1, max_size_bytes: 4000000}\n", encoding="utf-8")
    command = ("optimize", "evaluate", str(damaged), "--against", str(STARTER), "--tasks", str(tasks))
    folder = tmp_path / "card"
    ended = Cellar(tmp_path).run(*command, "--gate", str(gate), "--card", str(folder), "--json", expected=3)
    card = json.loads(ended.stdout)
    assert json.loads(ended.stderr)["error"]["code"] == "gate-not-passed"
    assert card["comparisons"]["whole"]["score"]["verdict"] == "worse"
    assert [finding["state"] for finding in card["gate"]["findings"]] == ["broken", "kept"]
    assert card == json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for name in ("card.json", "card.md", "card.html"):
        assert "clicked buy twice" not in (folder / name).read_text(encoding="utf-8")


def test_suites_want_their_folder_and_their_environment(tmp_path: Path) -> None:
    """What is missing is said at once, with the command that brings it."""
    cellar = Cellar(tmp_path)
    alone = cellar.run("optimize", "evaluate", str(STARTER), "--suite", "arc_easy", expected=2)
    assert "--suite NAME and --suite-data DIR together" in " ".join(alone.stderr.split())
    (tmp_path / "suites").mkdir()
    command = ("optimize", "evaluate", str(STARTER), "--suite", "arc_easy", "--suite-data", str(tmp_path / "suites"))
    absent = cellar.run(*command, expected=6)
    assert "undercroft engine install lm-eval" in absent.stderr
