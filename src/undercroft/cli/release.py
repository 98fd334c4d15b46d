"""``undercroft release``: everything that makes an answer what it is, numbered; tags; promotions and rollbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.catalog.engines import ATTACHED, engine_of, find_engine
from undercroft.cli.actor import current_actor
from undercroft.cli.adapter_options import Adapters, RemovedAdapters, given_adapters
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, Reason, print_json, print_wrapped
from undercroft.cli.release_options import (
    CacheType,
    CaFile,
    Context,
    Dtype,
    Engine,
    From,
    Given,
    KeyFile,
    MayShrink,
    Model,
    PromptFile,
    Reference,
    SamplingText,
    Slots,
    System,
    Task,
    UpstreamModel,
    Url,
    content_from,
    given_prompt,
    parse_sampling,
    wanted_release,
)
from undercroft.cli.release_promote import promote, rollback, status
from undercroft.cli.release_text import (
    log_line,
    print_difference,
    print_prompt_lines,
    print_releases,
    print_settings,
    release_page,
)
from undercroft.cli.use import AcceptLicence, licence_gate
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.ids import check_name
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.differences import compare, compare_prompts, compare_settings
from undercroft.registry.releases.files import read_releases
from undercroft.registry.releases.store import Release
from undercroft.serving import releasing
from undercroft.serving.adapters import check_content
from undercroft.serving.keeper_client import refresh
from undercroft.serving.releasing import Wanted
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Search

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="What clients ask for.")]


def _engine_for(database: Database, engine: str | None, model: str | None) -> str | None:
    """The engine that was asked for, else that of the model's format; None where neither was named."""
    if engine is not None:
        return find_engine(engine)
    if model is None:
        return None
    with database.read() as connection:
        found = models.get(connection, model)
    return engine_of(found.name, found.format)


