"""What pruning would make and take, what it leaves behind, and what is refused before it begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.ggufs import write_embedding_model
from tests.support.prunable import write_prunable
from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.cli.lineage_text import proofs
from undercroft.cli.optimize_prune import shares_of
from undercroft.core.errors import ConflictError, InvalidError, RefusedError
from undercroft.core.home import Home
from undercroft.optimize.evaluation.texts import Text
from undercroft.optimize.jobs import asking
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.pruning.changes import Changes
from undercroft.optimize.pruning.measuring import check_computes, some_of, split_texts
from undercroft.optimize.pruning.pruning import prune_file
from undercroft.optimize.pruning.shapes import shape_of
from undercroft.optimize.recipes import load_recipe, make_recipe
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry import models
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.storage.database import Database


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Six texts, of which one is kept apart."""
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": BIRDS[n * 60 : n * 60 + 90]}) for n in range(6)), encoding="utf-8")
    return path


@pytest.fixture
def model(database: Database, home: Home, tmp_path: Path) -> Path:
    """The file of a registered model whose third block does nothing."""
    made = write_prunable(tmp_path / "tiny.gguf", silent_block=2)
    models.add_local(database, home, made, actor="cli:anna")
    return made


def prepared(database: Database, home: Home, texts: Path, *, source: str = "tiny", **settings: object) -> Prepared:
    step = {"prune": {"texts": texts, **settings}}
    return asking.look_at(home, database, make_recipe({"from": source, "to": "new", "steps": [step]}))


def test_it_makes_what_was_forecast_and_says_what_it_cost(
    database: Database, home: Home, model: Path, texts: Path, tmp_path: Path
) -> None:
    """The file has the size that was said; the block that does nothing goes, and quality and speed are measured."""
    found = prepared(database, home, texts, depth=1)
    work = Workspace(model, tmp_path / "work", seed=0, threads=1)
    work.folder.mkdir()
    notes: list[str] = []

    def listen(progress: Progress) -> None:
        if progress.note not in notes:
            notes.append(progress.note)

    found.steps[0].step.run(work, listen)
    assert work.result.stat().st_size == found.forecast.result_bytes
    assert notes == ["trying blocks, round 1 of 1", "writing", "reading texts with both", "timing both"]
    told = json.loads(work.findings.read_text())
    assert [block["block"] for block in told["dropped_blocks"]] == [2]
    assert told["difference_from_the_source_without_it_nats"] == told["quality"]["divergence_nats"] == 0
    assert told["quality"]["is_held_out"]
    assert told["speed"]["before"]["written_tokens_per_second"] > 0
    lineage = {"kind": "job", "recipe": {}, "steps": [{"found": told}]}
    quality, speed = proofs(lineage)
    assert "after; divergence 0 nats a token; the same likeliest token at 100.0 % of" in quality
    assert "tokens of texts.jsonl, kept apart" in quality
    assert speed.startswith("writes ")
    assert " in 5 rounds, in turns); medians " in speed


def test_what_would_change_nothing_or_garble_is_refused(
    database: Database, home: Home, model: Path, texts: Path, tmp_path: Path
) -> None:
    """All blocks, all channels, another kind of network, a quantized one without leave, other texts than were meant."""
    for settings, what in (
        ({"depth": 4}, "has 4 blocks, of which 4 cannot be dropped"),
        ({"depth": 9}, "has 4 blocks, of which 9 cannot be dropped"),
        ({"width": {"ffn": 0.999}}, "are all of them"),
        ({"width": {"heads": 0.9}}, "are all of them"),
    ):
        with pytest.raises(InvalidError, match=what):
            prepared(database, home, texts, **settings)
    models.add_local(database, home, write_embedding_model(tmp_path / "encoder.gguf"), actor="cli:anna")
    with pytest.raises(InvalidError, match="expected one of llama, qwen2, qwen3"):
        prepared(database, home, texts, source="encoder", depth=1)
    rounded = write_prunable(tmp_path / "rounded.gguf", kind="Q8_0")
    models.add_local(database, home, rounded, actor="cli:anna")
    assert prepared(database, home, texts, source="rounded", depth=1).forecast.result_bytes < rounded.stat().st_size
    with pytest.raises(RefusedError, match="is rounded to Q8_0 already"):
        prepared(database, home, texts, source="rounded", width={"ffn": 0.5})
    assert prepared(database, home, texts, source="rounded", width={"ffn": 0.5}, allow_requantize=True)
    with pytest.raises(ConflictError, match="texts-changed"):
        prepared(database, home, texts, depth=1, texts_digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([{"depth": 1}, {"depth": 3}], "has 3 blocks left, of which 3 cannot be dropped"),
        ([{"depth": 2}, {"depth": 1}, {"depth": 1}], "has 1 blocks left, of which 1 cannot be dropped"),
        ([{"width": {"heads": 0.5}}, {"width": {"heads": 0.5}}], "0.5 of 1 key/value heads are all of them"),
        ([{"depth": 3}, {"width": {"ffn": 0.999}}], "are all of them"),
    ],
)
def test_what_earlier_steps_leave_too_little_for_is_refused_before_any_begins(
    database: Database, home: Home, model: Path, texts: Path, steps: list[dict[str, object]], what: str
) -> None:
    """Two steps that are possible each, and not one after the other."""
    entries = [{"prune": {"texts": texts, **settings}} for settings in steps]
    with pytest.raises(InvalidError, match=what):
        asking.look_at(home, database, make_recipe({"from": "tiny", "to": "new", "steps": entries}))
    assert asking.look_at(home, database, make_recipe({"from": "tiny", "to": "new", "steps": entries[:1]}))


