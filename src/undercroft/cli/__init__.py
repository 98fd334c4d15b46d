"""The command line: one module a noun; parse, call, print.

A noun's module is imported only when its command is used, so that ``undercroft --help`` stays fast.
"""

from __future__ import annotations

import importlib
import sys

import typer

import undercroft

# Command → (module, what `undercroft --help` says of it), in the order of a first day. The module of a noun has a Typer
# called `app` with several commands; the module of `up`, `down` and the like has one function of that name.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("undercroft.cli.up", "Start everything: control, door, engines."),
    "down": ("undercroft.cli.down", "Finish running requests and stop everything."),
    "restart": ("undercroft.cli.restart", "Restart control and door; engines stay loaded, no request is lost."),
    "status": ("undercroft.cli.status", "Show models, replicas, memory, tokens/s, requests, uptime."),
    "chat": ("undercroft.cli.chat", "Talk to a model through the door."),
    "model": ("undercroft.cli.model", "Pull, list, show, verify and remove models."),
    "optimize": ("undercroft.cli.optimize", "Make a new model of one that is there: smaller, for one's own task."),
    "job": ("undercroft.cli.job", "Show, follow, cancel and resume what makes models."),
    "licence": ("undercroft.cli.licence", "Show what licences permit, and accept them for a use."),
    "engine": ("undercroft.cli.engine", "Show what runs and converts models; install what is not there."),
    "deployment": ("undercroft.cli.deployment", "Say which models are served, and how."),
    "release": ("undercroft.cli.release", "Number what answers, put it into production, take it back."),
    "probe": ("undercroft.cli.probe", "Ask standard questions and report how the answers are."),
    "incident": ("undercroft.cli.incident", "Show what is wrong and since when; say that it is over."),
    "alert": ("undercroft.cli.alert", "Show and test who is told when something is wrong."),
    "drift": ("undercroft.cli.drift", "Show what has changed: answers, times, requests, memory, files."),
    "key": ("undercroft.cli.key", "Create, list and revoke API keys."),
    "plan": ("undercroft.cli.plan", "Say whether a model fits, how fast, at what cost, and whether it may be used."),
    "bench": ("undercroft.cli.bench", "Time a model on this machine, or lay it out for a device."),
    "hardware": ("undercroft.cli.hardware", "Show and measure this machine; list devices one could buy."),
    "doctor": ("undercroft.cli.doctor", "Check this machine and this home for what goes wrong most."),
    "journal": ("undercroft.cli.journal", "Show and verify the diary of every change."),
    "backup": ("undercroft.cli.backup", "Make, list, verify, try, restore and remove backups."),
    "bundle": ("undercroft.cli.bundle", "Carry models and releases in one signed file to machines without internet."),
    "recovery": ("undercroft.cli.recovery", "Practise coming back: RTO and RPO with a clock."),
    "config": ("undercroft.cli.config", "Show the settings and where each came from."),
}
# Commands that may be written without their noun; help does not list them twice.
SHORT: dict[str, str] = {
    "promote": "undercroft.cli.release_promote",
    "rollback": "undercroft.cli.release_promote",
}


def main() -> None:
    """The ``undercroft`` command."""
    from undercroft.cli.encoding import prepare_streams  # noqa: PLC0415  (keeps `import undercroft.cli` free of
    from undercroft.cli.errors import run  # noqa: PLC0415                   side effects)

    prepare_streams()
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    run(build(wanted))


def build(*wanted: str | None) -> typer.Typer:
    """The application, with only the wanted commands really imported; the others are known by name and help."""
    app = typer.Typer(
        name="undercroft",
        help="Small language models in your own cellar.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, (module, text) in COMMANDS.items():
        if name not in wanted:
            app.command(name, help=text)(_unloaded)
            continue
        loaded = importlib.import_module(module)
        if hasattr(loaded, "app"):
            app.add_typer(loaded.app, name=name, help=text)
        else:
            app.command(name, short_help=text)(getattr(loaded, name))
    for name, module in SHORT.items():
        app.command(name, hidden=True)(getattr(importlib.import_module(module), name) if name in wanted else _unloaded)
    return app


def _unloaded() -> None:
    raise AssertionError("a command that was not imported cannot run")


def _version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"undercroft {undercroft.__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass
