"""``undercroft bundle``: models, releases and standard questions in one signed file, for machines without internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli import bundle_text
from undercroft.cli.actor import current_actor
from undercroft.cli.model_progress import shown
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, print_json
from undercroft.cli.use import AcceptLicence, DeclaredUse, licence_gate
from undercroft.core.clock import utc_now
from undercroft.core.environment import home_path
from undercroft.core.home import Home
from undercroft.recovery.bundles import signing
from undercroft.recovery.bundles.exporting import Wanted, export
from undercroft.recovery.bundles.importing import take_in
from undercroft.recovery.bundles.reading import OpenBundle, open_bundle, own_signer, verify
from undercroft.registry.progress import Stage, counted
from undercroft.storage import checkpoints
from undercroft.watch.probes.probe_files import parse_probe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")]
Trust = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Whose signature counts: sha256:…, a public key, or a file with one."),
]


@app.command("export")
def export_bundle(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where to; must not exist.")],
    model: Annotated[list[str] | None, typer.Option(help="A model; repeat for more.")] = None,
    release: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[@N]", help="A release with its model; a name alone is all of them."),
    ] = None,
    probe: Annotated[list[str] | None, typer.Option(help="Standard questions; repeat for more.")] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Wheels of Undercroft and all it needs, as pip download fills it."),
    ] = None,
    sign_with: Annotated[
        Path | None, typer.Option(metavar="KEYFILE", help="An Ed25519 key, hex or PEM; else signing.key of the home.")
    ] = None,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle. Without --model, --release and --probe everything of this home goes in."""
    home, database = open_database()
    key = signing.read_private_key(sign_with) if sign_with is not None else checkpoints.signing_key(home)
    wanted = Wanted(tuple(model or ()), tuple(release or ()), tuple(probe or ()), wheels)
    with shown(is_quiet=as_json) as progress:
        exported = export(
            database,
            home,
            out,
            wanted,
            key=key,
            check_probe=parse_probe,
            at=utc_now(),
            actor=current_actor(),
            reason=because,
            progress=progress,
        )
    if as_json:
        print_json(bundle_text.exported_json(exported))
        return
    bundle_text.say_exported(exported)


@app.command("import")
def import_bundle(
    file: File,
    trust: Trust = None,
    use: DeclaredUse = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Take a bundle in: all of it or nothing. A release gets the next number of its name."""
    home, database = open_database()
    gate = licence_gate(home, database, is_accepted=accept_licence, reason=because, use=use)
    with shown(is_quiet=as_json) as progress:
        imported = take_in(
            database,
            home,
            file,
            trusted=trust,
            gate=gate,
            check_probe=parse_probe,
            actor=current_actor(),
            reason=because,
            progress=progress,
        )
    if as_json:
        print_json(bundle_text.imported_json(imported))
        return
    bundle_text.say_imported(imported, file)


@app.command("verify")
def verify_bundle(file: File, trust: Trust = None, as_json: AsJson = False) -> None:
    """Compare the signature and every digest; change nothing. Exit status 3 where --trust names another key."""
    with open_bundle(file) as bundle:
        vouched = _is_trusted(bundle, trust)
        if trust is not None and not vouched:
            raise signing.not_trusted(bundle.signer, trust)
        with shown(is_quiet=as_json) as progress:
            receivers = {
                entry.path: counted(progress, Stage.CHECK, entry.path, entry.size_bytes)
                for entry in bundle.manifest.entries
            }
            verify(bundle, done=lambda entry, count: receivers[entry.path](count))
        if as_json:
            print_json({**_shown(bundle), "is_whole": True, "is_trusted": vouched})
            return
        bundle_text.say_verified(bundle, is_trusted=vouched)


@app.command("show")
def show_bundle(file: File, as_json: AsJson = False) -> None:
    """Show what is in a bundle and who signed it. The contents are not read: undercroft bundle verify does."""
    with open_bundle(file) as bundle:
        if as_json:
            print_json({**_shown(bundle), "is_trusted": _is_trusted(bundle, None)})
            return
        bundle_text.say_content(bundle, is_trusted=_is_trusted(bundle, None))


def _is_trusted(bundle: OpenBundle, trust: str | None) -> bool:
    return signing.is_trusted(bundle.signer, own=own_signer(Home(home_path())), trusted=trust)


def _shown(bundle: OpenBundle) -> dict[str, Any]:
    return bundle_text.bundle_json(bundle.manifest, bundle.signer, bundle.size_bytes)
