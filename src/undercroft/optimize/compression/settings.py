"""What a recipe may say of a scheme for published models, and which of it belongs together. Pure."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from undercroft.optimize.compression.schemes import COMPRESSED, CompressedScheme
from undercroft.optimize.recipe_fields import Digest, Part


class Calibration(Part):
    """Texts that the model reads before its weights are rounded, and by which the result is compared with it."""

    texts: Path = Field(description="A file of plain text in UTF-8: what the model will be used for.")
    texts_digest: Digest | None = Field(
        None, description="Of the file; what it is now where it is left out. Another content is refused."
    )
    samples: int = Field(128, ge=1, le=4096, description="Pieces of text that are read, at most.")
    sample_tokens: int = Field(512, ge=16, le=32_768, description="Tokens of one piece.")


def problem_of_settings(
    scheme: CompressedScheme,
    *,
    calibration: Calibration | None,
    group_size: int | None,
    smoothing: bool | None,
    has_importance: bool,
    allows_requantizing: bool,
) -> str | None:
    """What does not belong to a scheme for published models, or is missing; None where all is well.

    Args:
        scheme: Which.
        calibration: Texts and how much of them is read.
        group_size: As asked; None leaves it to the scheme.
        smoothing: As asked; None is True where there is such a thing.
        has_importance: Whether an importance matrix was asked for.
        allows_requantizing: Whether a model that is rounded already was to be taken.
    """
    if has_importance:
        return (
            f"an importance matrix is for schemes of llama.cpp: expected for {scheme.name} calibration: {{texts: FILE}}"
        )
    if allows_requantizing:
        return f"{scheme.name} takes models as they were published only: expected no allow_requantize"
    if smoothing is not None and scheme.method != "smoothing":
        return f"smoothing is for {_names_of('smoothing')} only, not for {scheme.name}"
    if group_size is not None and scheme.group_size is not None:
        fixed = f"always has groups of {scheme.group_size}" if scheme.group_size else "has one scale a row"
        return f"{scheme.name} {fixed}: expected no group_size"
    if calibration is None and scheme.needs_texts and smoothing is not False:
        return (
            f"{scheme.name} rounds by what texts excite in the model, and ours would not be yours: expected "
            f"calibration: {{texts: FILE}}, as an option --calibration-texts FILE{_without_texts(scheme)}"
        )
    return None


def problem_of_others(
    scheme: str, *, calibration: Calibration | None, group_size: int | None, smoothing: bool | None
) -> str | None:
    """What a scheme of llama.cpp was given that is not its own; None where there is nothing.

    Args:
        scheme: Its name.
        calibration: As asked.
        group_size: As asked.
        smoothing: As asked.
    """
    given = {"calibration": calibration, "group_size": group_size, "smoothing": smoothing}
    name = next((name for name, value in given.items() if value is not None), None)
    if name is None:
        return None
    instead = ", which has importance: {texts: FILE}" if name == "calibration" else ""
    return f"{name} is for published models ({', '.join(COMPRESSED)}), not for {scheme}{instead}"


def _without_texts(scheme: CompressedScheme) -> str:
    if scheme.method == "smoothing":
        return "; or smoothing: false, --no-smoothing, which rounds the weights as they are"
    return f"; without texts there are {_names_of('rounding')}"


def _names_of(method: str) -> str:
    return ", ".join(scheme.name for scheme in COMPRESSED.values() if scheme.method == method)
