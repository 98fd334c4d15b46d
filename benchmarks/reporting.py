"""What a benchmark found, as a table for people and as one JSON object for programs."""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeGuard

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import machine

_WIDTH = 160  # of a table that goes into a file

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Aim:
    """One claim and whether it held in this run.

    Args:
        name: Of the figure or ratio.
        aim: The claim, such as ``<= 120``.
        measured: What came out; None where it could not be measured, and then the aim does not hold.
        holds: Whether it did.
    """

    name: str
    aim: str
    measured: float | None
    holds: bool


@dataclass(slots=True)
class Report:
    """Figures of one run. Units are in the names: ``cpu_us_per_request``, ``p50_ms``.

    Args:
        title: What is measured, for the table.
        figures: Ours.
        peers: Peer → its figures; ``missing`` says in words why it was not measured.
        ratios: Ours against a peer's, both measured in this run.
        aims: In the order in which they were stated.
        rows: Single measurements, for programs that look further; not in the tables.
        tables: More tables for people: names of columns, ``>`` before those of numbers, and rows.
    """

    title: str
    figures: dict[str, Value] = field(default_factory=dict)
    peers: dict[str, dict[str, Value]] = field(default_factory=dict)
    ratios: dict[str, Value] = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)
    rows: list[dict[str, Value]] = field(default_factory=list)
    tables: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = field(default_factory=list)
    machine: dict[str, str | int] = field(default_factory=machine.facts)

    def missing(self, peer: str, why: str) -> None:
        """A peer that cannot be measured here. Aims that need it do not hold."""
        self.peers.setdefault(peer, {})["missing"] = why

    def at_most(self, name: str, measured: float | None, limit: float) -> None:
        """States an aim: no more than ``limit``."""
        self.aims.append(Aim(name, f"<= {limit:g}", measured, _is_number(measured) and measured <= limit))

    def at_least(self, name: str, measured: float | None, limit: float) -> None:
        """States an aim: no less than ``limit``."""
        self.aims.append(Aim(name, f">= {limit:g}", measured, _is_number(measured) and measured >= limit))

    @property
    def holds(self) -> bool:
        """Whether there are aims and all of them hold."""
        return bool(self.aims) and all(aim.holds for aim in self.aims)

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON: figures, peers, ratios, machine, aims."""
        return {
            "figures": {name: _plain(value) for name, value in self.figures.items()},
            "peers": {peer: {name: _plain(value) for name, value in own.items()} for peer, own in self.peers.items()},
            "ratios": {name: _plain(value) for name, value in self.ratios.items()},
            "machine": self.machine,
            "aims": [{**asdict(aim), "measured": _plain(aim.measured)} for aim in self.aims],
            **({"rows": [{n: _plain(v) for n, v in row.items()} for row in self.rows]} if self.rows else {}),
        }

    def finish(self, *, as_json: bool) -> int:
        """Prints the tables, with ``as_json`` one JSON object as the last line.

        Returns:
            The exit status: 0 only where all aims hold.
        """
        self._print()
        if as_json:
            print(json.dumps(self.to_dict(), allow_nan=False), flush=True)
        return 0 if self.holds else 1

    def _print(self) -> None:
        console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
        own = self.machine
        console.print(f"\n[bold]{self.title}[/bold]")
        console.print(f"{own['cpu']}, {own['cores']} cores, Linux {own['kernel']}, Python {own['python']}")
        console.print(_figures(self.figures, {peer: own for peer, own in self.peers.items() if "missing" not in own}))
        for peer, own_figures in self.peers.items():
            if "missing" in own_figures:
                console.print(f"{peer} was not measured: {own_figures['missing']}", markup=False)
        for columns, rows in self.tables:
            console.print(_rows(columns, rows))
        if self.ratios:
            console.print(_rows(["ratio", ">value"], [[name, _text(value)] for name, value in self.ratios.items()]))
        aims = [[a.name, a.aim, _text(a.measured), "yes" if a.holds else "NO"] for a in self.aims]
        console.print(_rows(["aim", "wanted", ">measured", "holds"], aims))


def _figures(figures: dict[str, Value], peers: dict[str, dict[str, Value]]) -> Table:
    """One row a figure, one column a peer."""
    names = list(dict.fromkeys([*figures, *(name for own in peers.values() for name in own)]))
    columns = [figures, *peers.values()]
    rows = [[name, *(_text(own[name]) if name in own else "" for own in columns)] for name in names]
    return _rows(["figure", ">undercroft", *(f">{peer}" for peer in peers)], rows)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


def _text(value: Value) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plain(value: Value) -> Value:
    """JSON knows no infinity and no not-a-number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def median(values: Sequence[float]) -> float | None:
    """The middle one; None of nothing."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that ``share`` of all values do not exceed; None of nothing.

    Args:
        values: In any order.
        share: From 0 to 1; 0.99 is p99.
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def divided(value: float | None, by: float | None) -> float | None:
    """A ratio; None where a part of it was not measured."""
    return value / by if value is not None and by else None


def subtracted(value: float | None, less: float | None) -> float | None:
    """A difference; None where a part of it was not measured."""
    return value - less if value is not None and less is not None else None


def arguments(title: str, *, keeps: bool = False) -> argparse.Namespace:
    """The command line that every benchmark has: ``json`` and ``quick``; and ``keep`` for one that can be broken off.

    From here on SIGTERM ends what a benchmark started, as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds; ends within 5 minutes")
    if keeps:
        parser.add_argument("--keep", type=Path, help="keep what is measured in this file, and go on from it")
    return parser.parse_args()
