"""What a recipe says of a student that is new."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from undercroft.optimize.recipe_fields import Part


class Student(Part):
    """A network of another shape, with nothing learnt yet; the next step teaches it."""

    blocks: int | None = Field(None, ge=1, le=1000, description="Of it; the source's where left out.")
    width: int | None = Field(None, ge=8, le=65_536, description="Of its embeddings; the source's where left out.")
    channels: int | None = Field(
        None, ge=8, le=1_000_000, description="Of the feed-forward part; in the source's proportion where left out."
    )
    heads: int | None = Field(
        None, ge=1, le=1024, description="Query heads, which divide the width; as wide as the source's where left out."
    )
    kv_heads: int | None = Field(
        None, ge=1, le=1024, description="Key/value heads, which divide the heads; the source's proportion."
    )

    @model_validator(mode="after")
    def _is_another(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"expected another shape than the source's: {', '.join(type(self).model_fields)}")
        return self
