"""What ``undercroft bundle`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from undercroft.cli.output import harmless, print_table, print_wrapped
from undercroft.core.units import format_bytes
from undercroft.recovery.bundles.exporting import Exported
from undercroft.recovery.bundles.importing import Imported
from undercroft.recovery.bundles.manifests import Manifest
from undercroft.recovery.bundles.reading import OpenBundle
from undercroft.recovery.bundles.signing import Signer


def bundle_json(manifest: Manifest, signer: Signer, size_bytes: int) -> dict[str, Any]:
    """Plain data for JSON: the manifest, who signed it, and how large the file is."""
    return {
        **manifest.to_dict(),
        "signer": signer.fingerprint,
        "public_key": signer.public_key,
        "size_bytes": size_bytes,
    }


def exported_json(exported: Exported) -> dict[str, Any]:
    """Plain data for JSON."""
    shown = bundle_json(exported.manifest, exported.signer, exported.size_bytes)
    return {**shown, "file": str(exported.file), "digest": exported.digest}


def imported_json(imported: Imported) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        "id": imported.manifest.id,
        "signer": imported.signer.fingerprint,
        "models": list(imported.models),
        "releases": dict(imported.releases),
        "probes": list(imported.probes),
        "there": list(imported.there),
        "wheels": len(imported.manifest.below("wheels")),
    }


def say_exported(exported: Exported) -> None:
    """What was made, and what the other side needs to know."""
    print_wrapped(f"Bundle {exported.manifest.id} is in {exported.file}: {_in_short(exported.manifest)}.")
    typer.echo(f"size      {format_bytes(exported.size_bytes)}")
    typer.echo(f"digest    {exported.digest}")
    typer.echo(f"signed by {exported.signer.fingerprint}")
    print_wrapped("Tell the other side who signed on another way than the file. There:")
    typer.echo(f"undercroft bundle import {exported.file.name} \\\n  --trust {exported.signer.fingerprint}")


def say_imported(imported: Imported, file: Path) -> None:
    """What is new, and what was there."""
    for name in imported.models:
        typer.echo(f"model    {name}")
    for old, new in imported.releases.items():
        typer.echo(f"release  {new}" + (f" ({old} there)" if old != new else ""))
    for name in imported.probes:
        typer.echo(f"probe    {name}")
    is_new = bool(imported.models or imported.releases or imported.probes)
    if imported.there:
        print_wrapped(f"There already, with the same content: {_listed(imported.there)}.")
    print_wrapped(
        f"Bundle {imported.manifest.id} of {harmless(imported.manifest.origin)} is in."
        if is_new
        else f"Nothing of bundle {imported.manifest.id} is new."
    )
    if wheels := imported.manifest.below("wheels"):
        print_wrapped(f"It also has {len(wheels)} wheels, which stay in the file: tar -xf {file} wheels")
    if imported.releases:
        typer.echo(f"Put one into production: undercroft release promote {next(iter(imported.releases.values()))}")


def say_verified(bundle: OpenBundle, *, is_trusted: bool) -> None:
    """That all is whole, and whose word that is."""
    count = len(bundle.manifest.entries)
    print_wrapped(f"Bundle {bundle.manifest.id} is whole: every digest of {count} files was compared.")
    say_signer(bundle.signer, is_trusted=is_trusted)


def say_signer(signer: Signer, *, is_trusted: bool) -> None:
    """Who signed, and whether somebody vouches for that."""
    typer.echo(f"signed by {signer.fingerprint}")
    if not is_trusted:
        print_wrapped(
            "Nobody vouches for that key here. Ask whoever made it, on another way, and give it with --trust."
        )


def say_content(bundle: OpenBundle, *, is_trusted: bool) -> None:
    """What is in it."""
    manifest = bundle.manifest
    print_wrapped(f"Bundle {manifest.id} of {harmless(manifest.origin)}, {format_bytes(bundle.size_bytes)}.")
    if manifest.reason:
        print_wrapped(f"Why: {harmless(manifest.reason)}")
    typer.echo(f"made by undercroft {harmless(manifest.version)}, {manifest.at[:16].replace('T', ' ')} UTC")
    say_signer(bundle.signer, is_trusted=is_trusted)
    rows: list[Sequence[object]] = []
    for model in manifest.models:
        size_bytes = sum(file.size_bytes for file in model.files)
        rows.append(("model", model.name, format_bytes(size_bytes), harmless(model.licence)))
    for release in manifest.releases:
        rows.append(("release", release, "", harmless(f"over {release.content.model or release.content.settings.url}")))
    rows += [("probe", name, format_bytes(entry.size_bytes), "") for name, entry in manifest.probes().items()]
    for folder, what in (("wheels", "wheel"), ("licences", "licence text")):
        for entry in manifest.below(folder):
            rows.append((what, entry.path.partition("/")[2], format_bytes(entry.size_bytes), ""))
    print_table(["what", "name", ">size", "note"], rows, empty="It is empty.")


def _in_short(manifest: Manifest) -> str:
    counts = (
        (len(manifest.models), "model"),
        (len(manifest.releases), "release"),
        (len(manifest.probes()), "probe"),
        (len(manifest.below("wheels")), "wheel"),
    )
    return ", ".join(f"{count} {what}{'s' if count != 1 else ''}" for count, what in counts if count) or "nothing"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")
