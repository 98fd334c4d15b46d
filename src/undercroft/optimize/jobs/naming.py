"""What a job has made gets its name: the last model, and those of earlier steps that its recipe keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from undercroft.core.home import Home
from undercroft.optimize.cards.card import Card
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder, ProgressWriter
from undercroft.optimize.jobs.store import Job
from undercroft.optimize.lineage import inherited_licence, inherited_use, lineage_of
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.steps import FINDINGS, Progress, files_of, result_of
from undercroft.registry.importing import Incoming, IncomingFile, Origin, register_together
from undercroft.registry.progress import Step as ImportStep
from undercroft.storage.database import Database
from undercroft.storage.tables import models


def name_results(home: Home, database: Database, job: Job, prepared: Prepared, card: Card | None) -> None:
    """Imports results as any file is imported, and notes the job as done in the same transaction.

    Args:
        home: Of the job.
        database: Of the home.
        job: Whose steps have all ended.
        prepared: What it did.
        card: Of the last model; None where nothing was measured.

    Raises:
        UndercroftError: A result is no model, its name is taken, or the disk is full.
    """
    steps = len(prepared.steps)
    writer = ProgressWriter(JobFolder(home, job.id), steps - 1, steps, now_seconds=time.monotonic())
    kept = prepared.recipe.kept

    def report(step: ImportStep) -> None:
        progress = Progress(step.done_bytes, step.total_bytes, "bytes", "checking the result")
        writer.write(progress, time.monotonic())

    def done(connection: Connection) -> None:
        digest, twins = _content(connection, job.result)
        note = f"its content is that of model {', '.join(twins)}" if twins else ""
        after = {"model": job.result, "digest": digest, **({"kept": list(kept.values())} if kept else {})}
        store.finish(connection, job, note=note, after=after)

    register_together(
        database,
        home,
        [
            *(_incoming(home, job, prepared, number, name, None) for number, name in kept.items()),
            _incoming(home, job, prepared, steps, job.result, card),
        ],
        actor=job.actor,
        reason=job.reason,
        progress=report,
        besides=done,
    )


def _incoming(home: Home, job: Job, prepared: Prepared, number: int, name: str, card: Card | None) -> Incoming:
    """What so many steps have made; the files of the last are moved, those before it stay until the job has ended."""
    folder = JobFolder(home, job.id)
    works = [folder.step(index) for index in range(number)]
    made = result_of(works[-1])
    assert made is not None  # without it the folder would not have its name
    parents = [source.model for source in prepared.sources]
    steps = prepared.steps[:number]
    lineage = lineage_of(
        job=job.id,
        parents=parents,
        recipe=job.recipe,
        steps=[{"kind": step.kind, **step.told, **_found(work)} for step, work in zip(steps, works, strict=True)],
        seed=prepared.recipe.seed,
        libraries={library for step in steps for library in step.libraries},
        is_reproducible=all(step.is_reproducible for step in steps),
        card=card.to_summary() if card is not None else None,
    )
    said = f"{'+'.join(step.kind for step in steps)} of {', '.join(parent.name for parent in parents)}"
    is_last = number == len(prepared.steps)
    return Incoming(
        name,
        [IncomingFile(path, local, is_ours=is_last) for path, local in files_of(made, name).items()],
        Origin(f"{job.id}: {said}", lineage, licence=inherited_licence(parents)),
        _noted(job, inherited_use(parents)),
    )


def _found(step: Path) -> dict[str, Any]:
    """What a finished step left for the lineage."""
    findings = step / FINDINGS
    return {"found": json.loads(findings.read_bytes())} if findings.exists() else {}


def _noted(job: Job, use: Mapping[str, str]) -> dict[str, Any]:
    return {"job": job.id, **use}


def _content(connection: Connection, name: str) -> tuple[str, list[str]]:
    """The digest of a model, and the names of others that have it, too."""
    digest = connection.execute(select(models.c.digest).where(models.c.name == name)).scalar_one()
    others = select(models.c.name).where(models.c.digest == digest, models.c.name != name).order_by(models.c.name)
    return digest, list(connection.execute(others).scalars())
