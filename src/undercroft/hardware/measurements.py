"""What was measured of this machine: kept with date, journalled; the newest counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import measurements

MeasurementKind = Literal["memory-bandwidth", "disk-read", "matrix", "matrix-vector", "gpu-copy"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure.

    Args:
        kind: ``memory-bandwidth``: plain reads and copies. ``disk-read``: a file in the home. ``matrix``: products of
            weights and a batch, as for a prompt. ``matrix-vector``: of weights and one token, as for an answer.
            ``gpu-copy``: between host and accelerator, and inside it.
        device: Name of the processor or accelerator, or mount point of the disk.
        value: Bytes a second, of ``matrix`` operations a second (a multiply-add is two).
        variant: What sets it apart from others of its kind and device: ``read, 1 thread``, ``read, all threads``,
            ``copy, all threads``; ``cold``, ``warm``; a type of weights (``f16``, ``q8_0``); ``host to device``,
            ``device to host``, ``inside the device``.
        detail: How it was measured: threads, sizes, repetitions, spread.
        at: ISO 8601, UTC; empty where it is not stored yet.
    """

    kind: MeasurementKind
    device: str
    value: float
    variant: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def store(database: Database, found: Iterable[Measurement], *, actor: str, at: datetime | None = None) -> None:
    """Keeps measurements, and says so in the journal, in one transaction. Older ones stay as history."""
    moment = at or utc_now()
    taken = list(found)
    rows = [
        {
            "at": to_iso(moment),
            "kind": one.kind,
            "device": one.device[:128],
            "value": one.value,
            "detail": {**one.detail, "variant": one.variant},
        }
        for one in taken
    ]
    if not rows:
        return
    after = {f"{one.kind}: {one.device}: {one.variant}": one.value for one in taken}
    with database.write() as connection:
        connection.execute(insert(measurements), rows)
        journal.record(
            connection, actor=actor, action="hardware.measure", subject="this machine", after=after, at=moment
        )


def newest(connection: Connection) -> tuple[Measurement, ...]:
    """The newest measurement of each kind, device and variant, sorted by these."""
    found: dict[tuple[str, str, str], Measurement] = {}
    for row in connection.execute(select(measurements).order_by(measurements.c.at, measurements.c.id)):
        detail = dict(row.detail)
        variant = str(detail.pop("variant", ""))
        found[(row.kind, row.device, variant)] = Measurement(row.kind, row.device, row.value, variant, detail, row.at)
    return tuple(found[key] for key in sorted(found))


def find(
    found: Iterable[Measurement], kind: MeasurementKind, *, device: str | None = None, variant: str | None = None
) -> Measurement | None:
    """The newest of a kind; None where nothing like it was measured.

    Args:
        found: As `newest` gives them.
        kind: Of this.
        device: Of this only; None is any.
        variant: Of this only; None is any.
    """
    fitting = [
        one for one in found if one.kind == kind and device in (None, one.device) and variant in (None, one.variant)
    ]
    return max(fitting, key=lambda one: one.at, default=None)
