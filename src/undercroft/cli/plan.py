"""``undercroft plan``: does it fit, how fast, what does it cost, may I use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from undercroft.cli.devices import devices
from undercroft.cli.errors import EXIT_STATUS
from undercroft.cli.need import plan_need
from undercroft.cli.output import AsJson, Reason, console, print_json, print_table
from undercroft.cli.plan_gate import check_licence
from undercroft.cli.plan_json import plan_as_dict
from undercroft.cli.plan_lists import assumptions, models, plan_accuracy
from undercroft.cli.plan_money import COST_COLUMNS, chart_lines, cost_rows, cost_sentences, explanation
from undercroft.cli.plan_options import (
    AnswerTokens,
    Assume,
    CacheType,
    Context,
    Count,
    Device,
    Engine,
    Explain,
    HtmlFile,
    Machines,
    Model,
    Need,
    PromptTokens,
    Quantization,
    ShowAll,
    SvgFile,
    Top,
    Users,
)
from undercroft.cli.plan_request import Asked, Made, plan_for, surroundings
from undercroft.cli.plan_text import (
    BAR_STYLES,
    MOST_COLUMNS,
    QUANTIZATION_COLUMNS,
    SPEED_COLUMNS,
    licence_lines,
    memory_lines,
    note_lines,
    quantization_rows,
    reach_lines,
    speed_rows,
    verdict_sentence,
    wrapped,
)
from undercroft.cli.report_files import write_report
from undercroft.cli.use import AcceptLicence, DeclaredUse
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.planning.fitting import Verdict
from undercroft.planning.report import html_of_plan, svg_of_plan

_IS_SUBCOMMAND = "undercroft.plan.is_subcommand"
_OF_A_PLAN = {
    "count": "--count",
    "machines": "--machines",
    "context_tokens": "--context",
    "users": "--users",
    "quantization": "--quant",
    "engine": "--engine",
    "cache_type": "--cache-type",
    "prompt_tokens": "--prompt-tokens",
    "answer_tokens": "--answer-tokens",
    "use": "--use",
    "accept_licence": "--accept-licence",
    "because": "--because",
    "explain": "--explain",
    "svg_file": "--svg",
}
_OF_A_NEED = {"show_all": "--all", "top": "--top"}
_EPILOG = (
    "The words below Commands come first: a model of such a name is given as ./devices or hf://…. Exit status: "
    f"0 it fits, {EXIT_STATUS[UnavailableError]} it does not fit or nothing satisfies the need, "
    f"{EXIT_STATUS[RefusedError]} its licence does not cover the declared use; 2, 4 and 5 as everywhere."
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
app.command()(models)
app.command()(assumptions)
app.command("accuracy")(plan_accuracy)


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def plan(
    context: typer.Context,
    model: Model = None,
    need: Need = None,
    device: Device = None,
    count: Count = None,
    machines: Machines = 1,
    context_tokens: Context = None,
    users: Users = 1,
    quantization: Quantization = None,
    engine: Engine = None,
    cache_type: CacheType = "f16",
    prompt_tokens: PromptTokens = None,
    answer_tokens: AnswerTokens = None,
    use: DeclaredUse = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    assume: Assume = None,
    explain: Explain = False,
    show_all: ShowAll = False,
    top: Top = 10,
    html_file: HtmlFile = None,
    svg_file: SvgFile = None,
    as_json: AsJson = False,
) -> None:
    """Say of a model whether it fits a machine, how fast it will be, what it costs, and whether it may be used."""
    if context.invoked_subcommand is not None:
        _refuse_both(model or need, context.invoked_subcommand)
        return
    if need is not None:
        _refuse_both(model, "--need")
        _refuse_unused(context, _OF_A_PLAN, "with --need; say it in the need")
        plan_need(
            need,
            device=device,
            assumed=assume or (),
            show_all=show_all,
            top=top,
            as_json=as_json,
            html_file=html_file,
        )
        return
    if model is None:
        raise InvalidError("missing-argument", "MODEL or --need is missing", hint="undercroft plan -h")
    _refuse_unused(context, _OF_A_NEED, "without --need")
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
    around = surroundings()
    made = plan_for(asked, around)
    _write_files(made, html_file, svg_file)
    if as_json:
        print_json(plan_as_dict(made, explanation(made.plan)))
    else:
        _print_plan(made, explain=explain)
        for file in filter(None, (html_file, svg_file)):
            typer.echo(f"Written: {file}")
    is_fitting = made.plan.fit.verdict is not Verdict.NO
    if is_fitting or accept_licence:
        check_licence(made, use, around, is_accepted=accept_licence, reason=because)
    if accept_licence and not as_json:
        typer.echo("\nThe licence is accepted for this use: undercroft licence show, undercroft journal show")
    if not is_fitting:
        raise typer.Exit(EXIT_STATUS[UnavailableError])


def _refuse_both(given: str | None, other: str) -> None:
    if given is not None:
        raise InvalidError(
            "bad-usage", f"MODEL {given[:80]!r} and {other} cannot be asked at once", hint="undercroft plan -h"
        )


def _refuse_unused(context: typer.Context, options: Mapping[str, str], when: str) -> None:
    """An option that would change nothing is refused, so that nobody believes it did."""
    given = [option for name, option in options.items() if _is_given(context, name)]
    if given:
        raise InvalidError("bad-usage", f"{', '.join(given)} changes nothing {when}", hint="undercroft plan -h")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _write_files(made: Made, html_file: Path | None, svg_file: Path | None) -> None:
    if html_file is not None:
        write_report(html_file, html_of_plan(made.plan, explanation(made.plan), to_iso(utc_now())))
    if svg_file is not None:
        write_report(svg_file, svg_of_plan(made.plan))


def _print_plan(made: Made, *, explain: bool) -> None:
    plan, width = made.plan, min(console().width, MOST_COLUMNS)
    _print(wrapped(verdict_sentence(plan), width))
    typer.echo()
    _print_bars(memory_lines(plan, width))
    typer.echo()
    print_table(QUANTIZATION_COLUMNS, quantization_rows(plan), empty="")
    if plan.speed is not None:
        typer.echo()
        print_table(SPEED_COLUMNS, speed_rows(plan), empty="")
        _print(["", *reach_lines(plan, width), ""])
        print_table(COST_COLUMNS, cost_rows(plan), empty="")
        _print(["", *cost_sentences(plan, width)])
        chart = chart_lines(plan, width)
        _print(["", *chart] if chart else [])
    else:
        _print(["", *reach_lines(plan, width)])
    _print(["", *licence_lines(plan, width), "", *note_lines(plan, width)])
    if explain:
        _print(["", *(piece for line in explanation(plan) for piece in _indented(line, width))])


def _print_bars(lines: Sequence[str]) -> None:
    """Memory bars; each shade has a colour of its own on a terminal."""
    out = console()
    for line in lines:
        text = Text(line)
        for pattern, style in BAR_STYLES.items():
            text.highlight_regex(pattern, style)
        out.print(text, soft_wrap=True)


def _indented(line: str, width: int) -> list[str]:
    """A long line wrapped below its own indent."""
    indent = line[: len(line) - len(line.lstrip())]
    return [indent + piece for piece in wrapped(line.strip(), width - len(indent), indent="    ")]


def _print(lines: list[str]) -> None:
    if lines:
        typer.echo("\n".join(lines))
