"""A search as a job, with the real engine on a tiny model: the pick with its proof, and nothing measured twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.core.settings import EngineSettings
from undercroft.optimize.jobs import asking, store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import run_job
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.rightsize_step import RightsizeStep
from undercroft.optimize.rightsizing.candidates import Why
from undercroft.optimize.rightsizing.report import SCHEMA
from undercroft.optimize.rightsizing.variants import Variant, make_variants, with_variants
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry import models
from undercroft.storage.database import Database

ANYTHING = {"kind": "regex", "pattern": "(?s).*"}
NOTHING = {"kind": "exact", "text": "what no random model would say"}


@pytest.fixture
def source(database: Database, home: Home, tmp_path: Path) -> models.Model:
    """A registered model in F32."""
    file = write_chat_model(tmp_path / "tiny.gguf", width=256, layers=1, licence="apache-2.0")
    return models.add_local(database, home, file, actor="cli:anna")


def tasks(folder: Path, count: int, check: dict[str, Any]) -> Path:
    """A file of questions that are all judged alike."""
    lines = [json.dumps({"prompt": f"question {n}", "checks": [check], "max_tokens": 3}) for n in range(count)]
    path = folder / "tasks.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def prepared(database: Database, home: Home, evaluation: dict[str, Path], **settings: Any) -> Prepared:
    given = {"max_quality_loss_percent": 25.0, "context_tokens": 128, "schemes": ["Q8_0", "Q4_0"], **settings}
    recipe = {"from": "tiny", "to": "right", "steps": [{"rightsize": given}], "evaluation": evaluation}
    return asking.look_at(home, database, make_recipe(recipe))


def claimed(database: Database, wanted: Prepared) -> Job:
    process = identify(os.getpid())
    assert process is not None
    with database.write() as connection:
        store.add(
            connection,
            kind="rightsize",
            recipe=wanted.recipe.to_dict(),
            parents=[Parent(one.model.name, one.model.digest) for one in wanted.sources],
            result="right",
            actor="cli:anna",
            reason=None,
        )
        job = store.claim(connection, process)
    assert job is not None
    return job


class Stopped(BaseException):
    """As a signal would."""


def stopping(note: str) -> Callable[[Progress], None]:
    """Ends the step where it says that it does something."""

    def report(progress: Progress) -> None:
        if progress.note == note:
            raise Stopped

    return report


def test_the_pick_is_registered_with_its_proof(
    database: Database, home: Home, source: models.Model, tmp_path: Path
) -> None:
    """The smaller scheme, for any answer is right; its card and its report are there, and the lineage has the proof.
    What was measured before a stop is not measured again."""
    wanted = prepared(database, home, {"tasks": tasks(tmp_path, 12, ANYTHING)}, min_tokens_per_second=0.01)
    job = claimed(database, wanted)
    folder = JobFolder(home, job.id)
    folder.prepare()
    unfinished = folder.unfinished_step(0)
    unfinished.mkdir()
    with pytest.raises(Stopped):
        wanted.steps[0].step.run(Workspace(wanted.sources[0].path, unfinished, 0, 1), stopping("making Q4_0"))
    measured = (unfinished / "measured" / "_parent.json").read_bytes()
    run_job(home, database, job, tell=lambda line: None)
    assert (folder.step(0) / "measured" / "_parent.json").read_bytes() == measured
    with database.read() as connection:
        made = models.get(connection, "right")
        assert [model.name for model in models.list_models(connection)] == ["right", "tiny"]
    (step,) = made.lineage["steps"]
    assert (made.facts.quantization, step["kind"], step["found"]["pick"]) == ("Q4_0", "rightsize", "Q4_0")
    assert step["found"]["loss_percent"]["value"] == 0.0
    assert "Q4_0" in step["found"]["front"]
    assert made.lineage["card"]["candidate"]["figures"]["score"]["value"] == 1.0
    assert folder.card_page.exists()
    report = json.loads((folder.report / "search.json").read_text(encoding="utf-8"))
    assert (report["schema"], report["pick"], report["asked"]["judged_by"]) == (SCHEMA, "Q4_0", "tasks")
    small, large = report["candidates"]
    assert (small["looked"], small["is_on_front"], small["digest"]) == (12, True, made.files[0].digest)
    assert small["tokens_per_second"] > 0
    assert small["memory_bytes"] > small["size_bytes"]
    assert (large["looked"], large["outcome"]) == (0, "not made, larger")
    page = (folder.report / "search.html").read_text(encoding="utf-8")
    assert "the pick" in page
    assert "<svg" in page
    assert "Q4_0" in (folder.report / "search.svg").read_text(encoding="utf-8")
    markdown = (folder.report / "search.md").read_text(encoding="utf-8")
    assert markdown.startswith("# The right size of tiny\n")


@dataclass(frozen=True)
class Gives:
    """A step that gives a model that is there already, or refuses."""

    file: Path | None

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Copies it."""
        if self.file is None:
            raise RefusedError("too-much", "it would be cut to pieces")
        shutil.copy(self.file, work.result)


