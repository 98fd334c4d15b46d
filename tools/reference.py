"""Writes ``docs/reference`` from the code, the command line and the settings, and the table of checks in the guide.

python -m tools.reference            writes
python -m tools.reference --check    exit status 1 where a page is not what the code says
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from undercroft.cli import COMMANDS, build
from undercroft.core.settings import PREFIX, section_types
from undercroft.serving.doctor.table import CHECKS

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
DOCTOR_PAGE = "../guide/doctor.md"
_TABLE_BEGIN, _TABLE_END = "<!-- checks: made by `python -m tools.reference` -->\n", "<!-- end of checks -->"
_NOTE = "<!-- Made by `python -m tools.reference` from the code; do not edit. -->\n"


def pages() -> dict[str, str]:
    """File name → content."""
    return {"cli.md": cli_page(), "settings.md": settings_page(), DOCTOR_PAGE: doctor_page()}


def cli_page() -> str:
    """Every command with what its ``--help`` says."""
    parts = ["# Command line\n", _NOTE, "`undercroft COMMAND --help` says the same.\n"]
    root: Any = get_command(build(*COMMANDS))
    for name in COMMANDS:
        parts.extend(_command(root.commands[name], f"undercroft {name}", 2))
    return "\n".join(parts)


def _command(command: Any, path: str, level: int) -> list[str]:
    context = command.context_class(command, info_name=path, terminal_width=100, max_content_width=100)
    children = getattr(command, "commands", {})
    parts = [f"{'#' * level} {path}\n", "```text", _plain(command.get_help(context)), "```\n"]
    for name, child in children.items():
        parts.extend(_command(child, f"{path} {name}", level + 1))
    return parts


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def settings_page() -> str:
    """Every setting with its default, its variable and what it means."""
    parts = [
        "# Settings\n",
        _NOTE,
        "One file, `config.toml` in the home; then the environment; then flags: the later wins.",
        "`undercroft config show` says which one won. Unknown names are refused.\n",
    ]
    for section, kind in section_types().items():
        parts.append(f"## {section}\n\n{(kind.__doc__ or '').strip()}\n")
        parts.append("| setting | default | variable | meaning |\n|---|---|---|---|")
        for key, field in kind.model_fields.items():
            variable = f"{PREFIX}{section.upper()}__{key.upper()}"
            default = field.get_default()
            shown = "" if default is None else f"`{default}`"
            parts.append(f"| `{section}.{key}` | {shown} | `{variable}` | {field.description} |")
        parts.append("")
    return "\n".join(parts)


def doctor_page() -> str:
    """The guide's page as it is, with the table of all checks made anew."""
    before, _, rest = (FOLDER / DOCTOR_PAGE).read_text(encoding="utf-8").partition(_TABLE_BEGIN)
    rows = [f"| {check.name} | {check.looks_at} | {check.why} |" for check in CHECKS]
    table = "\n".join(["| check | looks at | why it hurts |", "|---|---|---|", *rows])
    return f"{before}{_TABLE_BEGIN}{table}\n{_TABLE_END}{rest.partition(_TABLE_END)[2]}"


def main(
    check: bool = typer.Option(False, "--check", help="Compare instead of writing."),
) -> None:
    """Writes or compares the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, content in pages().items():
        file = FOLDER / name
        if check and (not file.exists() or file.read_text(encoding="utf-8") != content):
            stale.append(name)
        elif not check:
            file.write_text(content, encoding="utf-8")
    if stale:
        typer.echo(f"stale: {', '.join(stale)}. Try: python -m tools.reference", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
