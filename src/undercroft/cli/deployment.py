"""``undercroft deployment``: which models are served, and how."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from undercroft.catalog.engines import ATTACHED, find_engine
from undercroft.cli.actor import current_actor
from undercroft.cli.adapter_options import Adapters, RemovedAdapters, changed_adapters, given_adapters
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, Reason, print_json, print_table, print_wrapped
from undercroft.cli.use import AcceptLicence, licence_gate
from undercroft.core.errors import InvalidError
from undercroft.core.ids import name_from
from undercroft.core.units import format_duration
from undercroft.engines.external import is_loopback
from undercroft.serving import deployments
from undercroft.serving.adapters import check_adapters
from undercroft.serving.deployments import Deployment, check_settings
from undercroft.serving.keeper_client import refresh

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="The deployment.")]
# Option → the setting that it gives, and how it is read. `create` and `change` have them all.
_SETTINGS: dict[str, tuple[str, Any]] = {
    "context": (
        "context_tokens",
        Annotated[int | None, typer.Option("--context", min=0, help="Tokens of one request; 0: the model's own.")],
    ),
    "slots": ("slots", Annotated[int | None, typer.Option(min=0, help="Requests that a replica computes at once.")]),
    "threads": (
        "threads",
        Annotated[int | None, typer.Option(min=0, help="CPU threads of a replica; 0: all physical cores.")],
    ),
    "gpu_layers": (
        "gpu_layers",
        Annotated[int | None, typer.Option(min=-1, help="Layers on a GPU; -1: all that fit.")],
    ),
    "cache_type": ("cache_type", Annotated[str | None, typer.Option(help="Keys and values as f16, q8_0 or q4_0.")]),
    "dtype": ("dtype", Annotated[str | None, typer.Option(help="vllm: auto, float16, bfloat16 or float32.")]),
    "gpus": ("gpus", Annotated[int | None, typer.Option(min=0, help="vllm: GPUs that share every layer; 0: by plan.")]),
    "gpu_memory_ratio": (
        "gpu_memory_ratio",
        Annotated[float | None, typer.Option(min=0, max=0.98, help="vllm: share of each GPU's memory; 0: by plan.")],
    ),
    "load": ("load", Annotated[str | None, typer.Option(help="Load 'always', or 'on-demand' with the first request.")]),
    "idle_unload_seconds": (
        "idle_unload_seconds",
        Annotated[float | None, typer.Option(min=0, help="Unload after this many idle seconds; 0: never.")],
    ),
    "memory_limit_bytes": (
        "memory_limit_bytes",
        Annotated[int | None, typer.Option(min=0, help="Most private memory of a replica, bytes.")],
    ),
    "metrics_port": (
        "metrics_port",
        Annotated[
            int | None,
            typer.Option("--metrics-port", min=0, max=65535, help="triton: port of its metrics; 0 is its own, 8002."),
        ],
    ),
    "priority": (
        "priority",
        Annotated[int | None, typer.Option(min=-100, max=100, help="Who gets the memory first; larger first.")],
    ),
    "pin": (
        "is_pinned",
        Annotated[bool | None, typer.Option("--pin/--no-pin", help="Load at once; never unload it for others.")],
    ),
    "may_shrink": (
        "may_shrink_context",
        Annotated[
            bool | None,
            typer.Option("--may-shrink/--no-may-shrink", help="Out of memory all the same: halve the context once."),
        ],
    ),
}
Replicas = Annotated[int | None, typer.Option(min=1, max=64, help="Engine processes.")]


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that takes ``settings`` an option for each of `_SETTINGS`; those that were given arrive in it."""

    def run(**options: Any) -> None:
        given = {setting: options.pop(option) for option, (setting, _) in _SETTINGS.items()}
        command(settings={name: value for name, value in given.items() if value is not None}, **options)

    plain = inspect.signature(command, eval_str=True).parameters
    own = [parameter for name, parameter in plain.items() if name != "settings"]
    more = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for option, (_, kind) in _SETTINGS.items()
    ]
    arguments = [p for p in own if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    last = [p for p in own if p.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = [*arguments, *more, *last]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


@app.command()
@_with_settings
def create(
    model: Annotated[str | None, typer.Argument(help="A registered model; none for an attached engine.")] = None,
    name: Annotated[str | None, typer.Option(help="What clients call it; default: the model's name.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="As in `engine list`; default: what runs the model's format."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Base URL of an attached engine, without /v1.")] = None,
    upstream_model: Annotated[str | None, typer.Option(help="What the attached engine calls the model.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the external engine's key.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates that the external engine is trusted by, PEM.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="generate, embed, rerank, classify; default: the model's.")] = None,
    adapter: Adapters = None,
    *,
    settings: dict[str, Any],
    replicas: Replicas = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model whose licence covers what models here are used for (registry.use)."""
    chosen = find_engine(engine) if engine is not None else None
    if chosen in ATTACHED and model is not None and name is None:
        name, model = model, None
    own: dict[str, Any] = {"task": task, "url": url, "upstream_model": upstream_model}
    own["key_file"] = key_file.absolute() if key_file else None
    own["ca_file"] = ca_file.absolute() if ca_file else None
    checked = check_settings({**settings, **{name: value for name, value in own.items() if value is not None}})
    if model is None and name is None:
        raise InvalidError("no-model", "nothing to serve was named", hint="undercroft deployment create MODEL")
    home, database = open_database()
    gate = licence_gate(home, database, is_accepted=accept_licence, reason=because)
    beside = given_adapters(home, database, adapter or (), base=model, accepts_licence=accept_licence, reason=because)
    check_adapters(database, home, base=model, engine=chosen, wanted=beside, gate=gate)
    checked = checked.model_copy(update={"adapters": beside})
    made = deployments.create(
        database,
        name=name or name_from(model or ""),
        engine=chosen,
        model=model,
        settings=checked,
        replicas=replicas or 1,
        actor=current_actor(),
        reason=because,
        gate=gate,
        allowed_hosts=settings_of(home).engines.external_hosts,
    )
    is_running = refresh(home)
    hint = "undercroft status shows when it is ready." if is_running else "It starts with: undercroft up"
    if as_json:
        print_json(made.to_dict())
        return
    typer.echo(f"Deployment {made.name} is wanted running. {hint}")
    host = urlsplit(made.settings.url or "").hostname
    if host is not None and not is_loopback(host):
        print_wrapped(f"Its requests LEAVE this machine for {host}: what is in them can be read there.")


@app.command("list")
def list_deployments(as_json: AsJson = False) -> None:
    """Show deployments, as wanted; `undercroft status` shows how they are."""
    _, database = open_database()
    with database.read() as connection:
        found = deployments.list_all(connection)
    if as_json:
        print_json([deployment.to_dict() for deployment in found])
        return
    print_table(
        ["name", "model", "adapters", "engine", ">replicas", "wanted", "load"],
        [_row(deployment) for deployment in found],
        empty="Nothing is deployed. Try: undercroft deployment create MODEL",
    )


def _row(deployment: Deployment) -> list[object]:
    own = deployment.settings
    idle = f", idle {format_duration(own.idle_unload_seconds)}" if own.idle_unload_seconds else ""
    return [
        deployment.name,
        deployment.model or own.url or "",
        ", ".join(sorted(own.adapters)) or "-",
        deployment.engine,
        deployment.replicas,
        "running" if deployment.is_running else "stopped",
        own.load + idle,
    ]


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one deployment and its settings."""
    _, database = open_database()
    with database.read() as connection:
        found = deployments.get(connection, name)
    data = {**found.to_dict(), "settings": found.settings.model_dump(mode="json"), "created_at": found.created_at}
    if as_json:
        print_json(data)
        return
    for key, value in data.items():
        if key != "settings":
            typer.echo(f"{key:<22} {value}")
    for key, value in data["settings"].items():
        typer.echo(f"  {key:<20} {_shown(value)}")


def _shown(value: Any) -> object:
    if isinstance(value, dict):
        value = ", ".join(f"{name}={model}" for name, model in value.items()) or None
    return "-" if value is None else value


@app.command()
@_with_settings
def change(
    name: Name,
    adapter: Adapters = None,
    remove_adapter: RemovedAdapters = None,
    *,
    settings: dict[str, Any],
    replicas: Replicas = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Change settings: new replicas are started and warmed up before the old ones stop."""
    home, database = open_database()
    if not settings and replicas is None and not adapter and not remove_adapter:
        raise InvalidError(
            "nothing-to-change", f"no change of {name!r} was given", hint="undercroft deployment change -h"
        )
    if adapter or remove_adapter:
        with database.read() as connection:
            before = deployments.get(connection, name)
        deployments.refuse_fixed(database, name, {"adapters"})
        added = given_adapters(
            home, database, adapter or (), base=before.model, accepts_licence=accept_licence, reason=because
        )
        gate = licence_gate(home, database, is_accepted=accept_licence, reason=because)
        check_adapters(database, home, base=before.model, engine=before.engine, wanted=added, gate=gate)
        beside = changed_adapters(before.settings.adapters, added, remove_adapter or (), of=f"deployment {name!r}")
        settings = {**settings, "adapters": beside}
    changed = deployments.change(
        database, name, settings=settings, replicas=replicas, actor=current_actor(), reason=because
    )
    refresh(home)
    print_json(changed.to_dict()) if as_json else typer.echo(f"Deployment {name} is changed.")


@app.command()
def start(name: Name, because: Reason = None, as_json: AsJson = False) -> None:
    """Want it running."""
    _set_running(name, True, because, as_json)


@app.command()
def stop(name: Name, because: Reason = None, as_json: AsJson = False) -> None:
    """Finish its requests and stop it; its definition stays."""
    _set_running(name, False, because, as_json)


def _set_running(name: str, is_running: bool, because: str | None, as_json: bool) -> None:
    home, database = open_database()
    changed = deployments.set_running(database, name, is_running, actor=current_actor(), reason=because)
    refresh(home)
    state = "running" if is_running else "stopped"
    print_json(changed.to_dict()) if as_json else typer.echo(f"Deployment {name} is wanted {state}.")


@app.command()
def remove(name: Name, because: Reason = None, as_json: AsJson = False) -> None:
    """Forget it; the model stays in the registry."""
    home, database = open_database()
    deployments.remove(database, name, actor=current_actor(), reason=because)
    refresh(home)
    print_json({"removed": name}) if as_json else typer.echo(f"Deployment {name} is removed.")
