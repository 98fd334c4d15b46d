"""What a recipe says of pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from undercroft.core.forms import wrong_form
from undercroft.optimize.pruning.changes import TWO_OF_FOUR, Sparsity
from undercroft.optimize.recipe_fields import Digest, Part

_TWO_OF_FOUR_IN_YAML = 124  # 2:4 without quotes is a number to the base of sixty


def _sparsity(given: object) -> object:
    """``2:4``, or a share between 0 and 1."""
    if given in ("2:4", _TWO_OF_FOUR_IN_YAML):
        return "2:4"
    try:
        share = float(given) if isinstance(given, (str, int, float)) and not isinstance(given, bool) else -1.0
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0:
        raise wrong_form(f"2:4, or a share between 0 and 1 such as 0.5; got {str(given)[:40]!r}")
    return share


class Width(Part):
    """Which share of what stands side by side in a block stays."""

    ffn: float | None = Field(None, gt=0, lt=1, description="Of the channels of the feed-forward part.")
    heads: float | None = Field(None, gt=0, lt=1, description="Of the heads; key/value heads go with their queries.")

    @model_validator(mode="after")
    def _cuts_something(self) -> Self:
        if self.ffn is None and self.heads is None:
            raise ValueError("expected ffn: SHARE, heads: SHARE or both")
        return self


class Prune(Part):
    """A model without what matters least to texts of its user's."""

    depth: int | None = Field(None, ge=1, le=1000, description="Blocks to drop; count.")
    width: Width | None = Field(None, description="Heads and channels to keep.")
    sparsity: Annotated[Literal["2:4"] | float, BeforeValidator(_sparsity)] | None = Field(
        None, description="Weights that become zero: 2 of every 4, or a share of each row."
    )
    texts: Path = Field(description="Texts of your own: plain, or JSON lines; what the model will be used for.")
    texts_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    allow_requantize: bool = Field(
        False, description="Take quantized matrices apart where their blocks cannot be cut; they become F16."
    )

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        given = [name for name in ("depth", "width", "sparsity") if getattr(self, name) is not None]
        if len(given) != 1:
            have = f", got {' and '.join(given)}; give each a step of its own" if given else ""
            raise ValueError(f"expected one of depth, width and sparsity{have}")
        return self

    @property
    def zeros(self) -> Sparsity | None:
        """What becomes zero; None nothing."""
        if self.sparsity is None:
            return None
        return TWO_OF_FOUR if self.sparsity == "2:4" else Sparsity(float(self.sparsity))
