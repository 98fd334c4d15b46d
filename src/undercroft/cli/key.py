"""``undercroft key``: API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, print_json, print_table
from undercroft.core.clock import from_iso, parse_period, utc_now
from undercroft.core.errors import InvalidError
from undercroft.serving import keys
from undercroft.serving.keeper_client import refresh

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A deployment it may use; repeat for more.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After 30m, 12h, 90d, 4w, or at an ISO 8601 time.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It opens the /admin routes too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once and kept nowhere."""
    home, database = open_database()
    expires_at = parse_expiry(expires, utc_now()) if expires else None
    key, secret = keys.create(
        database, name=name, models=model or None, is_admin=admin, expires_at=expires_at, actor=current_actor()
    )
    refresh(home)
    if as_json:
        print_json({**key.to_dict(), "key": secret})
        return
    typer.echo(f"Key {key.id} ({name}); shown once, keep it:\n  {secret}")


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show keys, without their secrets."""
    _, database = open_database()
    with database.read() as connection:
        found = keys.list_all(connection)
    if as_json:
        print_json([key.to_dict() for key in found])
        return
    now = utc_now()
    print_table(
        ["=id", "name", "state", "models", "=created", "=expires"],
        [
            [
                key.id,
                key.name + (" (admin)" if key.is_admin else ""),
                "valid" if key.is_valid(now) else "revoked" if key.revoked_at else "expired",
                ", ".join(key.models) if key.models is not None else "all",
                key.created_at[:10],
                key.expires_at[:10] if key.expires_at else "never",
            ]
            for key in found
        ],
        empty="There is no key. Try: undercroft key create NAME",
    )


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="Its id or name.")], because: Reason = None, as_json: AsJson = False
) -> None:
    """End a key at once."""
    home, database = open_database()
    key = keys.revoke(database, which, actor=current_actor(), reason=because)
    refresh(home)
    print_json(key.to_dict()) if as_json else typer.echo(f"Key {key.id} ({key.name}) is revoked.")


def parse_expiry(text: str, now: datetime) -> datetime:
    """A period from now (``90d``) or an ISO 8601 time.

    Raises:
        InvalidError: It is neither.
    """
    try:
        period = parse_period(text)
        return now + period if period is not None else from_iso(text)
    except (ValueError, OverflowError) as error:
        raise InvalidError(
            "bad-expiry", f"expected a period such as 90d or 12h, or an ISO 8601 time with zone, got {text!r}"
        ) from error
