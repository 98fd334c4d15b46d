"""The licence gate: a model whose licence does not cover the declared use comes in only when somebody accepts it.

What a licence says is decided by `undercroft.catalog.verdicts`; here is kept who accepted what, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from undercroft.catalog.licences import Licence, Licences, licences_in
from undercroft.catalog.uses import Use, parse_use
from undercroft.catalog.verdicts import Verdict, judge, judge_each, judge_written
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import RefusedError
from undercroft.registry import entries
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import licence_acceptances


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Somebody accepted a licence for a use.

    Args:
        licence: Its id.
        use: That it was accepted for.
        at: ISO 8601, UTC.
        actor: Who.
    """

    licence: str
    use: Use
    at: str
    actor: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"licence": self.licence, "use": str(self.use), "at": self.at, "actor": self.actor}


def acceptances(connection: Connection) -> list[Acceptance]:
    """All of them, by licence and use."""
    table = licence_acceptances
    rows = connection.execute(select(table).order_by(table.c.licence, table.c.use))
    return [Acceptance(row.licence, parse_use(row.use), row.at, row.actor) for row in rows]


def find_acceptance(connection: Connection, licence: str, use: Use) -> Acceptance | None:
    """One that covers the use, or None."""
    return next((a for a in acceptances(connection) if a.licence == licence and a.use.covers(use)), None)


def accept(database: Database, licence: Licence, use: Use, *, actor: str, reason: str | None = None) -> Verdict:
    """Records that somebody accepted a licence for a use. Doing so again changes nothing.

    Args:
        licence: Its facts.
        use: What is declared.
        actor: Who.
        reason: Why: a contract of one's own, say.
    """
    verdict = judge(licence, use)
    _record(database, verdict, None, actor=actor, reason=reason)
    return verdict


class LicenceGate:
    """Decides for the models of one command.

    Args:
        database: Where acceptances are kept.
        licences: Facts of licences.
        use: What is declared.
        is_accepted: Whether the command itself accepts what the licence asks.
        actor: Who gave the command.
        reason: Why, in the actor's words.
    """

    def __init__(
        self,
        database: Database,
        licences: Licences,
        use: Use,
        *,
        is_accepted: bool,
        actor: str,
        reason: str | None = None,
    ) -> None:
        self._database, self._licences, self.use = database, licences, use
        self._is_accepted, self._actor, self._reason = is_accepted, actor, reason
        self._passed: set[str] = set()

    def check(self, written: str, *, model: str) -> Verdict:
        """Lets a model pass, or refuses it.

        Args:
            written: The licence as the model names it, several joined by ``AND``, each of which has to pass;
                ``unknown`` where it names none.
            model: What to call it in the error and in the journal.

        Raises:
            RefusedError: ``licence-not-accepted`` or ``licence-refuses-use``.
        """
        verdicts = judge_each(self._licences, written, self.use)
        to_accept = [verdict for verdict in verdicts if not self._passes(verdict)]
        if to_accept and not self._is_accepted:
            raise refusal(to_accept, model, is_one_of_several=len(verdicts) > 1)
        for verdict in to_accept:
            _record(self._database, verdict, model, actor=self._actor, reason=self._reason)
        self._passed |= {verdict.licence for verdict in verdicts}
        return judge_written(self._licences, written, self.use)

    def check_registered(self, name: str) -> None:
        """Lets a model of the registry be served, or refuses it. Nothing happens where there is none of that name.

        A model that came in for this use was judged then. One that came in for another, or before there was a gate, is
        judged now.

        Args:
            name: Of the model.

        Raises:
            RefusedError: ``licence-not-accepted`` or ``licence-refuses-use``.
        """
        with self._database.read() as connection:
            model = entries.find(connection, name)
        if model is None:
            return
        came_in_for = model.lineage.get("use")
        if came_in_for is None or not parse_use(came_in_for).covers(self.use):
            self.check(model.facts.licence, model=f"model {name!r}")

    def _passes(self, verdict: Verdict) -> bool:
        return verdict.outcome == "allowed" or verdict.licence in self._passed or self._was_accepted(verdict)

    def _was_accepted(self, verdict: Verdict) -> bool:
        if not verdict.is_known:
            return False  # two models that name no licence, or one of their own, need not mean the same
        with self._database.read() as connection:
            return find_acceptance(connection, verdict.licence, verdict.use) is not None


def _record(database: Database, verdict: Verdict, model: str | None, *, actor: str, reason: str | None) -> None:
    """Keeps an acceptance and tells the journal, in one transaction."""
    with database.write() as connection:
        if verdict.is_known:
            if find_acceptance(connection, verdict.licence, verdict.use) is not None:
                return
            row = {"licence": verdict.licence, "use": str(verdict.use), "at": to_iso(utc_now()), "actor": actor}
            connection.execute(insert(licence_acceptances).values(**row))
        after = {"licence": verdict.licence, "use": str(verdict.use), "outcome": verdict.outcome, "url": verdict.url}
        journal.record(
            connection,
            actor=actor,
            action="licence.accept",
            subject=verdict.licence,
            after=after if model is None else {**after, "model": model},
            reason=reason,
        )


def refusal(verdicts: Sequence[Verdict], model: str, *, is_one_of_several: bool) -> RefusedError:
    """What to say where a declared use is not covered.

    Args:
        verdicts: Those that do not cover it, the strictest first.
        model: What to call it.
        is_one_of_several: The model names other licences, too.
    """
    lines = []
    for verdict in verdicts:
        lines += [f"{model[:200]}: {verdict.summary}", *(f"  - {condition}" for condition in verdict.conditions)]
        if verdict.url:
            lines.append(f"  Its text: {verdict.url}")
    if is_one_of_several:
        lines.append("The sources of this model name several licences; each of them has to cover the use.")
    if verdicts[0].outcome == "refused-use":
        hint = (
            "take another model, declare the use that you have (--use research), or give --accept-licence where its "
            "owner has given you a licence of your own"
        )
        return RefusedError("licence-refuses-use", "\n".join(lines), hint=hint)
    return RefusedError(
        "licence-not-accepted",
        "\n".join(lines),
        hint="read it, then give the same command with --accept-licence; the journal keeps who did",
    )


def licence_lines(verdict: Verdict, accepted: Sequence[Acceptance]) -> list[str]:
    """What people are shown of a model's licence, a sentence each.

    Args:
        verdict: On all licences that the model names.
        accepted: Acceptances of these licences that cover the use.
    """
    told = [f"{a.licence} was accepted for {a.use} by {a.actor} on {a.at[:10]}." for a in accepted]
    return [verdict.summary, *told, *verdict.conditions, *([f"Its text: {verdict.url}"] if verdict.url else [])]


def find_acceptances(connection: Connection, verdict: Verdict) -> list[Acceptance]:
    """Those that cover the use of a verdict on one licence or several."""
    found = (find_acceptance(connection, name, verdict.use) for name in licences_in(verdict.licence))
    return [acceptance for acceptance in found if acceptance is not None]
