"""``undercroft plan``: does it fit, how fast, what does it cost, may I use it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from undercroft.cli.devices import devices
from undercroft.cli.encoding import typed
from undercroft.cli.errors import EXIT_STATUS
from undercroft.cli.output import AsJson, console, print_json, print_table
from undercroft.cli.plan_json import plan_as_dict
from undercroft.cli.plan_money import COST_COLUMNS, assumption_lines, chart_lines, cost_rows, cost_sentences
from undercroft.cli.plan_request import Asked, Made, plan_for, surroundings
from undercroft.cli.plan_text import (
    MOST_COLUMNS,
    QUANTIZATION_COLUMNS,
    SPEED_COLUMNS,
    explained_lines,
    licence_lines,
    memory_lines,
    note_lines,
    quantization_rows,
    reach_lines,
    speed_rows,
    verdict_sentence,
    wrapped,
)
from undercroft.cli.use import DeclaredUse
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.planning.fitting import Verdict

_IS_SUBCOMMAND = "undercroft.plan.is_subcommand"
_EPILOG = (
    "The words below Commands come first: a model of such a name is given as ./devices or hf://…. Exit status: "
    f"0 it fits, {EXIT_STATUS[UnavailableError]} it does not fit or nothing satisfies the need; 2 to 5 as everywhere."
)


class ModelOrCommand(TyperGroup):
    """A group whose first word is one of its commands, or else a model."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        """Lets ``plan devices`` be the command and ``plan llama-3.2-3b --users 4`` the model with its options."""
        first = next((index for index, word in enumerate(args) if word != "--json"), None)
        is_command = first is not None and args[first] in self.commands
        if first is not None and is_command:
            args = [args[first], *args[:first], *args[first + 1 :]]
        context.meta[_IS_SUBCOMMAND] = is_command
        context.allow_interspersed_args = not is_command
        return super().parse_args(context, args)

    def get_params(self, context: Any) -> list[Any]:
        """Without MODEL where a command was named."""
        params = super().get_params(context)
        if not context.meta.get(_IS_SUBCOMMAND):
            return params
        return [param for param in params if param.param_type_name != "argument"]


app = typer.Typer(cls=ModelOrCommand, add_completion=False, rich_markup_mode=None)
app.command()(devices)

Model = Annotated[
    str | None,
    typer.Argument(
        callback=typed,
        metavar="MODEL",
        help="Catalogue name, registered model, file, folder, or hf://org/name[:file or quant].",
    ),
]
Assume = Annotated[
    list[str] | None,
    typer.Option(
        "--assume", metavar="NAME=VALUE", help="Another assumption: kwh=0.30, years=5; see: plan assumptions."
    ),
]


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def plan(
    context: typer.Context,
    model: Model = None,
    device: Annotated[str | None, typer.Option(help="Of plan devices; else this machine.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Of the device in one machine.")] = None,
    machines: Annotated[int, typer.Option(min=1, help="Equal machines that share the users.")] = 1,
    context_tokens: Annotated[
        int | None, typer.Option("--context", min=1, metavar="TOKENS", help="Of one request, prompt and answer.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="Who ask at the same time.")] = 1,
    quantization: Annotated[
        str | None, typer.Option("--quant", help="Such as Q4_K_M; else the best that fits.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="llama.cpp, vllm or onnxruntime.")] = None,
    cache_type: Annotated[str, typer.Option(help="Of keys and values, such as f16 or q8_0.")] = "f16",
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Of a typical request.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(min=1, help="Of a typical request.")] = None,
    use: DeclaredUse = None,
    assume: Assume = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show every term with its formula and source.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say of a model whether it fits a machine, how fast it will be, what it costs, and whether it may be used."""
    if context.invoked_subcommand is not None:
        if model is not None:
            raise InvalidError(
                "bad-usage", f"{context.invoked_subcommand!r} is a command of its own", hint="undercroft plan -h"
            )
        return
    if model is None:
        raise InvalidError("missing-argument", "MODEL or --need is missing", hint="undercroft plan -h")
    asked = Asked(
        model=model,
        device=device,
        count=count,
        machines=machines,
        context=context_tokens,
        users=users,
        quantization=quantization,
        engine=engine,
        cache_type=cache_type,
        prompt=prompt_tokens,
        answer=answer_tokens,
        use=use,
        assumed=tuple(assume or ()),
    )
    made = plan_for(asked, surroundings())
    if as_json:
        print_json(plan_as_dict(made, [*explained_lines(made.plan), *assumption_lines(made.plan)]))
    else:
        _print_plan(made, explain=explain)
    if made.plan.fit.verdict is Verdict.NO:
        raise typer.Exit(EXIT_STATUS[UnavailableError])


def _print_plan(made: Made, *, explain: bool) -> None:
    plan, width = made.plan, min(console().width, MOST_COLUMNS)
    _print(wrapped(verdict_sentence(plan), width))
    _print(["", *memory_lines(plan, width), ""])
    print_table(QUANTIZATION_COLUMNS, quantization_rows(plan), empty="")
    if plan.speed is not None:
        typer.echo()
        print_table(SPEED_COLUMNS, speed_rows(plan), empty="")
        _print(["", *reach_lines(plan, width), ""])
        print_table(COST_COLUMNS, cost_rows(plan), empty="")
        _print(["", *cost_sentences(plan, width), "", *chart_lines(plan, width)])
    _print(["", *licence_lines(plan, width), "", *note_lines(plan, width)])
    if explain:
        lines = ["", *explained_lines(plan), "Assumptions", *assumption_lines(plan)]
        _print([piece for line in lines for piece in _indented(line, width)])


def _indented(line: str, width: int) -> list[str]:
    """A long line wrapped below its own indent."""
    indent = line[: len(line) - len(line.lstrip())]
    return [indent + piece for piece in wrapped(line.strip(), width - len(indent), indent="    ")]


def _print(lines: list[str]) -> None:
    typer.echo("\n".join(lines))
