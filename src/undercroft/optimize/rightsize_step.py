"""The step that rightsizes: what it would try and take, and the doing of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import RefusedError
from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.optimize.cards.card import Card, Point, make_card
from undercroft.optimize.cards.measuring import Wanted, circumstances
from undercroft.optimize.evaluation.evaluating import common_context
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.gate_rules import GateRules
from undercroft.optimize.evaluation.records import Run, Subject
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.judging import PreparedEvaluation
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.quantization.source import Source as OpenFile
from undercroft.optimize.quantize_step import read_matrix, read_texts
from undercroft.optimize.recipes import Rightsize, StepEntry
from undercroft.optimize.rightsizing.advice import check_count, nothing_holds, nothing_worth_making
from undercroft.optimize.rightsizing.candidates import Candidate, LeftOut, Why, any_matrix, plan_candidates
from undercroft.optimize.rightsizing.machines import FitMachine, find_machine
from undercroft.optimize.rightsizing.order import SearchOrder, divided, shuffled
from undercroft.optimize.rightsizing.outcome import Outcome
from undercroft.optimize.rightsizing.outlook import Outlook, Wish, hopeful
from undercroft.optimize.rightsizing.report import report_dict, report_files
from undercroft.optimize.rightsizing.search import Search
from undercroft.optimize.rightsizing.variants import Variant, make_variants, with_variants
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import REPORT, Progress, Workspace
from undercroft.planning.forecasts import Workload
from undercroft.registry.shapes_gguf import shape_of_gguf

_PICK_FILE, _VARIANTS = "pick.json", "variants"
_ENGINE_BYTES = 512 * 1024**2  # what two engines take beside their weights: cache, buffers, programs
_REPORT_BYTES = 16 * 1024**2  # the report, and what was measured of each candidate
_UNITS = 1000  # of progress


class RightsizeStep:
    """A search, and the file of its pick.

    Args:
        order: The search; ``setup`` gets its threads when it runs.
        settings: Which engine.
        rules: Of the gate that judges the pick; None has none.
        variants: Further models to make everything of.
        schemes: To try of those.
    """

    def __init__(
        self,
        order: SearchOrder,
        settings: EngineSettings,
        rules: GateRules | None,
        variants: tuple[Variant, ...] = (),
        schemes: Sequence[str] = tuple(SCHEMES),
    ) -> None:
        self._order, self._settings, self._rules = order, settings, rules
        self._variants, self._schemes = variants, schemes

    @property
    def order(self) -> SearchOrder:
        """The search: what would be tried, and what not."""
        return self._order

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says, and leaves a report, whatever comes of it.

        Raises:
            RefusedError: ``nothing-holds`` or ``nothing-to-lose``.
        """
        make_variants(self._variants, work, work.folder / _VARIANTS, report)
        order = self._whole(work.folder, work.threads)
        if not order.candidates:
            raise nothing_worth_making(order.parent.subject.name, order.left_out, order.wish)
        search = Search(
            order,
            work.folder,
            self._settings,
            work.threads,
            lambda share, note: report(Progress(share * _UNITS, _UNITS, "thousandths", note)),
        )
        outcome = search.run()
        self._write_report(work.folder / REPORT, outcome)
        if outcome.pick is None:
            raise nothing_holds(outcome)
        write_atomically(work.folder / _PICK_FILE, json.dumps({"pick": outcome.pick}).encode())
        work.findings.write_text(json.dumps(_found(outcome)), encoding="utf-8")
        search.made(outcome.pick).rename(work.result)

    def card(self, folder: Path, name: str, threads: int) -> Card:
        """The quality card of the pick, of what the search has measured.

        Args:
            folder: Of the finished step.
            name: That the model gets.
            threads: Processors that measured; count.
        """
        order = self._whole(folder, threads)
        search = Search(order, folder, self._settings, threads, lambda share, note: None)
        pick = json.loads((folder / _PICK_FILE).read_bytes())["pick"]
        outcome = search.outcome(pick)
        picked = outcome.picked
        assert picked is not None
        assert picked.kept is not None  # the step has ended well
        run = picked.kept.run
        subject = replace(run.subject, name=name)
        parent = outcome.parent.run
        if len(parent.texts) != len(run.texts):
            parent, run = replace(parent, texts=()), replace(run, texts=())
        return make_card(
            replace(run, subject=subject),
            replace(parent, subject=order.parent.subject),
            self._rules,
            circumstances(order.tasks, order.texts, search.asking),
            _points(outcome),
        )

    def _whole(self, folder: Path, threads: int) -> SearchOrder:
        """The search with what is made of variants."""
        order = replace(self._order, setup=replace(self._order.setup, threads=threads))
        return with_variants(order, self._variants, folder / _VARIANTS, self._schemes)

    def _write_report(self, folder: Path, outcome: Outcome) -> None:
        folder.mkdir(exist_ok=True)
        made_at = to_iso(utc_now())
        data = json.dumps(report_dict(outcome, made_at), indent=1, ensure_ascii=False) + "\n"
        for name, content in report_files(outcome, made_at, data).items():
            write_atomically(folder / name, content.encode("utf-8"), mode=0o644)