def test_a_recipe_says_what_is_wrong_with_it(texts: Path, tmp_path: Path) -> None:
    """Each mistake with its line and what was expected; zeros are never put in without a repair."""
    recipe = tmp_path / "recipe.yaml"
    for settings, what in (
        ("{texts: texts.jsonl}", "expected one of depth, width and sparsity"),
        ("{texts: texts.jsonl, depth: 1, width: {ffn: 0.5}}", "got depth and width; give each a step of its own"),
        ("{texts: texts.jsonl, width: {}}", "expected ffn: SHARE, heads: SHARE or both"),
        ("{texts: texts.jsonl, depht: 1}", "nearest is 'depth'"),
        ("{texts: gone.txt, depth: 1}", "there is no file"),
        ("{texts: texts.jsonl, sparsity: 3:4}", "expected 2:4, or a share between 0 and 1 such as 0.5"),
        ("{texts: texts.jsonl, sparsity: true}", "expected 2:4, or a share between 0 and 1"),
        ("{texts: texts.jsonl, sparsity: 2:4}", "expected a step that distills right after it (--repair)"),
        ("{texts: texts.jsonl, sparsity: 0.5}", "expected a step that distills right after it (--repair)"),
    ):
        recipe.write_text(f"from: tiny\nto: new\nsteps:\n  - prune: {settings}\n", encoding="utf-8")
        with pytest.raises(InvalidError) as refused:
            load_recipe(recipe)
        assert what in str(refused.value)


def test_shares_are_read_as_people_write_them() -> None:
    """``ffn=0.75,heads=0.5``; what is no number says how it is written."""
    assert shares_of("ffn=0.75, heads=.5") == {"ffn": 0.75, "heads": 0.5}
    with pytest.raises(InvalidError, match="got 'half'"):
        shares_of("half")


def test_a_file_that_is_another_model_is_found_out(tmp_path: Path) -> None:
    """One from which another block was dropped than was meant loads and answers, and is refused."""
    model, made = write_prunable(tmp_path / "model.gguf"), tmp_path / "made.gguf"
    shape = shape_of(read_gguf(model, "model", with_tokens=False))
    prune_file(model, made, Changes(dropped=frozenset({1})), report=lambda done, total: None)
    meant = Changes(dropped=frozenset({2}))
    with pytest.raises(InvalidError, match="pruned-wrongly: the pruned file differs by"):
        check_computes(made, model, meant, shape, [BIRDS[:300]], is_opened=False, threads=1)


def test_texts_are_kept_apart_where_there_are_enough() -> None:
    """Every fifth; fewer than five are chosen and measured by alike. Of many, some are read, spread evenly."""
    five = [Text(str(number), None, f"text {number}") for number in range(5)]
    assert split_texts(five) == (["text 0", "text 1", "text 2", "text 3"], ["text 4"])
    assert split_texts(five[:2]) == (["text 0", "text 1"], ["text 0", "text 1"])
    assert some_of(["abc"] * 10, 15) == ["abc"] * 5
    assert some_of(["abcdef", "ghi"], 4) == ["abcd"]
    assert some_of(["abc", "d"], 100) == ["abc", "d"]
