"""``undercroft engine``: what runs models, and the environments that other tools run in."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import typer

from undercroft.catalog.engines import ENGINE_NAMES
from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database, open_home
from undercroft.cli.output import AsJson, Reason, console, harmless, print_json, print_table
from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.environments import installing
from undercroft.environments.installed import State, environment_of
from undercroft.environments.recipes import EnvironmentRecipe, find, recipes

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_ATTACHED = {
    "triton": "a Triton server that runs already: its encoders, or its OpenAI frontend",
    "tensorrt-llm": "a trtllm-serve that runs already: generation on NVIDIA's GPUs",
    "external": "any OpenAI-compatible server that runs already",
}

Name = Annotated[str, typer.Argument(help="As `undercroft engine list` shows it.")]
IndexUrl = Annotated[str | None, typer.Option(help="Package index in place of pip's own.")]
ExtraIndexUrl = Annotated[
    list[str] | None,
    typer.Option(help="One more package index, such as one with CPU builds of torch; repeat for more."),
]


@app.command("list")
def list_engines(as_json: AsJson = False) -> None:
    """Show what is there, what could be, and how to install it."""
    home = open_home()
    rows = [*_built_in(), *(_row(home, recipe) for recipe in recipes().values())]
    rows.sort(key=lambda row: row["kind"])
    if as_json:
        print_json(rows)
        return
    print_table(
        ["=name", "=kind", "what for", "=state", ">=size"],
        [
            [
                *(row[field] for field in ("name", "kind", "purpose", "state")),
                format_bytes(row["size_bytes"]) if row["size_bytes"] else "",
            ]
            for row in rows
        ],
        empty="There is no engine.",
    )
    for command in (row["attach"] for row in rows if row.get("attach")):
        typer.echo(f"To attach: {command}")
    for command in (row["install"] for row in rows if row["install"]):
        typer.echo(f"To install: {command}")


@app.command()
def install(
    name: Name,
    index_url: IndexUrl = None,
    extra_index_url: ExtraIndexUrl = None,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make an environment from a package index; what was there under the name is made anew."""
    recipe = find(name)
    home, database = open_database()
    out = console()
    arguments = [f"--index-url={index_url}"] if index_url else []
    arguments += [f"--extra-index-url={url}" for url in extra_index_url or ()]
    with out.status(f"Installing {name}", spinner="line") as status:
        environment = installing.install(
            home,
            database,
            recipe,
            actor=current_actor(),
            pip_arguments=arguments,
            reason=because,
            say=lambda text: status.update(f"Installing {name}: {harmless(text)[: out.width - len(name) - 16]}"),
        )
    if as_json:
        print_json(_row(home, recipe))
        return
    record = environment.record()
    assert record is not None
    typer.echo(f"{name} is installed: {len(record.packages)} packages, {format_bytes(record.size_bytes)}.")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what is in an environment, package by package."""
    home, recipe = open_home(), find(name)
    row = _row(home, recipe)
    record = environment_of(home, name).record()
    if as_json:
        print_json({**row, "packages": record.packages if record else None})
        return
    typer.echo(f"{name}: {recipe.purpose}\nState: {row['state']}")
    if record is None:
        typer.echo(f"To install: {row['install']}")
        return
    typer.echo(f"Python {record.python}, {format_bytes(record.size_bytes)}, made {record.installed_at}")
    print_table(["=package", "=version"], sorted(record.packages.items()), empty="It holds no package.")


@app.command()
def remove(name: Name, because: Reason = None, as_json: AsJson = False) -> None:
    """Remove an environment; what was made with it stays."""
    recipe = find(name)
    home, database = open_database()
    freed = installing.remove(home, database, recipe, actor=current_actor(), reason=because)
    if as_json:
        print_json({"name": name, "freed_bytes": freed})
        return
    typer.echo(f"{name} is removed, {format_bytes(freed)} freed." if freed else f"{name} was not installed.")


def _built_in() -> list[dict[str, Any]]:
    return [
        {
            "name": "llama.cpp",
            "kind": "engine",
            "purpose": "GGUF models: generation, embeddings, reranking, on processors and GPUs",
            "state": "built in",
            "version": version("xllamacpp"),
            "size_bytes": None,
            "install": None,
        },
        *(_attached(name, purpose) for name, purpose in _ATTACHED.items()),
    ]


def _attached(name: str, purpose: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "engine",
        "purpose": purpose,
        "state": "by URL",
        "version": None,
        "size_bytes": None,
        "install": None,
        "attach": f"undercroft deployment create NAME --engine {name} --url URL",
    }


def _row(home: Home, recipe: EnvironmentRecipe) -> dict[str, Any]:
    environment = environment_of(home, recipe.name)
    state, record = environment.state(recipe), environment.record()
    told = {
        State.ABSENT: "not installed",
        State.BROKEN: "not whole",
        State.OUTDATED: "outdated",
        State.READY: "installed",
    }
    is_ready = state is State.READY
    return {
        "name": recipe.name,
        # An engine's environment is called as the engine, or as the engine and what it computes on.
        "kind": "engine" if recipe.name.partition("-")[0] in ENGINE_NAMES else "tool",
        "purpose": recipe.purpose,
        "state": told[state],
        "version": None,
        "size_bytes": record.size_bytes if record else recipe.size_mb * 1_000_000,
        "install": None if is_ready else f"undercroft engine install {recipe.name}",
    }
