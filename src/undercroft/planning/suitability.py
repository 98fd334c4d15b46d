"""What of a model speaks against it on every device: task, languages, licence, context, size. Pure."""

from __future__ import annotations

from undercroft.catalog.families import CatalogueModel
from undercroft.catalog.licences import Licences
from undercroft.catalog.uses import Use
from undercroft.catalog.verdicts import judge
from undercroft.planning.needs import Need
from undercroft.planning.weights import parameter_count

# A name rounds: Gemma 3 1B has 999,885,952 parameters.
_NAMED_SIZE = 0.98


def unsuited(model: CatalogueModel, licences: Licences, need: Need) -> tuple[list[tuple[str, str]], bool]:
    """Why a model is out on every device, and whether its licence has to be accepted.

    Args:
        model: Of the catalogue.
        licences: Facts of all of them.
        need: What is asked.

    Returns:
        All reasons, each a kind and a sentence; and whether somebody has to accept the licence for this use.
    """
    reasons: list[tuple[str, str]] = []
    if model.task != need.task:
        reasons.append(("task", f"it is for {model.task}, not for {need.task}"))
    missing = [language for language in need.languages if model.language_support(language) == "none"]
    if missing:
        reasons.append(("language", f"its maker does not name {', '.join(missing)}"))
    use = Use(need.purpose, max(need.users, need.monthly_users))
    verdict = judge(licences.get(model.licence), use, written=model.licence)
    if verdict.outcome == "refused-use":
        reasons.append(("licence", verdict.summary))
    if model.shape.context_tokens < need.context_tokens:
        words = f"made for {model.shape.context_tokens:,} tokens, {need.context_tokens:,} are needed"
        reasons.append(("context", words))
    count = parameters_of(model)
    if count < need.parameters * _NAMED_SIZE:
        reasons.append(("size", f"{_billions(count)} parameters, {_billions(need.parameters)} are needed"))
    return reasons, verdict.outcome == "needs-acceptance"


def parameters_of(model: CatalogueModel) -> int:
    """Elements of all tensors."""
    return model.shape.parameters or parameter_count(model.shape)


def _billions(count: float) -> str:
    return f"{count / 1e9:.2g} B" if count < 1e10 else f"{count / 1e9:,.0f} B"
