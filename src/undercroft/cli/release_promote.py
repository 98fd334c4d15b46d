"""``undercroft release promote``, ``status``, ``rollback``: what is in production, and how a candidate gets there."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, print_json, print_wrapped
from undercroft.cli.release_options import (
    Canary,
    Hold,
    MayReplace,
    NoProbes,
    RulesFile,
    Shadow,
    Wait,
    plan_from,
    wanted_release,
)
from undercroft.cli.release_text import is_worth_telling, print_promotion, progress_line
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.ids import check_name
from undercroft.core.units import format_duration
from undercroft.registry.releases import store
from undercroft.serving import promotions, releasing
from undercroft.serving.keeper_client import ask_control, is_running, refresh
from undercroft.serving.promotions import Promotion, State
from undercroft.serving.releasing import RolledBack
from undercroft.storage.database import Database
from undercroft.watch.promotion.askable import check_askable
from undercroft.watch.promotion.waiting import plain_promotion

_POLL_SECONDS = 0.2
_EXIT_OTHERWISE = 1


def promote(
    which: Annotated[
        str, typer.Argument(metavar="NAME@N", help="A release: NAME@8, NAME:tag, or NAME for its newest.")
    ],
    canary: Canary = None,
    shadow: Shadow = False,
    hold: Hold = None,
    rules: RulesFile = None,
    no_probes: NoProbes = False,
    may_replace: MayReplace = True,
    wait: Wait = True,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Put a release into production: load it beside what is there, ask it, try it, then switch, or go back.

    The exit status is 0 where it is in production, 1 where it ended otherwise. Without a server it is there at once.
    """
    home, database = open_database()
    plan = plan_from(canary=canary, shadow=shadow, hold=hold, rules=rules, no_probes=no_probes, may_replace=may_replace)
    has_server = is_running(home)
    reference = wanted_release(which)
    if has_server:
        with database.read() as connection:
            check_askable(home, connection, reference, plan)
    made = releasing.promote(database, reference, plan, has_server=has_server, actor=current_actor(), reason=because)
    if not has_server:
        _say_moved(made, as_json)
        return
    refresh(home)
    if not wait:
        print_json(made.to_dict()) if as_json else print_wrapped(
            f"The promotion of {made.name}@{made.to_number} began. See: undercroft release status {made.name}"
        )
        return
    ended = _follow(home, database, made, as_json)
    if as_json:
        print_json(ended.to_dict())
    if ended.state is not State.DONE:
        raise typer.Exit(_EXIT_OTHERWISE)


def _say_moved(made: Promotion, as_json: bool) -> None:
    if as_json:
        print_json(made.to_dict())
        return
    print_wrapped(
        f"{made.name}@{made.to_number} is in production from the next start on. No server runs, so it was neither "
        "loaded nor tried."
    )


def _follow(home: Home, database: Database, promotion: Promotion, is_quiet: bool) -> Promotion:
    """Prints a line for each state until it has ended, or the server did; Ctrl-C only ends the following.

    How a trial goes is told once a minute.
    """
    told: Promotion | None = None
    told_at = 0.0
    try:
        while True:
            had_server = is_running(home)
            with database.read() as connection:
                now = promotions.get(connection, promotion.id)
            if not is_quiet and is_worth_telling(now, told, time.monotonic() - told_at):
                print_wrapped(progress_line(now), indent="  ")
                told, told_at = now, time.monotonic()
            if now.ended_at is not None:
                return now
            if not had_server:
                print_wrapped(
                    f"The server ended. The promotion of {now.name}@{now.to_number} goes on with: undercroft up",
                )
                return now
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        print(
            f"\nThe promotion goes on. See: undercroft release status {promotion.name}\n"
            f"Stop it: undercroft release rollback {promotion.name}",
            file=sys.stderr,
        )
        raise


