"""What people read of how a model was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from undercroft.optimize.lineage import made_here

Rows = list[tuple[str, str]]


def lineage_rows(lineage: Mapping[str, Any]) -> Rows:
    """How a model was made; empty for one that was not made by a job."""
    found = made_here(lineage)
    if found is None:
        return []
    rows = [("made by", f"{found.get('job', '')}, {found.get('tool', '')}".strip(", "))]
    rows += [("parent", f"{parent['name']}, {parent['digest']}") for parent in found.get("parents", ())]
    steps = found["recipe"].get("steps", [])
    # What a step before the last made was made by the steps up to it, not by the whole recipe.
    rows += [("step", text) for text in step_texts(steps[: len(found.get("steps") or steps)])]
    rows += [("proof", text) for text in proofs(lineage)]
    is_same = "gives the same digest" if found.get("is_reproducible") else "may give another digest"
    rows.append(("seed", f"{found.get('seed', 0)}; doing it again with these versions{_threads(found)} {is_same}"))
    versions = {**(found.get("versions") or {}), **_versions_of_steps(found)}
    if isinstance(found.get("card"), Mapping):
        rows.append(("card", f"of {found['card'].get('made_at', '')}; undercroft job show {found.get('job', '')}"))
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return rows


def _threads(found: Mapping[str, Any]) -> str:
    """What a training computed with, for sums depend on how many share them; empty where nothing was trained."""
    measured = [step.get("found") or {} for step in found.get("steps", ())]
    counts = sorted({int(one["training"]["threads"]) for one in measured if "threads" in one.get("training", {})})
    return f" and trained by {_number_of(counts[-1], 'thread')}" if counts else ""


def _versions_of_steps(found: Mapping[str, Any]) -> dict[str, str]:
    """Of what ran in environments of their own: torch and its relatives."""
    environments = [step.get("environment") or {} for step in found.get("steps", ())]
    return {name: number for one in environments for name, number in (one.get("versions") or {}).items()}


def proofs(lineage: Mapping[str, Any]) -> list[str]:
    """What was measured of a model beside its source while it was made, one line each; empty where nothing was."""
    found = made_here(lineage)
    steps = found.get("steps", ()) if found is not None else ()
    return [text for step in steps for text in _proofs_of(step.get("found"))]


def _proofs_of(found: Any) -> list[str]:
    if not isinstance(found, Mapping):
        return []
    said = ((name, found.get(name)) for name in _PROOFS)
    return [_PROOFS[name](measured) for name, measured in said if isinstance(measured, Mapping)]


def _agreement(found: Mapping[str, Any]) -> str:
    return (
        f"run beside its source: {found['same']} of {found['compared']} the same, mean difference "
        f"{found['mean_difference']:.2g}, {found['tolerance']:.2g} allowed"
    )


def _quality(found: Mapping[str, Any]) -> str:
    apart = ", kept apart" if found["is_held_out"] else ""
    return (
        f"perplexity {found['perplexity_before']:.4g} before, {found['perplexity_after']:.4g} after; divergence "
        f"{found['divergence_nats']:.2g} nats a token; the same likeliest token at {found['same_top_ratio']:.1%} of "
        f"{found['tokens']:,} tokens of {found['texts']}{apart}"
    ).replace("%", " %")


def _speed(found: Mapping[str, Any]) -> str:
    """The ratio is the median of those of single rounds, in which both had the same machine; medians of the speeds may
    have another."""
    before, after = (found[name]["written_tokens_per_second"] for name in ("before", "after"))
    ratios = found["written_ratios"]
    rounds = f"{min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds, in turns"
    return (
        f"writes {found['written_ratio']:.2f} times as fast in {found['engine']} ({rounds}); medians {before:.4g} "
        f"tokens/s before, {after:.4g} after"
    )


def _comparison(found: Mapping[str, Any]) -> str:
    return (
        f"read beside its source, {found['tokens']:,} tokens: {found['mean_nats']:.2g} nats away, "
        f"{found['limit_nats']:g} allowed; the same token first at {found['same_top']:.1%}"
    ).replace("%", " %")


def _distillation(found: Mapping[str, Any]) -> str:
    apart = ", kept apart" if found["is_held_out"] else ""
    questions = ", questions among them" if found.get("has_questions") else ""
    read = f"{found['tokens']:,} tokens of {found['texts']}{apart}{questions}"
    said = (
        f"taught by {found['teacher']}: perplexity {found['perplexity_before']:.4g} before, "
        f"{found['perplexity_after']:.4g} after"
    )
    if "perplexity_of_teacher" not in found:  # one that is served, or that has other tokens
        return f"{said}, at {read}"
    before, after = found["same_top_before_ratio"], found["same_top_after_ratio"]
    return (
        f"{said}, of its teacher {found['perplexity_of_teacher']:.4g}; divergence from it "
        f"{found['divergence_before_nats']:.2g} nats a token before, {found['divergence_after_nats']:.2g} after; the "
        f"same likeliest token at {before:.1%} before, {after:.1%} after, of {read}"
    ).replace("%", " %")


def _number_of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _training(found: Mapping[str, Any]) -> str:
    said = f"learnt from {found['sequences']:,} sequences in {_number_of(found['steps'], 'step')}"
    if losses := {int(step): loss for step, loss in found["validation"]}:
        kept = found["kept_step"]
        said += f"; loss on those kept apart {losses[0]:.3g} before, {losses[kept]:.3g} after step {kept:,}, kept"
        said += "; it ended early, for it got no better" if found["has_stopped_early"] else ""
    if left_out := found.get("left_out", 0):
        said += f"; answers of the teacher that were too long, and left out: {left_out:,}"
    return said


def _note(found: Mapping[str, Any]) -> str:
    return str(found["text"])


_PROOFS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "agreement": _agreement,
    "comparison": _comparison,
    "quality": _quality,
    "speed": _speed,
    "training": _training,
    "distillation": _distillation,
    "note": _note,
}


def step_texts(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps of a recipe, one line each, values as YAML has them: ``quantize scheme=Q4_K_M``; none that was left out."""
    return [f"{kind} {_settings(settings)}".rstrip() for step in steps for kind, settings in step.items()]


def _settings(settings: Any) -> str:
    if not isinstance(settings, Mapping):
        return str(settings)
    return " ".join(
        f"{name}={_value(value)}" for name, value in settings.items() if value not in ({}, [], None, False, "")
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
