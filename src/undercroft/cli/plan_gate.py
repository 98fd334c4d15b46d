"""The licence gate of ``undercroft plan``: a declared use that a licence does not cover is refused."""

from __future__ import annotations

from undercroft.catalog.licences import load_licences
from undercroft.catalog.verdicts import judge_each
from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database
from undercroft.cli.plan_request import Made, Surroundings
from undercroft.cli.use import declared_use
from undercroft.registry.licences import LicenceGate, refusal


def check_licence(
    made: Made, use: str | None, around: Surroundings, *, is_accepted: bool = False, reason: str | None = None
) -> None:
    """Lets a plan pass, or refuses it. The default of ``registry.use`` is nobody's declaration and refuses nothing.

    Args:
        made: The plan with its model.
        use: As given with ``--use``; None takes the setting.
        around: Home, settings, database.
        is_accepted: Whether the command itself accepts what the licence asks; the journal keeps it.
        reason: Why, for the journal.

    Raises:
        RefusedError: ``licence-not-accepted`` or ``licence-refuses-use``.
    """
    if use is None and not is_accepted and "use" not in around.settings.registry.model_fields_set:
        return
    licences, declared = load_licences(around.home.catalogue), declared_use(around.home, use)
    database = open_database()[1] if is_accepted else around.database
    if database is None:
        verdicts = judge_each(licences, made.found.licence, declared)
        uncovered = [verdict for verdict in verdicts if verdict.outcome != "allowed"]
        if uncovered:
            raise refusal(uncovered, made.found.name, is_one_of_several=len(verdicts) > 1)
        return
    gate = LicenceGate(database, licences, declared, is_accepted=is_accepted, actor=current_actor(), reason=reason)
    if made.found.origin == "registry":
        gate.check_registered(made.found.name)
    else:
        gate.check(made.found.licence, model=made.found.name)
