"""``undercroft optimize prune``: a model without what matters least to texts of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.optimize_job import Detach, DryRun, NewName, do_recipe, given, suggested_name
from undercroft.cli.output import AsJson, Reason
from undercroft.core.errors import InvalidError
from undercroft.optimize.recipes import make_recipe

_FORM = "ffn=0.75,heads=0.5"


def prune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered GGUF, best in F16 or BF16.")],
    texts: Annotated[
        Path, typer.Option("--texts", metavar="FILE", help="Texts of your own: plain, or JSON lines; what it is for.")
    ],
    depth: Annotated[int | None, typer.Option("--depth", metavar="BLOCKS", help="Drop so many blocks.")] = None,
    width: Annotated[
        str | None, typer.Option("--width", metavar="SHARES", help=f"Keep these shares of channels, heads: {_FORM}.")
    ] = None,
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", metavar="SHARE", help="Zeros: 2:4, or a share of each row such as 0.5.")
    ] = None,
    name: NewName = None,
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Take quantized matrices apart; they become F16.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Let MODEL teach what is left of it what it had expected of your texts.")
    ] = False,
    repair_data: Annotated[
        Path | None, typer.Option("--repair-data", metavar="FILE", help="To repair with; else the texts. Also chats.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Of the repair: how often all is read; 3.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Of the repair: highest learning rate; 2e-5.")] = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Cut away the blocks, heads or channels that your texts miss least, and measure what that costs and saves."""
    settings = given(
        texts=texts,
        depth=depth,
        width=shares_of(width) if width is not None else None,
        sparsity=sparsity,
        allow_requantize=allow_requantize or None,
    )
    steps: list[dict[str, Any]] = [{"prune": settings}]
    repairing = given(epochs=epochs, rate=rate)
    if repair:
        steps.append({"distill": {"data": repair_data or texts, **repairing}})
    elif repair_data is not None or repairing:
        raise InvalidError("no-repair", "expected --repair beside what says how it is done", hint="--repair")
    values = {"from": model, "to": name or suggested_name(model, "pruned"), "steps": steps}
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)


def shares_of(text: str) -> dict[str, float]:
    """``ffn=0.75,heads=0.5`` as a recipe has it.

    Raises:
        InvalidError: ``bad-width``.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise InvalidError(
                "bad-width", f"expected shares such as {_FORM}, got {text[:60]!r}", hint=f"--width {_FORM}"
            ) from None
    return found
