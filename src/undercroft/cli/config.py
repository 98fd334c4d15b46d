"""``undercroft config``: the settings."""

from __future__ import annotations

import typer

from undercroft.cli.output import AsJson, print_json, print_table
from undercroft.core.environment import home_path
from undercroft.core.home import Home
from undercroft.core.settings import load_settings, setting_names

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def config() -> None:
    """Settings: default < config.toml in the home < environment < flag."""


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show every setting, its value and where that came from."""
    home = Home(home_path())
    loaded = load_settings(home.config_file)
    values = loaded.settings.model_dump(mode="json")
    rows = []
    for name in setting_names():
        section, key = name.split(".")
        rows.append((name, values[section][key], loaded.origins[name]))
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
        return
    typer.echo(f"file: {home.config_file}{'' if home.config_file.exists() else ' (not there)'}\n")
    print_table(["setting", "value", "from"], [(n, "" if v is None else v, o) for n, v, o in rows], empty="")