def status(
    name: Annotated[str | None, typer.Argument(help="Of one name; none means all.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show the promotion that runs, what it waits for, and the last that ended."""
    _, database = open_database()
    with database.read() as connection:
        names = (
            [check_name(name, what="release")] if name else sorted({r.name for r in store.list_releases(connection)})
        )
        found = {each: _running_and_last(promotions.list_of(connection, each, limit=2)) for each in names}
        tags = store.all_tags(connection)
        if name is not None:
            store.resolve(connection, wanted_release(name))
    if as_json:
        print_json(
            {
                each: {
                    "tags": tags.get(each, {}),
                    "running": plain_promotion(running) if running is not None else None,
                    "last": plain_promotion(last) if last is not None else None,
                }
                for each, (running, last) in found.items()
            }
        )
        return
    if not found:
        typer.echo("There is no release. Try: undercroft release create NAME --model MODEL")
    for place, (each, (running, last)) in enumerate(found.items()):
        if place:
            typer.echo()
        pointing = ", ".join(f"{tag} @{number}" for tag, number in tags.get(each, {}).items())
        typer.echo(f"{each}: {pointing or 'nothing is in production'}")
        for promotion in (running, last):
            if promotion is not None:
                print_promotion(promotion)


def _running_and_last(newest: list[Promotion]) -> tuple[Promotion | None, Promotion | None]:
    running = next((one for one in newest if one.ended_at is None), None)
    return running, next((one for one in newest if one.ended_at is not None), None)


def rollback(
    name: Annotated[str, typer.Argument(help="What clients ask for.")],
    to: Annotated[
        int | None,
        typer.Option(
            "--to", min=1, max=999_999_999, metavar="N", help="Number of a release; else what was there before."
        ),
    ] = None,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Put the release that was there before back into production; while a promotion runs, end that instead.

    No request is lost. It takes under a second where the old release is still loaded, else the time of its load.
    """
    home, database = open_database()
    reference = wanted_release(name)
    if str(reference) != reference.name:
        raise InvalidError(
            "bad-name",
            f"expected a name alone, got {str(reference)!r}",
            hint=f"undercroft release rollback {reference.name} --to N",
        )
    began = time.monotonic()
    done = releasing.rollback(database, name, to, actor=current_actor(), reason=because)
    state = ""
    if is_running(home):
        refresh(home)
        state = _wait_until_live(home, done, is_quiet=as_json) if done.number is not None else ""
    seconds = time.monotonic() - began
    if as_json:
        plain: dict[str, Any] = {"name": name, "left": done.left, "production": done.number}
        plain |= {"has_cancelled": done.has_cancelled, "server": state or None, "seconds": round(seconds, 3)}
        print_json(plain)
    else:
        print_wrapped(_rollback_sentence(done, state, seconds))
    if state in ("failed", "gone"):
        raise typer.Exit(_EXIT_OTHERWISE)


def _wait_until_live(home: Home, done: RolledBack, *, is_quiet: bool) -> str:
    """What became of it: ``ready``, ``unloaded`` until the next request, ``failed``, or ``gone``: the server ended."""
    has_told = is_quiet
    while is_running(home):
        answer = ask_control(home, "GET", "/internal/status")
        found = [
            (deployment["state"], release["is_live"])
            for deployment in (answer or {}).get("deployments", [])
            for release in deployment["releases"]
            if release["release"] == f"{done.name}@{done.number}"
        ]
        for state, is_live in found:
            if state in ("failed", "stopped") or (is_live and state != "loading"):
                return str(state)
        if found and not has_told:
            print_wrapped(f"{done.name}@{done.number} is being loaded; who answered until now goes on meanwhile ...")
            has_told = True
        time.sleep(_POLL_SECONDS)
    return "gone"


def _rollback_sentence(done: RolledBack, state: str, seconds: float) -> str:
    left, now = f"{done.name}@{done.left}", f"{done.name}@{done.number}"
    if done.has_cancelled:
        begin = f"The promotion of {left} is cancelled; "
        if done.number is None:
            return f"{begin}nothing is in production."
        begin += f"{now} stays in production"
    else:
        begin = f"{now} is in production" + (f", {left} is not any more" if done.left is not None else "")
    return {
        "": f"{begin}. No server runs; it answers after: undercroft up",
        "ready": f"{begin}; it answers, {format_duration(seconds)} after the command began.",
        "unloaded": f"{begin}; it is loaded with the next request.",
        "stopped": f"{begin}; its deployment is stopped: undercroft deployment start {done.name}",
        "failed": f"{begin}, and cannot be loaded: undercroft status says why.",
        "gone": f"{begin}. The server ended meanwhile; it answers after: undercroft up",
    }[state]