@app.command()
def create(
    name: Name,
    model: Model = None,
    prompt: PromptFile = None,
    system: System = None,
    sampling: SamplingText = None,
    engine: Engine = None,
    url: Url = None,
    upstream_model: UpstreamModel = None,
    key_file: KeyFile = None,
    ca_file: CaFile = None,
    context: Context = None,
    slots: Slots = None,
    cache_type: CacheType = None,
    dtype: Dtype = None,
    task: Task = None,
    adapter: Adapters = None,
    remove_adapter: RemovedAdapters = None,
    may_shrink: MayShrink = None,
    begin_with: From = None,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make the next release of a name. It answers as NAME@N where the name is served, and for NAME once promoted."""
    home, database = open_database()
    check_name(name, what="release")
    settings = {
        "task": task,
        "context_tokens": context,
        "slots": slots,
        "cache_type": cache_type,
        "dtype": dtype,
        "may_shrink_context": may_shrink,
        "url": url,
        "upstream_model": upstream_model,
        "key_file": str(key_file.absolute()) if key_file else None,
        "ca_file": str(ca_file.absolute()) if ca_file else None,
    }
    base = None
    if begin_with is not None:
        with database.read() as connection:
            base = store.resolve(connection, wanted_release(begin_with)).content
    elif model is None and engine not in ATTACHED:
        raise InvalidError(
            "no-model",
            "a release needs something that answers, and nothing was named",
            hint=f"undercroft release create {name} --model MODEL, or --from {name}@N with what changes",
        )
    of = model if model is not None or base is None else base.model
    given_text, is_whole = given_prompt(prompt, system)
    given = Given(
        model=model,
        engine=_engine_for(database, engine, model),
        settings={key: value for key, value in settings.items() if value is not None},
        prompt=given_text,
        is_whole_prompt=is_whole,
        sampling=parse_sampling(sampling or ()),
        adapters=given_adapters(home, database, adapter or (), base=of, accepts_licence=accept_licence, reason=because),
        removed_adapters=remove_adapter or (),
    )
    gate = licence_gate(home, database, is_accepted=accept_licence, reason=because)
    content = content_from(base, given)
    check_content(database, home, content, gate)
    made = releasing.create(
        database,
        Wanted(name, content),
        gate=gate,
        actor=current_actor(),
        reason=because,
    )
    refresh(home)
    if as_json:
        print_json(made.to_dict())
        return
    typer.echo(f"Release {made} is made.\nPut it into production: undercroft release promote {made}")


@app.command()
def apply(
    file: Annotated[
        Path, typer.Argument(help="YAML: a name and what its release is made of; several may stand in it.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    accept_licence: AcceptLicence = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make new releases where the newest ones are not what a file says; all of them or none."""
    home, database = open_database()
    wanted = [Wanted(one.name, one.content) for one in read_releases(file)]
    if dry_run:
        _show_changes(database, wanted, as_json)
        return
    gate = licence_gate(home, database, is_accepted=accept_licence, reason=because)
    for one in wanted:
        check_content(database, home, one.content, gate)
    made = releasing.apply(
        database,
        wanted,
        gate=gate,
        actor=current_actor(),
        reason=because,
    )
    refresh(home)
    if as_json:
        print_json([{**release.to_dict(), "is_new": is_new} for release, is_new in made])
        return
    for release, is_new in made:
        typer.echo(f"{release} {'is made' if is_new else 'is unchanged'}")
    new = [release for release, is_new in made if is_new]
    if new:
        typer.echo(f"Put it into production: undercroft release promote {new[0]}")


def _show_changes(database: Database, wanted: list[Wanted], as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    for one in wanted:
        releasing.check_servable(one.name, one.content)
        with database.read() as connection:
            newest = store.latest(connection, one.name)
            differs = newest is None or store.differs(connection, newest, one.content)
            if newest is None and one.content.model is not None:
                models.get(connection, one.content.model)
        base = newest.content if newest is not None else None
        called = str(newest) if newest is not None else "nothing"
        rows = compare_settings(base, one.content)
        lines = compare_prompts(base.prompt if base else None, one.content.prompt, called, "new")
        found.append(
            {
                "name": one.name,
                "newest": newest.number if newest is not None else None,
                "is_new": differs,
                "settings": [row.to_dict() for row in rows],
                "prompt": list(lines),
            }
        )
        if as_json:
            continue
        if not differs:
            typer.echo(f"{called} would be unchanged")
            continue
        typer.echo(f"{one.name}: a new release would be made")
        print_settings(called, rows)
        print_prompt_lines(lines)
    if as_json:
        print_json(found)


@app.command("list")
def list_releases(
    name: Annotated[str | None, typer.Argument(help="Of one name; none means all.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show releases with their tags, the newest first."""
    _, database = open_database()
    with database.read() as connection:
        found = releasing.releases_of(connection, name) if name is not None else store.list_releases(connection)
        tags = store.all_tags(connection, name)
    if as_json:
        print_json([_plain(release, tags.get(release.name, {})) for release in found])
        return
    print_releases(found, tags)


def _plain(release: Release, tags: dict[str, int]) -> dict[str, Any]:
    return {**release.to_dict(), "tags": [tag for tag, number in tags.items() if number == release.number]}


@app.command()
def show(which: Reference, as_json: AsJson = False) -> None:
    """Show a release as the YAML that `release apply` takes; NAME alone is what is in production, else the newest."""
    _, database = open_database()
    with database.read() as connection:
        release = store.resolve(connection, wanted_release(which))
        plain = _plain(release, store.tags_of(connection, release.name))
    print_json(plain) if as_json else typer.echo(release_page(release, plain["tags"]), nl=False)


@app.command()
def log(
    name: Name,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1_000_000, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what happened to the releases of a name, the newest first: when, what, by whom, why."""
    _, database = open_database()
    check_name(name, what="release")
    with database.read() as connection:
        found = [
            pair
            for action in ("release", "deployment")
            for pair in journal.find(connection, Search(action=action, name=name, limit=last))
        ]
    if not found:
        raise NotFoundError("no-such-release", f"nothing ever happened to {name!r}", hint="undercroft release list")
    newest = sorted((entry for entry, _ in found), key=lambda entry: entry.seq, reverse=True)[:last]
    if as_json:
        print_json(
            [
                {
                    "seq": entry.seq,
                    "at": entry.at,
                    "actor": entry.actor,
                    "action": entry.action,
                    "subject": entry.subject,
                    "before": entry.before,
                    "after": entry.after,
                    "reason": entry.reason,
                }
                for entry in newest
            ]
        )
        return
    for entry in newest:
        print_wrapped(log_line(entry), indent=" " * 21)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A release: NAME@6, NAME:tag, or NAME.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that is compared with it.")],
    as_json: AsJson = False,
) -> None:
    """Show what two releases differ in: settings and models side by side, the prompt as a text diff."""
    _, database = open_database()
    with database.read() as connection:
        pair = [store.resolve(connection, wanted_release(text)) for text in (a, b)]
        names = {each for release in pair for each in release.content.model_names}
        found = compare(pair[0], pair[1], {name: models.get(connection, name) for name in names})
    print_json(found.to_dict()) if as_json else print_difference(found)


@app.command()
def tag(
    which: Reference,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="A word of your own, such as stable.")],
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Point a tag of your own at a release: it answers as NAME:TAG, and is kept as long as it has the tag."""
    home, database = open_database()
    with database.write() as connection:
        release = store.resolve(connection, wanted_release(which))
        store.tag(connection, release, tag, actor=current_actor(), reason=because)
    refresh(home)
    plain = {"name": release.name, "tag": tag, "number": release.number}
    print_json(plain) if as_json else typer.echo(f"{release.name}:{tag} is {release} now.")


@app.command()
def untag(
    which: Annotated[str, typer.Argument(metavar="NAME:TAG", help="The tag to take away.")],
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Take a tag of your own away; the release stays."""
    home, database = open_database()
    reference = wanted_release(which)
    if reference.tag is None:
        raise InvalidError(
            "no-tag", f"expected NAME:TAG, got {which[:80]!r}", hint=f"undercroft release list {reference.name}"
        )
    with database.write() as connection:
        store.untag(connection, reference.name, reference.tag, actor=current_actor(), reason=because)
    refresh(home)
    print_json({"removed": str(reference)}) if as_json else typer.echo(f"The tag {reference} is taken away.")


@app.command()
def prune(
    name: Annotated[str | None, typer.Argument(help="Of one name; none means all.", show_default=False)] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="How many of the newest stay; else the setting releases.keep.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Remove old releases that no tag, no promotion and no release that stays needs. Their models stay."""
    home, database = open_database()
    newest = keep if keep is not None else settings_of(home).releases.keep
    with database.read() as connection:
        names = [name] if name is not None else sorted({one.name for one in store.list_releases(connection)})
    found = releasing.prune(database, names, newest, is_dry_run=dry_run, actor=current_actor(), reason=because)
    if not dry_run:
        refresh(home)
    if as_json:
        plain = {
            each: {
                "removed": [release.number for release in pruning.removed],
                "kept": [{"number": number, "reason": why} for number, why in pruning.kept.items()],
            }
            for each, pruning in found.items()
        }
        print_json({"is_dry_run": dry_run, "names": plain})
        return
    verb = "would remove" if dry_run else "removed"
    for each, pruning in found.items():
        gone = ", ".join(f"@{release.number}" for release in pruning.removed) or "nothing"
        print_wrapped(f"{each}: {verb} {gone}", indent="  ")
        for number, why in pruning.kept.items():
            typer.echo(f"  keeps @{number}: {why}")
    if not found:
        typer.echo("There is no release.")


@app.command()
def remove(
    which: Annotated[str, typer.Argument(metavar="NAME@N", help="A release, or a NAME for all of its releases.")],
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Forget a release that nothing needs, so that its model can be removed. Its number is not given again."""
    home, database = open_database()
    gone = releasing.remove(database, wanted_release(which), actor=current_actor(), reason=because)
    refresh(home)
    names = [str(release) for release in gone]
    print_json({"removed": names}) if as_json else print_wrapped(f"Removed: {', '.join(names)}.")


for _command in (promote, status, rollback):
    app.command()(_command)
