"""``undercroft status``: what runs and how it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer

from undercroft.cli.alert import sink_sentences
from undercroft.cli.opening import running_home
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.core.clock import from_iso, utc_now
from undercroft.core.errors import UnavailableError
from undercroft.core.units import format_bytes, format_duration
from undercroft.serving.keeper_client import ask, ask_control


def status(as_json: AsJson = False) -> None:
    """Show models, replicas, memory, tokens/s, requests, uptime."""
    home = running_home()
    keeper = ask(home, "status")
    if keeper is None:
        raise UnavailableError("keeper-gone", f"the keeper of {home.root} ended just now", hint="undercroft up")
    answer = ask_control(home, "GET", "/internal/status")
    uptime = time.time() - keeper["started"]
    if as_json:
        print_json({"keeper": keeper, "uptime_seconds": uptime, "control": None, **(answer or {})})
        return
    if answer is None:
        typer.echo(f"Up {format_duration(uptime)}; the control process is away (it is started again); serving goes on.")
        return
    memory = answer["memory"]
    typer.echo(
        f"{answer['url']}   up {format_duration(uptime)}   version {answer['version']}\n"
        f"memory {format_bytes(memory['available_bytes'])} free of {format_bytes(memory['total_bytes'])}   "
        f"home {answer['home']}\n"
    )
    print_table(
        ["deployment", "state", ">tok/s", ">requests", ">errors", ">context", ">restarts"],
        [row for deployment in answer["deployments"] for row in _deployment_rows(deployment)],
        empty="Nothing is deployed. Try: undercroft deployment create MODEL",
    )
    rows = [_replica_row(_shown_name(d), r) for d in answer["deployments"] for r in d["replicas"]]
    if rows:
        typer.echo()
        print_table(["replica", "of", "state", ">memory", ">forecast", ">load", "network"], rows, empty="")
    for deployment in answer["deployments"]:
        _say_notes(deployment)
    for promotion in answer["promotions"]:
        typer.echo()
        print_wrapped(promotion_sentence(promotion))
    for sentence in (probes_sentence(answer["probes"], utc_now()), ratings_sentence(answer["ratings"])):
        if sentence:
            typer.echo()
            print_wrapped(sentence)
    for said in [*incident_sentences(answer["incidents"], utc_now()), *sink_sentences(answer["alerts"])]:
        typer.echo()
        print_wrapped(said, indent="  ")
    sentence = backup_sentence(answer["backup"], utc_now())
    if sentence:
        typer.echo()
        print_wrapped(sentence)


def incident_sentences(incidents: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """What is wrong, an incident a sentence.

    Args:
        incidents: Open ones, as control tells them.
        now: The time.
    """
    return [
        f"INCIDENT {one['id']} ({one['severity']}, since "
        f"{format_duration(max(0.0, (now - from_iso(one['since'])).total_seconds()))}): {one['sentence']}"
        for one in incidents
    ]


def backup_sentence(backup: Mapping[str, Any], now: datetime) -> str:
    """How backups go; empty where none are set up and none was made.

    Args:
        backup: As control tells it.
        now: The time.
    """

    def ago(moment: str) -> str:
        return f"{format_duration(max(0.0, (now - from_iso(moment)).total_seconds()))} ago"

    if backup["is_failing"]:
        return f"BACKUP FAILED {ago(backup['failed_at'])}: {backup['failure']}"
    if backup["created_at"] is None:
        return "No backup was made yet." if backup["is_set_up"] else ""
    tried = f"restored on trial {ago(backup['tried_at'])}" if backup["tried_at"] else "none was restored on trial yet"
    lacks = f"; it LACKS {backup['missing']} stored files" if backup["missing"] else ""
    return f"Last backup {ago(backup['created_at'])} ({backup['created_id']}){lacks}; {tried}."


def probes_sentence(probes: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """How the standard questions went last; empty where there are none.

    Args:
        probes: As control tells them.
        now: The time.
    """
    told = []
    for probe in probes:
        run = probe["last"]
        if run is None:
            told.append(f"{probe['probe']} was never asked")
        elif run["finished_at"] is None:
            told.append(f"{probe['probe']} is being asked")
        else:
            ago = format_duration(max(0.0, (now - from_iso(run["started_at"])).total_seconds()))
            failed = run["passed"] < run["asked"] or bool(run["note"])
            how = run["note"] or f"{run['passed']} of {run['asked']} passed"
            told.append(f"{probe['probe']} {'FAILED: ' if failed else ''}{how}, {ago} ago")
    return f"Standard questions: {'; '.join(told)}." if told else ""


def ratings_sentence(ratings: Sequence[Mapping[str, Any]]) -> str:
    """How users rated the answers of the last day; empty where nobody did.

    Args:
        ratings: As control tells them.
    """
    told = [f"{one['name']} {one['bad']:,} of {one['rated']:,}" for one in ratings]
    return f"Answers of the last 24 h that users rated bad: {'; '.join(told)}." if told else ""


def promotion_sentence(promotion: Mapping[str, Any]) -> str:
    """How a promotion goes.

    Args:
        promotion: As control tells it.
    """
    note = f": {promotion['note']}" if promotion["note"] else ""
    candidate, name = f"{promotion['name']}@{promotion['to']}", promotion["name"]
    return f"{candidate} is being promoted, {promotion['state']}{note}; undercroft release status {name}"


def _shown_name(deployment: Mapping[str, Any]) -> str:
    """The release that answers, or the newest with a tag, of those that a deployment runs; else its own name."""
    releases = deployment["releases"]
    chosen = [one for one in releases if one["is_live"]] or [one for one in releases if one["tags"]][-1:]
    return str(chosen[0]["release"] if chosen else deployment["name"])


def _deployment_rows(deployment: dict[str, Any]) -> list[list[object]]:
    """A deployment, and below it each of its adapters."""
    context = f"{deployment['context_tokens']:,}" if deployment["context_tokens"] else "unknown"
    own = [_shown_name(deployment), deployment["state"], *_figures(deployment), context, deployment["restarts"]]
    return [own, *([f"+ {one['name']}", "", *_figures(one), "", ""] for one in deployment["adapters"])]


def _figures(totals: Mapping[str, Any]) -> list[str]:
    return [f"{totals['tokens_per_second']:.1f}", f"{totals['requests']:,}", f"{totals['errors']:,}"]


def _replica_row(name: str, replica: dict[str, Any]) -> list[object]:
    private, mapped = replica["private_bytes"], replica["file_bytes"]
    forecast = replica["forecast"]
    load = replica["load_seconds"]
    return [
        replica["id"],
        name,
        replica["state"],
        format_bytes(private + mapped) if private is not None else "-",
        format_bytes(forecast["private_bytes"] + forecast["file_bytes"]) if forecast else "-",
        "adopted" if replica["was_adopted"] else format_duration(load) if load is not None else "-",
        {True: "sealed", False: "NOT SEALED", None: "-"}[replica["is_sealed"]],
    ]


def _say_notes(deployment: dict[str, Any]) -> None:
    if deployment["note"]:
        typer.echo()
        print_wrapped(f"{deployment['name']}: {deployment['note']}")
    for note in sorted({r["seal_note"] for r in deployment["replicas"] if r["is_sealed"] is False and r["seal_note"]}):
        typer.echo()
        print_wrapped(f"{deployment['name']}: {note}")
