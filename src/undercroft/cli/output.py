"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from undercroft.cli.encoding import typed
from undercroft.cli.table_layout import GAP, column_widths, stacked

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str | None, typer.Option("--because", callback=typed, help="Why, for the journal.")]


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """Stdout; colours only on a terminal."""
    return Console(highlight=False, soft_wrap=False)


def print_wrapped(text: str, *, indent: str = "", to_errors: bool = False) -> None:
    """A sentence in lines as wide as the terminal, those after the first indented; no word is broken."""
    lines = textwrap.wrap(
        text, console().width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    typer.echo("\n".join(lines), err=to_errors)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table that fits the terminal, or its rows one below the other where words would have to be broken.

    Args:
        columns: Their names. One that begins with ``>`` is aligned to the right, one with ``=`` is never broken.
        rows: Cells.
        empty: What is said where there is no row.
    """
    names = [column.lstrip(">=") for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        typer.echo(empty)
        return
    out = console()
    widths = column_widths([names, *cells], [not column.startswith("=") for column in columns], out.width)
    if widths is None:
        typer.echo("\n".join(stacked(names, cells, out.width)))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for column, name, width in zip(columns, names, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(name, justify=justify, width=width)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table)


def harmless(line: str) -> str:
    """A line of somebody else's text for a terminal: control characters are shown, not obeyed."""
    return "".join(letter if letter.isprintable() or letter == "\t" else repr(letter)[1:-1] for letter in line)
