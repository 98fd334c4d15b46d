"""The options of ``undercroft plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli.encoding import typed

Model = Annotated[
    str | None,
    typer.Argument(
        callback=typed,
        metavar="MODEL",
        help="Catalogue name, registered model, file, folder, or hf://org/name[:file or quant].",
    ),
]
Need = Annotated[
    str | None,
    typer.Option(
        "--need",
        callback=typed,
        metavar="NEED",
        help="In place of MODEL: rank all models on all devices, such as "
        "'users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD'.",
    ),
]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="Of plan devices; else this machine.")]
Count = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the device in one machine.")]
Machines = Annotated[int, typer.Option(min=1, metavar="N", help="Equal machines that share the users.")]
Context = Annotated[
    int | None, typer.Option("--context", min=1, metavar="TOKENS", help="Of one request, prompt and answer.")
]
Users = Annotated[int, typer.Option(min=1, metavar="N", help="Who ask at the same time.")]
Quantization = Annotated[
    str | None, typer.Option("--quant", metavar="NAME", help="Such as Q4_K_M; else the best that fits.")
]
Engine = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="llama.cpp, vllm or onnxruntime; else the first of them that runs there."),
]
CacheType = Annotated[str, typer.Option(metavar="TYPE", help="Of keys and values, such as f16 or q8_0.")]
PromptTokens = Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="Of a typical request.")]
AnswerTokens = Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="Of a typical request.")]
Assume = Annotated[
    list[str] | None,
    typer.Option(
        "--assume", metavar="NAME=VALUE", help="Another assumption: kwh=0.30, years=5; see: plan assumptions."
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Show every term with its formula and source.")]
ShowAll = Annotated[bool, typer.Option("--all", help="With --need: everything that does, and why the others do not.")]
Top = Annotated[int, typer.Option(min=1, metavar="N", help="With --need: so many of the cheapest.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots, too.")]
SvgFile = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the plots of a plan, too.")]
