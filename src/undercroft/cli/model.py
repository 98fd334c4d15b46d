"""``undercroft model``: what is in the registry."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from undercroft.catalog.licences import load_licences
from undercroft.catalog.verdicts import judge_written
from undercroft.cli.actor import current_actor
from undercroft.cli.adapter_text import adapter_rows, say_how_to_serve
from undercroft.cli.lineage_text import lineage_rows
from undercroft.cli.model_export import export
from undercroft.cli.model_progress import shown
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, Reason, harmless, print_json, print_table, print_wrapped
from undercroft.cli.use import AcceptLicence, DeclaredUse, declared_use
from undercroft.core.errors import UnavailableError
from undercroft.core.units import format_bytes, format_count
from undercroft.registry import models, upkeep
from undercroft.registry.entries import Model
from undercroft.registry.facts import UNKNOWN, ModelFacts
from undercroft.registry.licences import find_acceptances, licence_lines

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_SKIPPED_SHOWN = 8

app.command()(export)


@app.command()
def pull(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="A GGUF file, a folder, or hf://org/name[:file or quant][@revision].")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; else a name is made of REF.")] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy a local file even where a link would do and take no room.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="Of a LoRA adapter: the model that it belongs to, which it is held against.")
    ] = None,
    use: DeclaredUse = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Bring a model in: download or link it, look into every file, and give it a name."""
    from undercroft.registry.pulling import pull as pull_model  # noqa: PLC0415  (the hub's client costs 150 ms)

    home, database = open_database()
    settings = settings_of(home).registry

    def say_waiting() -> None:
        print("Another process is pulling the same; waiting for it ...", file=sys.stderr)

    try:
        with shown(is_quiet=as_json) as progress:
            arrival = pull_model(
                database,
                home,
                reference,
                settings=settings,
                name=name,
                actor=current_actor(),
                reason=because,
                must_copy=copy,
                progress=progress,
                waiting=say_waiting,
                use=declared_use(home, use),
                accepts_licence=accept_licence,
                base=base,
            )
    except KeyboardInterrupt:
        if reference.startswith("hf://"):
            print("\nInterrupted. What was downloaded is kept; the same command goes on from there.", file=sys.stderr)
        else:
            print("\nInterrupted. Nothing was registered.", file=sys.stderr)
        raise
    model = arrival.model
    if as_json:
        extra = {"is_new": arrival.is_new, "skipped": list(arrival.skipped), "methods": list(arrival.methods)}
        print_json({**model.to_dict(), **extra})
        return
    if not arrival.is_new:
        typer.echo(f"Model {model.name} is there already, with the same content.")
        return
    _say_skipped(arrival.skipped)
    how = f" ({', '.join(arrival.methods)})"
    word = model.facts.kind.capitalize()
    print_wrapped(f"{word} {model.name} is registered: {format_bytes(model.size_bytes)}{how}, {_in_short(model)}.")
    say_how_to_serve(model)
    typer.echo(f"Look at it: undercroft model show {model.name}")


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Show every model."""
    _, database = open_database()
    with database.read() as connection:
        found = models.list_models(connection)
    if as_json:
        print_json([model.to_dict() for model in found])
        return
    # Most registries hold whole models only.
    kinds = [[model.facts.kind] if any(one.facts.adapter for one in found) else [] for model in found]
    print_table(
        [
            "name",
            *(["kind"] if any(kinds) else []),
            "format",
            "architecture",
            ">params",
            "quant",
            ">context",
            ">size",
            "licence",
        ],
        [
            [
                model.name,
                *kind,
                model.format,
                model.facts.architecture,
                _count(model.facts.parameters),
                model.facts.quantization,
                _plain(model.facts.context_tokens),
                format_bytes(model.size_bytes),
                model.facts.licence,
            ]
            for model, kind in zip(found, kinds, strict=True)
        ],
        empty="There is no model. Try: undercroft model pull hf://org/name:Q4_K_M",
    )


@app.command()
def show(name: str, as_json: AsJson = False) -> None:
    """Show what the files of a model say of it, and its chat template."""
    home, database = open_database()
    with database.read() as connection:
        model = models.get(connection, name)
        verdict = judge_written(load_licences(home.catalogue), model.facts.licence, declared_use(home, None))
        accepted = find_acceptances(connection, verdict)
    if as_json:
        extra = {**verdict.to_dict(), "acceptances": [acceptance.to_dict() for acceptance in accepted]}
        print_json({**model.to_dict(), "licence_verdict": extra})
        return
    facts, made = model.facts, lineage_rows(model.lineage)
    # What was made here names its parents below.
    bases = [("made from", ", ".join(facts.base_models) or UNKNOWN)] if facts.base_models or not made else []
    rows = [
        ("name", model.name),
        ("digest", model.digest),
        ("source", model.source),
        ("added", model.created_at),
        ("kind", facts.kind),
        ("format", model.format),
        ("title", facts.title),
        ("architecture", facts.architecture),
        ("parameters", _count(facts.parameters)),
        ("quantization", _quantization(model)),
        ("licence", facts.licence),
        ("languages", ", ".join(facts.languages) or UNKNOWN),
        *bases,
        *(_network_rows(facts) if facts.adapter is None else adapter_rows(model, facts.adapter)),
        ("size", format_bytes(model.size_bytes)),
    ]
    for label, value in rows:
        typer.echo(f"{label:16} {value}")
    say_how_to_serve(model)
    if made:
        typer.echo("how it was made")
        for label, value in made:
            print_wrapped(f"  {label:9} {harmless(value)}", indent=" " * 12)
    typer.echo(f"its licence, for {verdict.use}")
    for line in licence_lines(verdict, accepted):
        print_wrapped(f"  {harmless(line)}", indent="    ")
    typer.echo("files")
    for file in model.files:
        typer.echo(f"  {file.path}  {format_bytes(file.size_bytes)}\n    {file.digest}")
    for label, text in _templates(model):
        typer.echo(f"\n{label}")
        typer.echo("\n".join(f"  {harmless(line)}" for line in text.splitlines()))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; none means all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every file again and compare it with its digest."""
    home, database = open_database()
    with database.read() as connection:
        wanted = [models.get(connection, name) for name in names] if names else models.list_models(connection)
    with shown(is_quiet=as_json) as progress:
        findings = upkeep.verify(database, home, [model.name for model in wanted], progress=progress)
    damaged = [finding for finding in findings if finding.problem is not None]
    if as_json:
        print_json({"files": [asdict(finding) for finding in findings], "is_whole": not damaged})
    else:
        for finding in damaged:
            typer.echo(f"damaged: {finding.model}: {finding.path}: {finding.problem}")
        typer.echo(f"{len(findings) - len(damaged)} of {len(findings)} files of {len(wanted)} models are whole.")
    if damaged:
        source = next(model.source for model in wanted if model.name == damaged[0].model)
        raise UnavailableError(
            "damaged-files",
            f"{len(damaged)} stored files are damaged, of {', '.join(sorted({f.model for f in damaged}))}",
            hint=f"undercroft model pull {shlex.quote(source)} --name {damaged[0].model}",
        )


