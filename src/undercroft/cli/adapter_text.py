"""What people read of adapters."""

from __future__ import annotations

import typer

from undercroft.cli.output import print_wrapped
from undercroft.registry.adapters import HALF_PRECISION_WARNING, base_of
from undercroft.registry.entries import Model
from undercroft.registry.facts import AdapterFacts

Rows = list[tuple[str, str]]


def adapter_rows(model: Model, adapter: AdapterFacts) -> Rows:
    """An adapter as ``model show`` has it."""
    base = base_of(model)
    scale = f"{adapter.alpha:g}, changes scaled by {adapter.scale:g}" if adapter.alpha else "none"
    return [
        ("base", f"{base['name']}, {base['digest']}" if base else "not said; pull it again with --base"),
        ("rank", f"{adapter.rank:,}"),
        ("alpha", scale),
        ("changes", f"{adapter.changed_tensors:,} tensors: {', '.join(adapter.changes)}"),
    ]


def say_how_to_serve(model: Model) -> None:
    """Prints what to know before an adapter is served; nothing for a whole model."""
    adapter = model.facts.adapter
    if adapter is None:
        return
    base = base_of(model)
    if adapter.has_half_precision and model.format == "gguf":
        print_wrapped(f"Careful: {HALF_PRECISION_WARNING}.", indent="  ")
    typer.echo(
        "Serve it beside its base:\n"
        f"  undercroft deployment create {base['name'] if base else 'BASE'} --adapter {model.name}"
    )