def prepare_rightsize(
    settings: Rightsize,
    source: Source,
    evaluation: PreparedEvaluation,
    home: Home,
    connection: Connection,
    engines: EngineSettings,
    *,
    seed: int,
    prepare_steps: Callable[[Sequence[StepEntry]], Sequence[PreparedStep]],
) -> PreparedStep:
    """Looks what could be made of a model, which of it is worth making, and what the search takes.

    Args:
        settings: What the recipe says.
        source: The model.
        evaluation: What it is judged by.
        home: Whose devices complete the catalogue.
        connection: To its database.
        engines: Which engine.
        seed: Of the order of tasks.
        prepare_steps: Holds the steps of a variant against the model.

    Raises:
        InvalidError: ``too-few-tasks``; a size is none.
        NotFoundError: ``no-such-device``.
        RefusedError: ``nothing-fits``, ``nothing-to-make``.
    """
    tasks, texts = evaluation.wanted.tasks, evaluation.wanted.texts
    if tasks is not None:
        check_count(len(tasks.tasks), settings.max_quality_loss_percent)
    calibration, dataset = _calibration(settings, evaluation)
    if texts is not None:
        texts = divided(texts, has_own_calibration=settings.importance is not None)[1]
    parent = _found_source(source)
    context = common_context([parent], settings.context_tokens or 0, engines.context_tokens)
    machine = find_machine(settings.fit, home, connection, has_gpu_engine=engines.llama_server is not None)
    wish = Wish(machine, _workload(settings, context, machine, engines), settings.min_tokens_per_second)
    matrix = _collected_before(settings)
    kept, out = _worth_making(settings, source, wish, matrix, dataset if calibration else None)
    variants = {variant.name: prepare_steps(variant.steps) for variant in settings.variants}
    if not kept and not variants:
        raise nothing_worth_making(source.model.name, out, wish)
    order = SearchOrder(
        parent=parent,
        candidates=tuple(kept),
        left_out=tuple(out),
        wish=wish,
        percent=settings.max_quality_loss_percent,
        tasks=shuffled(tasks, seed) if tasks is not None else None,
        texts=texts,
        calibration=calibration,
        dataset=dataset,
        setup=Setup(
            context_tokens=context,
            slots=max(settings.users, Wanted().slots),
            start_timeout_seconds=engines.start_timeout_seconds,
        ),
        seed=seed,
        allow_requantize=settings.allow_requantize,
        measures_all=settings.measure_all,
        matrix=matrix,
    )
    return _prepared(settings, order, engines, evaluation.wanted.rules, variants)


def _prepared(
    settings: Rightsize,
    order: SearchOrder,
    engines: EngineSettings,
    rules: GateRules | None,
    variants: Mapping[str, Sequence[PreparedStep]],
) -> PreparedStep:
    """The search with what it takes."""
    of_variants = [step for steps in variants.values() for step in steps]
    largest = max([candidate.size_bytes for candidate, _ in order.candidates], default=order.parent.subject.size_bytes)
    step = RightsizeStep(
        order,
        engines,
        rules,
        tuple(Variant(name, tuple(one.step for one in steps)) for name, steps in variants.items()),
        tuple(settings.schemes or SCHEMES),
    )
    return PreparedStep(
        kind="rightsize",
        step=step,
        forecast=Forecast(
            result_bytes=largest,
            disk_bytes=2 * largest + _REPORT_BYTES + sum(one.forecast.disk_bytes for one in of_variants),
            memory_bytes=max(
                order.parent.subject.size_bytes + largest + _ENGINE_BYTES,
                *(one.forecast.memory_bytes for one in of_variants),
                0,
            ),
        ),
        told={
            **_told(settings, order),
            "variants": {name: [{"kind": one.kind, **one.told} for one in made] for name, made in variants.items()},
        },
        libraries=tuple({"numpy", "xllamacpp", *(library for one in of_variants for library in one.libraries)}),
        warning=" ".join(one.warning for one in of_variants if one.warning),
        is_reproducible=False,  # speeds, and with an importance matrix sums, are of this machine and moment
        is_continued=True,
        card=step.card,
    )


