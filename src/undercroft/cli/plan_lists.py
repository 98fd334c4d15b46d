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
from undercroft.core.units import format_bytes, format_count
from undercroft.planning.assumptions import listed, unit_of
from undercroft.planning.calibration import Accuracy, LowerBound, Pair, accuracy, lower_bounds
from undercroft.planning.weights import parameter_count
from undercroft.serving.accuracy import read_pairs, read_unfinished

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
    unfinished: list[Pair] = []
    if database is not None:
        with database.read() as connection:
            pairs, unfinished = read_pairs(connection), read_unfinished(connection)
    groups, bounds = grouped(pairs), bounded(pairs, unfinished)
    if as_json:
        print_json([*(_group_as_dict(*group) for group in groups), *(_bound_as_dict(*bound) for bound in bounds)])
        return
    if not groups and not bounds:
        print_wrapped(_NOT_MEASURED)
        return
    if groups:
        _print_groups(groups)
    if bounds:
        if groups:
            typer.echo()
        _print_bounds(bounds)


def _print_groups(groups: Sequence[tuple[str, str, str, Accuracy]]) -> None:
    print_table(
        ["engine", "model", "device", "=of", ">pairs", ">error before", ">after", ">worst before", ">after"],
        [_accuracy_row(*group) for group in groups],
        empty="",
    )
    typer.echo()
    print_wrapped(
        "before: median error of the plain forecast; after: as it was given, with what had been learnt by then."
    )


def _print_bounds(bounds: Sequence[tuple[str, str, str, LowerBound]]) -> None:
    print_table(
        ["engine", "model", "device", "=of", ">pairs", ">measured", ">forecast"],
        [_bound_row(*bound) for bound in bounds],
        empty="",
    )
    typer.echo()
    print_wrapped(
        "at least: a replica that was only just loaded, or computed no long prompt yet, holds less than it will; "
        "so much is certain, and nothing is learnt from it."
    )


def grouped(pairs: Sequence[Pair]) -> list[tuple[str, str, str, Accuracy]]:
    """Engine, architecture and device, each quantity by itself, sorted."""
    groups = _by_kind(pairs)
    return [(*key, found) for key in sorted(groups) for found in accuracy(groups[key])]


def bounded(pairs: Sequence[Pair], unfinished: Sequence[Pair]) -> list[tuple[str, str, str, LowerBound]]:
    """The same for measurements that say "at least", where no other says more.

    Args:
        pairs: That can be compared.
        unfinished: That cannot, because more was still to come.
    """
    groups = _by_kind(unfinished)
    compared = {(key, pair.quantity) for key, own in _by_kind(pairs).items() for pair in own}
    return [
        (*key, found)
        for key in sorted(groups)
        for found in lower_bounds(groups[key])
        if (key, found.quantity) not in compared
    ]


def _by_kind(pairs: Sequence[Pair]) -> dict[tuple[str, str, str], list[Pair]]:
    groups: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.kind.engine, pair.kind.architecture, pair.kind.device), []).append(pair)
    return groups


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
        "measured_at_least": None,
        "forecast": None,
    }


def _bound_as_dict(engine: str, architecture: str, device: str, found: LowerBound) -> dict[str, Any]:
    return {
        "engine": engine,
        "architecture": architecture,
        "device": device,
        "quantity": str(found.quantity),
        "pairs": found.pairs,
        "median_error_before_ratio": None,
        "median_error_after_ratio": None,
        "worst_error_before_ratio": None,
        "worst_error_after_ratio": None,
        "measured_at_least": found.measured,
        "forecast": found.forecast,
    }


def _accuracy_row(engine: str, architecture: str, device: str, found: Accuracy) -> list[str]:
    errors = (found.median_before, found.median_after, found.worst_before, found.worst_after)
    quantity = str(found.quantity).replace("_", " ")
    return [engine, architecture, device, quantity, str(found.pairs), *(f"{error:.1%}" for error in errors)]


def _bound_row(engine: str, architecture: str, device: str, found: LowerBound) -> list[str]:
    measured, forecast = format_bytes(int(found.measured)), format_bytes(int(found.forecast))
    quantity = str(found.quantity).replace("_", " ")
    return [engine, architecture, device, quantity, str(found.pairs), f"at least {measured}", forecast]
