"""``undercroft optimize finetune``: teach a model from conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.optimize_job import Detach, DryRun, Epochs, do_recipe, given
from undercroft.cli.output import AsJson, Reason
from undercroft.core.errors import InvalidError
from undercroft.optimize.recipes import make_recipe


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered GGUF: Llama, Mistral, Qwen 2 or 3.")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="Conversations as JSON lines.")],
    name: Annotated[str, typer.Option("--name", help="Of the adapter, or of the new model.")],
    method: Annotated[
        str, typer.Option("--method", help="lora, qlora (base in 4 bits), full, or dpo (preferences, with LoRA).")
    ] = "lora",
    merge: Annotated[bool, typer.Option("--merge", help="Make a whole model, not an adapter.")] = False,
    kept: Annotated[str | None, typer.Option("--type", help="f32, f16 or bf16: what a whole model is kept in.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Of the matrices that are added; 8.")] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="They count alpha / rank times; 2 x rank.")] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", help="Share of their inputs left out; 0.")] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Learning rate; 2e-4, with full 2e-5, with dpo 5e-6.")
    ] = None,
    epochs: Epochs = None,
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", help="That a step learns from, about; 2048.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Of matrices; 0.")] = None,
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="FILE", help="A file like FILE that is only measured.")
    ] = None,
    validation_share: Annotated[
        float | None, typer.Option("--validation-share", help="Of the data, without such a file; 0.1.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", help="End after so many evaluations, of 10, without gain; 3, 0 never.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option("--beta", help="How strongly dpo holds the model to itself; 0.1.")
    ] = None,
    rehearse: Annotated[
        int | None, typer.Option("--rehearse", metavar="N", help="Mix in answers of MODEL to N questions.")
    ] = None,
    rehearse_from: Annotated[
        Path | None, typer.Option("--rehearse-from", metavar="FILE", help="Where these questions are.")
    ] = None,
    hold: Annotated[
        float | None, typer.Option("--hold", help="How strongly MODEL is held to itself in these answers; 1.")
    ] = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", metavar="N", help="Read FILE so often while these are read once; 1.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is random.")] = 0,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Teach a model from conversations or preferences: an adapter for it, or a whole new model.

    What MODEL knew and FILE does not show fades, unless --rehearse has it answer questions that users really ask.
    """
    settings = given(
        data=data,
        method=method,
        merge=merge or None,
        type=kept,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        rate=rate,
        epochs=epochs,
        batch_tokens=batch_tokens,
        weight_decay=weight_decay,
        validation=validation,
        validation_share=validation_share,
        patience=patience,
        beta=beta,
        rehearse=_rehearse(rehearse, rehearse_from, hold=hold, repeat=repeat),
    )
    recipe = make_recipe({"from": model, "to": name, "steps": [{"finetune": settings}], "seed": seed})
    do_recipe(recipe, dry_run, detach, because, as_json)


def _rehearse(count: int | None, questions: Path | None, **how: float | None) -> dict[str, Any] | None:
    if (count is None) != (questions is None) or (count is None and given(**how)):
        raise InvalidError(
            "bad-options",
            "expected --rehearse N and --rehearse-from FILE together: how many questions, and where they are",
            hint="--rehearse 200 --rehearse-from questions.jsonl",
        )
    return None if count is None else given(count=count, questions=questions, **how)
