"""``undercroft optimize rightsize``: the smallest model that still does its work on a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli.optimize_job import (
    AllowRequantize,
    Detach,
    DryRun,
    ImportanceFile,
    NewName,
    do_recipe,
    given,
    importance_of,
    suggested_name,
)
from undercroft.cli.output import AsJson, Reason
from undercroft.core.errors import InvalidError
from undercroft.optimize.recipes import make_recipe

_PERCENT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*%?")

Loss = Annotated[
    str,
    typer.Option(
        "--max-quality-loss", metavar="PERCENT", help="Points of the tasks passed; without tasks, % of perplexity."
    ),
]
Fit = Annotated[
    str,
    typer.Option(
        "--fit", metavar="MACHINE", help="A device or class as edge-8gb (see plan devices), a size as 8GB, or here."
    ),
]
LeastSpeed = Annotated[
    float | None, typer.Option("--min-tps", metavar="TOKENS", help="Least tokens/s of one answer there.")
]
Schemes = Annotated[
    str | None, typer.Option("--schemes", metavar="NAMES", help="Only these, as Q8_0,Q6_K,Q4_K_M; else all.")
]
Tasks = Annotated[
    Path | None, typer.Option("--tasks", metavar="FILE", help="Questions with checks; they decide where given.")
]
Texts = Annotated[
    Path | None,
    typer.Option("--texts", metavar="FILE", help="Texts of your own: half say what matters, half judge."),
]
ImportanceTexts = Annotated[
    Path | None,
    typer.Option("--importance-texts", metavar="FILE", help="Texts that say what matters; then all --texts judge."),
]
Users = Annotated[int, typer.Option("--users", min=1, max=256, help="Answered at once.")]
Context = Annotated[
    int | None, typer.Option("--context", min=64, max=10_000_000, help="Tokens of a request; else the model's own.")
]
MeasureAll = Annotated[
    bool, typer.Option("--measure-all", help="Also what is larger than the pick, for the whole picture.")
]


def percent_of(text: str) -> float:
    """A percentage as people write it: ``1%``, ``0.5 %``, ``2``.

    Raises:
        InvalidError: ``bad-percent``.
    """
    found = _PERCENT.fullmatch(text.strip())
    value = float(found[1]) if found is not None else 0.0
    if not 0 < value <= 100:
        raise InvalidError(
            "bad-percent",
            f"--max-quality-loss: expected a percentage above 0, at most 100, such as 1%, got {text[:40]!r}",
            hint="--max-quality-loss 1%",
        )
    return value


def rightsize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered GGUF, best in F16 or BF16.")],
    max_quality_loss: Loss,
    tasks: Tasks = None,
    texts: Texts = None,
    fit: Fit = "here",
    min_tps: LeastSpeed = None,
    users: Users = 1,
    context: Context = None,
    schemes: Schemes = None,
    importance_texts: ImportanceTexts = None,
    importance: ImportanceFile = None,
    allow_requantize: AllowRequantize = False,
    measure_all: MeasureAll = False,
    name: NewName = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Find the smallest model that still does its work on a machine, and prove it."""
    settings = given(
        max_quality_loss_percent=percent_of(max_quality_loss),
        fit=fit,
        min_tokens_per_second=min_tps,
        users=users,
        context_tokens=context,
        schemes=schemes.split(",") if schemes is not None else None,
        importance=importance_of(importance_texts, importance),
        allow_requantize=allow_requantize or None,
        measure_all=measure_all or None,
    )
    evaluation = given(tasks=tasks, texts=texts)
    if not evaluation:
        raise InvalidError(
            "nothing-to-measure", "expected tasks, texts or both to judge by", hint="give --tasks, --texts or both"
        )
    values = {
        "from": model,
        "to": name or suggested_name(model, "rightsized"),
        "steps": [{"rightsize": settings}],
        "evaluation": evaluation,
    }
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)