def _worth_making(
    settings: Rightsize, source: Source, wish: Wish, matrix: ImportanceMatrix | None, dataset: str | None
) -> tuple[list[tuple[Candidate, Outlook]], list[tuple[LeftOut, Outlook | None]]]:
    """Candidates with their forecasts, and what is not made."""
    with OpenFile(source.path) as opened:
        candidates, left = plan_candidates(
            opened,
            source.model.size_bytes,
            settings.schemes or SCHEMES,
            any_matrix(opened, dataset) if dataset is not None else matrix,
            allow_requantize=settings.allow_requantize,
        )
    if not candidates and not settings.variants and any(one.why is Why.ROUNDED_ALREADY for one in left):
        raise RefusedError(
            "requantizing",
            f"model {source.model.name!r} is rounded to {source.model.facts.quantization} already; whatever is made of "
            "it is rounded twice, which loses more than rounding once",
            hint="take the model in F16, BF16 or F32; or say that it is meant: --allow-requantize, in a recipe "
            "allow_requantize: true",
        )
    kept, out = hopeful(shape_of_gguf([source.header]), candidates, wish)
    return kept, [*((one, None) for one in left), *out]


def _workload(settings: Rightsize, context: int, machine: FitMachine, engines: EngineSettings) -> Workload:
    usual = Workload()
    prompt = min(usual.prompt_tokens, max(1, context * 2 // 3))
    has_no_cards = machine.is_here and engines.llama_server is None
    return Workload(
        context_tokens=context,
        slots=settings.users,
        gpu_layers=0 if has_no_cards else -1,
        prompt_tokens=prompt,
        answer_tokens=min(usual.answer_tokens, context - prompt),
    )


def _calibration(settings: Rightsize, evaluation: PreparedEvaluation) -> tuple[tuple[str, ...], str]:
    """Texts of the importance matrix, and their name."""
    importance = settings.importance
    if importance is not None:
        return ((read_texts(importance),), importance.texts.name) if importance.texts is not None else ((), "")
    texts = evaluation.wanted.texts
    return ((), "") if texts is None else (divided(texts, has_own_calibration=False)[0], texts.name)


def _collected_before(settings: Rightsize) -> ImportanceMatrix | None:
    importance = settings.importance
    return read_matrix(importance) if importance is not None and importance.file is not None else None


def _found_source(source: Source) -> Found:
    model = source.model
    subject = Subject(model.name, model.digest, model.size_bytes, model.facts.quantization, model.facts.parameters)
    return Found(subject, source.path, model.facts.context_tokens, model.facts)


def _told(settings: Rightsize, order: SearchOrder) -> dict[str, Any]:
    """For the lineage."""
    return {
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "machine": order.wish.machine.name,
        "candidates": [candidate.name for candidate, _ in order.candidates],
        "left_out": {out.name: out.why.value for out, _ in order.left_out},
    }


def _found(outcome: Outcome) -> dict[str, Any]:
    """For the lineage: the pick with its proof, and what it was chosen from."""
    picked = outcome.picked
    assert picked is not None
    assert picked.runner.judgement is not None  # it was picked by it
    loss = picked.runner.judgement.loss
    return {
        "pick": outcome.pick,
        "front": list(outcome.front),
        "loss_percent": {"value": loss.value, "lower": loss.lower, "upper": loss.upper, "count": loss.count},
        "tokens_per_second": picked.runner.tokens_per_second,
        "memory_bytes": picked.runner.memory_bytes,
        "is_measured_here": outcome.order.wish.machine.is_here,
    }


def _points(outcome: Outcome) -> list[Point]:
    """The other candidates, for the card's plot."""
    return [
        Point(entry.candidate.name, entry.candidate.size_bytes, score)
        for entry in outcome.entries
        if entry.candidate.name != outcome.pick
        and (score := _score(entry.kept.run if entry.kept is not None else None)) is not None
    ]


def _score(run: Run | None) -> Any:
    return None if run is None else figures_of(run).whole.get(Measure.SCORE)
