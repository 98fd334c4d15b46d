"""What standard questions and samples of replicas say, as series: from the health reports and from the database."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, func, select

from undercroft.core.clock import from_iso
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.registry.releases.references import base_name
from undercroft.storage.tables import replica_samples
from undercroft.watch.blame.answers import Asked
from undercroft.watch.blame.change_points import Point
from undercroft.watch.blame.growth import Life
from undercroft.watch.blame.series import Series
from undercroft.watch.probes.probe_files import load_probe, probe_names
from undercroft.watch.reports.report_files import read_report, report_file
from undercroft.watch.reports.report_rows import Row, read_rows


def quality_series(home: Home, since: float) -> list[Series]:
    """The score of each standard question, of every probe that has a report.

    Args:
        home: Of the server.
        since: Unix seconds; answers from before come along, for they say what was usual.
    """
    found = []
    for probe in probe_names(home):
        try:
            rows, _ = read_rows(read_report(report_file(home, probe)))
            name = load_probe(home, probe).model or probe
        except UndercroftError:
            continue
        rows.sort(key=lambda row: row.at)
        points = [Point(row.at.timestamp(), row.score) for row in rows if not row.error]
        answers = [Asked(row.at.timestamp(), _known_as(row), row.answer_digest, row.score) for row in rows]
        found.append(
            Series(
                name,
                "the score of the standard questions",
                tuple(point for point in points if point.at >= since),
                is_share=True,
                is_worse_below=True,
                answers=tuple(answers),
            )
        )
    return found


def _known_as(row: Row) -> str:
    """Its id; one that was edited has no baseline any more, and is another question."""
    return row.question if row.likeness is not None else f"{row.question} (without a baseline)"


def memory_series(connection: Connection, since: str) -> list[Series]:
    """What the replicas of each name held, by the minute or as often as they were looked at.

    Args:
        connection: To read.
        since: ISO 8601, UTC.
    """
    query = select(replica_samples).where(replica_samples.c.at >= since).order_by(replica_samples.c.id)
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for row in connection.execute(query):
        held = row.private_bytes + (row.gpu_bytes or 0)
        found[base_name(row.deployment)][row.replica].append(Point(from_iso(row.at).timestamp(), float(held)))
    first = select(replica_samples.c.replica, func.min(replica_samples.c.at)).group_by(replica_samples.c.replica)
    born = {replica: from_iso(at).timestamp() for replica, at in connection.execute(first)}
    return [
        Series(
            name,
            "the memory of a replica",
            tuple(sorted((point for points in own.values() for point in points), key=lambda point: point.at)),
            unit="B",
            lives=tuple(Life(replica, born[replica], tuple(points)) for replica, points in own.items()),
        )
        for name, own in sorted(found.items())
    ]
