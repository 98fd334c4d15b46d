"""``undercroft plan models``, ``plan assumptions``, ``plan accuracy``: what plans are made of, how good they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from undercroft.catalog.families import CatalogueModel, load_catalogue
from undercroft.cli.encoding import typed
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.cli.plan_options import Assume
from undercroft.cli.plan_request import assumptions_of, surroundings
from undercroft.core.environment import home_path
from undercroft.core.home import Home
from undercroft.core.units import format_count
from undercroft.planning.assumptions import listed, unit_of
from undercroft.planning.calibration import Accuracy, Pair, accuracy
from undercroft.planning.weights import parameter_count
from undercroft.serving.accuracy import read_pairs

_NOT_MEASURED = (
    "No forecast has met reality here yet. A pair of forecast and measurement is kept whenever a model is loaded and "
    "for every hour that it is served: start one with undercroft up, ask it something, and look again."
)


def models(
    name: Annotated[
        str | None,
        typer.Argument(callback=typed, help="One of them, with its languages and the source of its figures."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the catalogue of models; any other is planned from its file, folder or hf:// reference."""
    catalogue = load_catalogue(Home(home_path()).catalogue)
    if name is None:
        if as_json:
            print_json([model_as_dict(model) for model in catalogue.models])
            return
        print_table(
            ["=model", ">size", ">context", "task", "licence", ">languages"],
            [_model_row(model) for model in catalogue.models],
            empty="The catalogue is empty.",
        )
        typer.echo("\nOne with its languages and sources: undercroft plan models NAME")
        return
    model = catalogue.find(name)
    if as_json:
        print_json(model_as_dict(model))
        return
    _print_model(model)


def model_as_dict(model: CatalogueModel) -> dict[str, Any]:
    """An entry of the catalogue for JSON."""
    return {
        "name": model.name,
        "family": model.family,
        "maker": model.maker,
        "task": model.task,
        "parameters": _parameters(model),
        "architecture": model.shape.architecture,
        "context_tokens": model.shape.context_tokens,
        "licence": model.licence,
        "hub": model.hub,
        "released": model.released.isoformat() if model.released is not None else None,
        "official_languages": sorted(model.official),
        "usable_languages": sorted(model.usable),
        "remark": model.remark,
        "sources": dict(model.sources),
    }


def _model_row(model: CatalogueModel) -> list[str]:
    languages = f"{len(model.official)}" + (f" + {len(model.usable)}" if model.usable else "")
    size, context = format_count(_parameters(model)), f"{model.shape.context_tokens:,}"
    return [model.name, size, context, model.task, model.licence, languages]


def _parameters(model: CatalogueModel) -> int:
    return model.shape.parameters or parameter_count(model.shape)


def _print_model(model: CatalogueModel) -> None:
    shape = model.shape
    typer.echo(f"{model.name}: {model.family_name} of {model.maker}, {model.hub or model.base}")
    print_wrapped(
        f"{format_count(_parameters(model))} parameters, {shape.layers} blocks of {shape.width:,}, "
        f"{shape.context_tokens:,} tokens of context, for {model.task}, licence {model.licence}",
        indent="  ",
    )
    for words, languages in (("named by its maker", model.official), ("without a promise", model.usable)):
        if languages:
            print_wrapped(f"languages {words}: {' '.join(sorted(languages))}", indent="  ")
    if model.remark:
        print_wrapped(model.remark)
    for field, source in model.sources.items():
        print_wrapped(f"source of {field}: {source}", indent="  ")
    typer.echo(f"\nPlan for it: undercroft plan {model.name}")


def assumptions(assume: Assume = None, as_json: AsJson = False) -> None:
    """Show what costs are computed with, with unit and source; --assume and [planning] in config.toml change it."""
    assumed = assumptions_of(surroundings().settings, assume or ())
    rows = [(*row, unit_of(row[0], assumed.currency)) for row in listed(assumed)]
    if as_json:
        print_json(
            [
                {"name": name, "value": value, "unit": unit, "meaning": meaning, "source": source}
                for name, value, meaning, source, unit in rows
            ]
        )
        return
    print_table(
        ["=name", ">value", "unit", "meaning", "source"],
        [[name, value, unit, meaning, source] for name, value, meaning, source, unit in rows],
        empty="",
    )
    typer.echo()
    print_wrapped(
        "Change one for a plan: --assume kwh_price=0.30; for every plan: kwh_price = 0.30 below [planning] in "
        "config.toml."
    )


def plan_accuracy(as_json: AsJson = False) -> None:
    """Show how far forecasts were from what came, before and after learning, by engine, architecture and device."""
    database = surroundings().database
    pairs: list[Pair] = []
    if database is not None:
        with database.read() as connection:
            pairs = read_pairs(connection)
    groups = grouped(pairs)
    if as_json:
        print_json([_group_as_dict(*group) for group in groups])
        return
    if not groups:
        print_wrapped(_NOT_MEASURED)
        return
    print_table(
        ["engine", "model", "device", "=of", ">pairs", ">error before", ">after", ">worst before", ">after"],
        [_accuracy_row(*group) for group in groups],
        empty="",
    )
    typer.echo()
    print_wrapped(
        "before: median error of the plain forecast; after: as it was given, with what had been learnt by then."
    )


def grouped(pairs: Sequence[Pair]) -> list[tuple[str, str, str, Accuracy]]:
    """Engine, architecture and device, each quantity by itself, sorted."""
    groups: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.kind.engine, pair.kind.architecture, pair.kind.device), []).append(pair)
    return [(*key, found) for key in sorted(groups) for found in accuracy(groups[key])]


def _group_as_dict(engine: str, architecture: str, device: str, found: Accuracy) -> dict[str, Any]:
    return {
        "engine": engine,
        "architecture": architecture,
        "device": device,
        "quantity": str(found.quantity),
        "pairs": found.pairs,
        "median_error_before_ratio": found.median_before,
        "median_error_after_ratio": found.median_after,
        "worst_error_before_ratio": found.worst_before,
        "worst_error_after_ratio": found.worst_after,
    }


def _accuracy_row(engine: str, architecture: str, device: str, found: Accuracy) -> list[str]:
    errors = (found.median_before, found.median_after, found.worst_before, found.worst_after)
    quantity = str(found.quantity).replace("_", " ")
    return [engine, architecture, device, quantity, str(found.pairs), *(f"{error:.1%}" for error in errors)]