def test_what_other_steps_make_is_tried_in_every_scheme(
    database: Database, home: Home, source: models.Model, tmp_path: Path
) -> None:
    """A variant is made once and is a candidate by itself, too; all stand by their sizes. One that cannot be made is
    left out with its reason, and no later run makes either again."""
    step = prepared(database, home, {"tasks": tasks(tmp_path, 12, ANYTHING)}).steps[0].step
    assert isinstance(step, RightsizeStep)
    small = write_chat_model(tmp_path / "small.gguf", width=128, layers=1)
    variants = [Variant("less", (Gives(small), Gives(small))), Variant("none", (Gives(None),))]
    work, folder = Workspace(step.order.parent.path, tmp_path, 0, 1), tmp_path / "variants"
    for _ in range(2):
        make_variants(variants, work, folder, lambda progress: None)
        variants = [Variant(variant.name, (Gives(None),)) for variant in variants]
    order = with_variants(step.order, variants, folder, ["Q8_0", "Q4_0"])
    names = [candidate.name for candidate, _ in order.candidates]
    sizes = [candidate.size_bytes for candidate, _ in order.candidates]
    assert set(names) == {"less-Q4_0", "less-Q8_0", "less", "Q4_0", "Q8_0"}
    assert (names[0], sizes) == ("less-Q4_0", sorted(sizes))
    assert order.variants == {"less": folder / "less" / "model.gguf"}
    assert ("none", Why.CANNOT_BE_MADE, "it would be cut to pieces") in [
        (out.name, out.why, out.sentence) for out, _ in order.left_out
    ]


def test_where_nothing_holds_it_says_what_came_nearest(
    database: Database, home: Home, source: models.Model, tmp_path: Path
) -> None:
    """No model gets a name; the report is kept, and the hint names what would have to be given up."""
    wanted = prepared(
        database,
        home,
        {"tasks": tasks(tmp_path, 12, ANYTHING)},
        schemes=["Q8_0"],
        fit="here",
        min_tokens_per_second=1.0,
    )
    job = claimed(database, wanted)
    folder = JobFolder(home, job.id)
    step = wanted.steps[0].step
    assert isinstance(step, RightsizeStep)
    wish = replace(step.order.wish, least_tokens_per_second=1e9)
    step = RightsizeStep(replace(step.order, wish=wish), EngineSettings(), None)
    folder.prepare()
    with pytest.raises(
        RefusedError, match=r"Q8_0 keeps the quality and not the rest: .* tokens/s, .* wanted"
    ) as caught:
        step.run(Workspace(wanted.sources[0].path, folder.work, 0, 1), lambda progress: None)
    assert "--min-tps" in str(caught.value.hint)
    assert (folder.work / "report" / "search.html").exists()


def test_a_parent_that_passes_nothing_has_nothing_to_lose(
    database: Database, home: Home, source: models.Model, tmp_path: Path
) -> None:
    """Any model would do as well, which is no proof of anything."""
    wanted = prepared(database, home, {"tasks": tasks(tmp_path, 12, NOTHING)})
    with pytest.raises(RefusedError, match="model 'tiny' passes none of its 12 tasks"):
        wanted.steps[0].step.run(Workspace(wanted.sources[0].path, tmp_path, 0, 1), lambda progress: None)


def test_what_is_refused_before_it_begins(database: Database, home: Home, source: models.Model, tmp_path: Path) -> None:
    """Too few tasks, a machine that nobody knows, one that is too small, a speed that nothing has."""
    questions = {"tasks": tasks(tmp_path, 12, ANYTHING)}
    with pytest.raises(InvalidError, match="too-few-tasks: 12 tasks cannot show a loss of at most 1 point"):
        prepared(database, home, questions, max_quality_loss_percent=1.0)
    with pytest.raises(NotFoundError, match="no device 'edge-9gb'"):
        prepared(database, home, questions, fit="edge-9gb")
    with pytest.raises(RefusedError, match=r"no size of model 'tiny' fits this machine with 1\.0 MiB: Q4_0 comes near"):
        prepared(database, home, questions, fit="1MB")
    with pytest.raises(RefusedError, match="no size of model 'tiny' is fast enough on Edge computer with 8 GB: "):
        prepared(database, home, questions, fit="edge-8gb", min_tokens_per_second=1e9)
    with pytest.raises(RefusedError, match="nothing-to-make: there is nothing smaller to make of model 'tiny'"):
        prepared(database, home, questions, schemes=["F32"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"max_quality_loss_percent": 0}, r"max_quality_loss_percent: expected more than 0"),
        ({"min_tps": 10}, r"steps\[1\].rightsize.min_tps: there is no such field"),
        ({"schemes": ["Q4_M"]}, r"nearest is 'Q4_K_M'"),
    ],
)
def test_a_wrong_recipe_is_refused(
    database: Database, home: Home, source: models.Model, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    """With the place and the nearest right word."""
    with pytest.raises(InvalidError, match=problem):
        prepared(database, home, {"tasks": tasks(tmp_path, 12, ANYTHING)}, **change)


def test_a_search_stands_alone_and_is_judged(tmp_path: Path) -> None:
    """Other steps beside it are what it tries by itself; without tasks and texts there is nothing to hold."""
    search: dict[str, Any] = {"rightsize": {"max_quality_loss_percent": 1.0}}
    questions = {"tasks": tasks(tmp_path, 12, ANYTHING)}
    with pytest.raises(InvalidError, match="expected a step that rightsizes to be the only one"):
        make_recipe(
            {"from": "a", "to": "b", "steps": [search, {"quantize": {"scheme": "Q4_0"}}], "evaluation": questions}
        )
    with pytest.raises(InvalidError, match="expected evaluation beside it"):
        make_recipe({"from": "a", "to": "b", "steps": [search]})
    search["rightsize"]["variants"] = [{"name": "less", "steps": [{"quantize": {"scheme": "Q4_0"}}]}]
    with pytest.raises(InvalidError, match="expected steps that change the network, quantize is the search's own"):
        make_recipe({"from": "a", "to": "b", "steps": [search], "evaluation": questions})
    search["rightsize"]["variants"][0]["steps"] = [{"prune": {"depth": 1, "texts": tmp_path / "none.txt"}}]
    with pytest.raises(InvalidError, match=r"variants\[1\].steps\[1\].prune.texts: there is no file"):
        make_recipe({"from": "a", "to": "b", "steps": [search], "evaluation": questions})
