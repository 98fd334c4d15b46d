"""``undercroft optimize distill``: a smaller model learns from a larger one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.optimize_job import Detach, DryRun, Epochs, NewName, do_recipe, given, suggested_name
from undercroft.cli.output import AsJson, Reason
from undercroft.core.errors import InvalidError
from undercroft.optimize.recipes import make_recipe

_FORM = "blocks=4,width=128,heads=4"
_RATE_FROM_NOTHING = 1e-3  # what has learnt nothing bears, and needs, more than what is only bent


def distill(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT", help="A registered GGUF; a new model is made of it. With --new-student the teacher."
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="Texts, or JSON lines of conversations, to be taught on.")
    ],
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="TEACHER", help="A registered GGUF that expects it better.")
    ] = None,
    new_student: Annotated[
        str | None,
        typer.Option("--new-student", metavar="SHAPE", help=f"Teach a network of this shape from nothing: {_FORM}."),
    ] = None,
    served: Annotated[
        str | None, typer.Option("--served", metavar="URL", help="A server where the teacher answers; method answers.")
    ] = None,
    served_model: Annotated[
        str | None, typer.Option("--served-model", metavar="NAME", help="What the teacher is called there.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="FILE", help="With the key for that server.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="logits: what it expects at each token; answers: what it says.")
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Softens what both expect; 1.")] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="Of the teacher; the rest is the data itself; 1.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Highest learning rate; 2e-5.")] = None,
    epochs: Epochs = None,
    name: NewName = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Teach a small model what a large one expects, or what it answers; needs: undercroft engine install train."""
    settings = given(
        data=data,
        teacher=teacher,
        method=method or ("answers" if served is not None else None),
        temperature=temperature,
        share=share,
        rate=rate if rate is not None or new_student is None else _RATE_FROM_NOTHING,
        epochs=epochs,
    )
    if served is not None:
        if served_model is None:
            raise InvalidError("no-served-model", "expected the name of the teacher there", hint="--served-model NAME")
        settings["served"] = given(url=served, model=served_model, key_file=key_file)
    elif served_model is not None or key_file is not None:
        raise InvalidError("no-server", "expected the address of the server, too", hint="--served URL")
    steps: list[dict[str, Any]] = [{"distill": settings}]
    if new_student is not None:
        steps.insert(0, {"student": shape_of(new_student)})
    values = {"from": student, "to": name or suggested_name(student, "distilled"), "steps": steps}
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)


def shape_of(text: str) -> dict[str, int]:
    """``blocks=4,width=128`` as a recipe has it.

    Raises:
        InvalidError: ``bad-shape``.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        if not count.strip().isdecimal() or name in found:
            raise InvalidError(
                "bad-shape", f"expected counts such as {_FORM}, got {text[:60]!r}", hint=f"--new-student {_FORM}"
            )
        found[name] = int(count)
    return found
