"""What a recipe says of distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from undercroft.core.forms import wrong_form
from undercroft.optimize.recipe_fields import Digest, Name, Part


def _url(given: object) -> object:
    """``http://host:port``, of a server that speaks OpenAI's language; ``/v1`` behind it is left out."""
    text = str(given).rstrip("/").removesuffix("/v1")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise wrong_form("an address such as http://127.0.0.1:8080")
    return text


class Served(Part):
    """A teacher that answers at a door: this installation's own, or any that speaks OpenAI's language."""

    url: Annotated[str, BeforeValidator(_url)] = Field(description="Of the server, without /v1.")
    model: str = Field(min_length=1, max_length=200, description="As it is asked for there: a name, or a release.")
    key_file: Path | None = Field(None, description="A file with the key; none sends none.")


class Distill(Part):
    """A student that has learnt from a teacher."""

    teacher: Name | None = Field(
        None, description="A model of the registry; where it is left out, the one that the recipe is made from."
    )
    served: Served | None = Field(None, description="A teacher that is served; it gives answers only.")
    data: Path = Field(description="Texts (plain, or JSON lines with text), or JSON lines of conversations.")
    data_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    method: Literal["logits", "answers"] = Field(
        "logits", description="Learn what the teacher expects at each token, or the answers that it gives."
    )
    temperature: float | None = Field(None, gt=0, le=100, description="Softens what both expect; 1. Of logits only.")
    share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of the teacher in what is learnt, the rest is the data itself; 1. Of logits only.",
    )
    rate: float = Field(2e-5, gt=0, le=1, description="Highest learning rate; small models take more: 3e-4 to 1e-3.")
    epochs: float = Field(3.0, gt=0, le=1000, description="How often all is read.")
    batch_tokens: int = Field(2048, ge=1, le=2**24, description="That a step learns from, about.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Of matrices.")
    patience: int = Field(
        3, ge=0, le=1000, description="Ends after so many evaluations, of ten, that got no better; 0 never."
    )
    answer_tokens: int = Field(1024, ge=1, le=65_536, description="Longest answer of the teacher; longer are left out.")
    type: Literal["f32", "f16", "bf16"] | None = Field(
        None, description="What the student is kept in; as it is, f16 where that is quantized."
    )

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        if self.teacher is not None and self.served is not None:
            raise ValueError("expected teacher or served, not both")
        if self.served is not None and self.method == "logits":
            raise ValueError("expected method: answers with a served teacher, which does not tell what it expects")
        given = [name for name in ("temperature", "share") if getattr(self, name) is not None]
        if self.method == "answers" and given:
            raise ValueError(f"expected no {' and no '.join(given)} with method answers")
        return self

    @property
    def files(self) -> dict[tuple[str, ...], Path]:
        """Where in these settings a file is named → the file."""
        key = self.served.key_file if self.served is not None else None
        named = {("data",): self.data, ("served", "key_file"): key}
        return {place: path for place, path in named.items() if path is not None}
