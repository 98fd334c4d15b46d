"""Whether a licence covers a declared use: a decision of plain data, with the sentences that explain it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from undercroft.catalog.licences import UNKNOWN, Licence, Licences, licence_key, licences_in
from undercroft.catalog.uses import Use

Outcome = Literal["allowed", "needs-acceptance", "refused-use"]

_MEANING = {
    "commercial": "commercial use",
    "internal": "use inside an organisation",
    "research": "research",
    "personal": "personal use",
}
_STRICTNESS: dict[Outcome, int] = {"allowed": 0, "needs-acceptance": 1, "refused-use": 2}
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it.

    Args:
        outcome: ``allowed``; ``needs-acceptance``: under conditions, or of a licence that is not known;
            ``refused-use``: the licence does not cover it.
        licence: Id; as it was written where there are no facts of it, ``unknown`` where none is named.
        use: What was declared.
        summary: One sentence.
        conditions: Limits and duties that hold, a sentence each.
        url: Where the text stands; empty where it is not known.
        to_accept: Ids of licences with facts that somebody has to accept.
    """

    outcome: Outcome
    licence: str
    use: Use
    summary: str
    conditions: tuple[str, ...] = ()
    url: str = ""
    to_accept: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there are facts of the licence; of all of several."""
        return bool(self.url)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcome": self.outcome,
            "licence": self.licence,
            "use": str(self.use),
            "summary": self.summary,
            "conditions": list(self.conditions),
            "url": self.url,
        }


def judge(licence: Licence | None, use: Use, *, written: str = "") -> Verdict:
    """Whether a licence covers a use.

    Args:
        licence: Its facts; None where it is not known.
        use: What is declared.
        written: How the model names its licence, for one that is not known; empty where it names none.
    """
    if licence is None:
        return _unknown(use, written)
    purpose, what = licence.grants[use.purpose], _MEANING[use.purpose]
    if purpose == "refused":
        return _verdict(licence, use, "refused-use", f"The {licence.name} does not cover {what}.")
    if licence.users_cap is not None and use.users is not None and use.users > licence.users_cap:
        where = f" ({licence.users_cap_section})" if licence.users_cap_section else ""
        text = (
            f"The {licence.name} ends at {licence.users_cap:,} monthly users{where}; {use.users:,} are declared, which "
            "needs a licence of its own from the owner."
        )
        return _verdict(licence, use, "refused-use", text)
    if licence.needs_acceptance or purpose == "conditional":
        text = f"The {licence.name} covers {what} under conditions that somebody has to accept."
        return _verdict(licence, use, "needs-acceptance", text)
    return _verdict(licence, use, "allowed", f"The {licence.name} covers {what}.")


def judge_each(licences: Licences, written: str, use: Use) -> list[Verdict]:
    """A verdict on each licence that a model names, the strictest first; one on none where it names none.

    Args:
        licences: Facts.
        written: As the model names them: ``apache-2.0``, ``apache-2.0 AND cc-by-nc-4.0``, ``unknown``.
        use: What is declared.
    """
    named = licences_in(written) or [""]
    verdicts = [judge(licences.get(text), use, written=licence_key(text)) for text in named]
    return sorted(verdicts, key=lambda verdict: -_STRICTNESS[verdict.outcome])


def judge_written(licences: Licences, written: str, use: Use) -> Verdict:
    """One verdict on all licences that a model names: each has to cover the use, so the strictest decides.

    Args:
        licences: Facts.
        written: As for `judge_each`.
        use: What is declared.
    """
    verdicts = judge_each(licences, written, use)
    first = verdicts[0]
    if len(verdicts) == 1:
        return first
    return Verdict(
        first.outcome,
        " AND ".join(verdict.licence for verdict in verdicts),
        use,
        " ".join(
            ["Its sources name several licences, each of which has to cover the use.", *(v.summary for v in verdicts)]
        ),
        tuple(dict.fromkeys(condition for verdict in verdicts for condition in verdict.conditions)),
        first.url if all(verdict.is_known for verdict in verdicts) else "",
        tuple(name for verdict in verdicts for name in verdict.to_accept) if first.outcome != "refused-use" else (),
    )


def _verdict(licence: Licence, use: Use, outcome: Outcome, summary: str) -> Verdict:
    to_accept = (licence.id,) if outcome == "needs-acceptance" else ()
    return Verdict(outcome, licence.id, use, summary, conditions_of(licence), licence.url, to_accept)


def conditions_of(licence: Licence) -> tuple[str, ...]:
    """Limits and duties of a licence, each a sentence with its section."""
    cap = []
    if licence.users_cap is not None:
        where = f" ({licence.users_cap_section})" if licence.users_cap_section else ""
        cap.append(f"More than {licence.users_cap:,} monthly active users need a licence of their own{where}.")
    return (*cap, *map(str, licence.limits), *map(str, licence.duties))


def _unknown(use: Use, written: str) -> Verdict:
    shown = written if len(written) <= _SHOWN_CHARACTERS else written[:_SHOWN_CHARACTERS] + "…"
    named = (
        f"It names the licence {shown!r}, of which there are no facts here" if written else "Its licence is not known"
    )
    read = "read what its source says of it; without a licence nothing is permitted"
    if use.purpose == "commercial":
        summary = f"{named}. Commercial use needs somebody who accepts it: {read}."
        return Verdict("needs-acceptance", shown or UNKNOWN, use, summary)
    return Verdict("allowed", shown or UNKNOWN, use, f"{named}: {read}.")
