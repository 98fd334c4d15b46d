"""Holds a recipe against the registry and this machine: everything that can be refused is refused here, before work."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import load_settings
from undercroft.hardware.processors import usable_processors
from undercroft.optimize.adapter_step import prepare_adapter
from undercroft.optimize.compress_step import prepare_compress
from undercroft.optimize.compression.schemes import CompressedScheme
from undercroft.optimize.convert_step import prepare_convert
from undercroft.optimize.distill_step import prepare_distill
from undercroft.optimize.edge_step import prepare_edge
from undercroft.optimize.finetune_step import prepare_finetune
from undercroft.optimize.judging import prepare_evaluation
from undercroft.optimize.onnx.schemes import OnnxScheme
from undercroft.optimize.onnx_decoder_step import prepare_to_decoder
from undercroft.optimize.onnx_steps import prepare_int8, prepare_to_onnx
from undercroft.optimize.prepared import Prepared, PreparedStep
from undercroft.optimize.prune_step import prepare_prune, shape_left
from undercroft.optimize.quantize_step import prepare_quantize
from undercroft.optimize.recipes import Recipe, StepEntry
from undercroft.optimize.rightsize_step import prepare_rightsize
from undercroft.optimize.scheme_names import check_form, find_scheme
from undercroft.optimize.sources import Source, open_adapter, open_published, open_source
from undercroft.optimize.student_step import opened_student, prepare_student
from undercroft.optimize.triton_step import prepare_triton
from undercroft.registry import models


def prepare(home: Home, connection: Connection, recipe: Recipe) -> Prepared:
    """What a recipe reads, does and takes.

    Args:
        home: Of the models.
        connection: Of its database.
        recipe: What is wanted.

    Raises:
        NotFoundError: There is no such model.
        InvalidError: It is of the wrong kind, or the steps would change nothing.
        RefusedError: The steps would make garbage of it.
        UnavailableError: Its file was changed or is gone.
    """
    first = recipe.steps[0].convert
    if first is not None:
        engines = load_settings(home.config_file).settings.engines
        if first.to == "triton" or first.to == "tensorrt":
            published = open_published(home, connection, recipe.source, form="onnx")
            served = prepare_triton(first.to, first.type, first.version, published, home, engines, name=recipe.to)
            return Prepared(recipe, (published,), (served,))
        is_adapter = models.get(connection, recipe.source).facts.adapter is not None
        if first.to == "gguf" and is_adapter:
            changed = open_adapter(home, connection, recipe.source, first.base)
            converted = prepare_adapter(first, changed, home)
            return Prepared(recipe, (changed.adapter, changed.base, changed.gguf), (converted,))
        if first.base is not None:
            raise InvalidError(
                "no-adapter",
                f"convert.base is what an adapter is tried beside, and model {recipe.source!r} is none",
                hint="leave it out",
            )
        published = open_published(home, connection, recipe.source)
        if first.to == "executorch" or first.to == "litert":
            made_for = prepare_edge(first.to, "int8" if first.type == "int8" else "f32", published, home)
            return Prepared(recipe, (published,), (made_for,))
        if first.to == "onnx":
            if published.model.facts.task == "generate":
                made_to_generate = prepare_to_decoder(first.type, published, home, engines)
                return Prepared(recipe, (published,), (made_to_generate,))
            return Prepared(recipe, (published,), (prepare_to_onnx(first.type, published, home, engines),))
        return Prepared(recipe, (published,), (prepare_convert(first, published, home, engines),))
    if (smaller := recipe.steps[0].quantize) is not None:
        scheme = find_scheme(smaller.scheme)
        check_form(scheme, recipe.source, models.get(connection, recipe.source).format)
        if isinstance(scheme, CompressedScheme):
            published = open_published(home, connection, recipe.source)
            made = prepare_compress(smaller, scheme, published, home, threads=usable_processors())
            return Prepared(recipe, (published,), (made,))
        if isinstance(scheme, OnnxScheme):
            published = open_published(home, connection, recipe.source, form="onnx")
            engines = load_settings(home.config_file).settings.engines
            return Prepared(recipe, (published,), (prepare_int8(scheme, smaller, published, home, engines),))
    source = open_source(home, connection, recipe.source)
    asked = recipe.evaluation
    evaluation = prepare_evaluation(asked, recipe.gate, source, home) if asked is not None else None
    sources = {source.model.name: source}

    def prepare_steps(entries: Sequence[StepEntry]) -> list[PreparedStep]:
        return _prepare_steps(home, connection, recipe, entries, source, sources)

    search = recipe.steps[0].rightsize
    if search is None:
        steps = prepare_steps(recipe.steps)
    else:
        assert evaluation is not None  # the recipe has made sure of it
        engines = load_settings(home.config_file).settings.engines
        steps = [
            prepare_rightsize(
                search, source, evaluation, home, connection, engines, seed=recipe.seed, prepare_steps=prepare_steps
            )
        ]
    return Prepared(recipe, tuple(sources.values()), tuple(steps), evaluation)


def _prepare_steps(
    home: Home,
    connection: Connection,
    recipe: Recipe,
    entries: Sequence[StepEntry],
    source: Source,
    sources: dict[str, Source],
) -> list[PreparedStep]:
    """Steps that follow each other; teachers that they name are added to the sources."""
    steps = []
    shape = None  # what steps that prune have left
    for before, entry in zip((None, *entries), entries, strict=False):
        if entry.prune is not None:
            steps.append(prepare_prune(entry.prune, source, shape))
            shape = shape_left(entry.prune, source, shape)
            continue
        if entry.student is not None:
            steps.append(prepare_student(entry.student, source))
            continue
        if entry.distill is None:
            steps.append(_prepare_step(home, recipe, entry, source))
            continue
        teacher = None
        if entry.distill.served is None:
            name = entry.distill.teacher or recipe.source
            teacher = sources.setdefault(name, open_source(home, connection, name))
        engines = load_settings(home.config_file).settings.engines
        is_sparse = before is not None and before.prune is not None and before.prune.sparsity is not None
        new = opened_student(before.student, source.path) if before is not None and before.student is not None else None
        steps.append(prepare_distill(entry.distill, source, teacher, home, engines, keeps_zeros=is_sparse, student=new))
    return steps


def _prepare_step(home: Home, recipe: Recipe, entry: StepEntry, source: Source) -> PreparedStep:
    if entry.finetune is not None:
        engines = load_settings(home.config_file).settings.engines
        return prepare_finetune(entry.finetune, source, home, engines, name=recipe.to, seed=recipe.seed)
    assert entry.quantize is not None  # what converts or rightsizes stands alone, as the recipe has made sure
    return prepare_quantize(entry.quantize, source, threads=usable_processors())