@app.command()
def remove(name: str, because: Reason = None, as_json: AsJson = False) -> None:
    """Forget a model that no deployment uses. Its files go with the next gc."""
    _, database = open_database()
    model = models.remove(database, name, actor=current_actor(), reason=because)
    if as_json:
        print_json({"removed": model.name, "size_bytes": model.size_bytes})
        return
    typer.echo(f"Model {model.name} is removed. Its files go with: undercroft model gc")


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    downloads: Annotated[
        bool, typer.Option("--downloads", help="Interrupted downloads go too, not only those a week old.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove stored files that no model has, and what failed imports left."""
    home, database = open_database()
    swept = upkeep.gc(database, home, actor=current_actor(), is_dry_run=dry_run, with_downloads=downloads)
    if as_json:
        print_json({**asdict(swept), "is_dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    typer.echo(f"{verb} {swept.files} files that no model has: {format_bytes(swept.files_bytes)}")
    left = swept.quarantine
    typer.echo(f"{verb} {left.removed} leftovers of imports: {format_bytes(left.removed_bytes)}")
    if left.kept_downloads:
        kept = f"{left.kept_downloads} interrupted downloads, {format_bytes(left.kept_bytes)}"
        typer.echo(f"kept {kept}, for the same pull to go on (--downloads removes them)")


def _network_rows(facts: ModelFacts) -> list[tuple[str, str]]:
    return [
        ("task", facts.task or UNKNOWN),
        ("context", f"{_plain(facts.context_tokens)} tokens" if facts.context_tokens else UNKNOWN),
        ("layers", _plain(facts.layers)),
        ("width", _plain(facts.embedding_length)),
        ("heads", _plain(facts.heads)),
        ("key/value heads", _plain(facts.kv_heads)),
        ("head size", _plain(facts.head_dim)),
        ("vocabulary", _plain(facts.vocabulary_tokens)),
    ]


def _in_short(model: Model) -> str:
    facts = model.facts
    return f"{facts.architecture}, {_count(facts.parameters)} parameters, {facts.quantization}, licence {facts.licence}"


def _say_skipped(skipped: tuple[str, ...]) -> None:
    if skipped:
        more = f" and {len(skipped) - _SKIPPED_SHOWN} more" if len(skipped) > _SKIPPED_SHOWN else ""
        print_wrapped(f"Left at the source: {', '.join(skipped[:_SKIPPED_SHOWN])}{more}")


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else format_count(number)


def _plain(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _quantization(model: Model) -> str:
    bits = model.facts.bits_per_weight
    return f"{model.facts.quantization}, {bits} bits per weight" if bits else model.facts.quantization


def _templates(model: Model) -> list[tuple[str, str]]:
    if model.facts.adapter is not None:
        return []
    if model.facts.chat_template is None:
        return [("chat template", "none")]
    others = sorted(model.facts.other_templates.items())
    return [("chat template", model.facts.chat_template), *((f"chat template {n}", text) for n, text in others)]
