"""What a recipe says of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from undercroft.optimize.recipe_fields import Digest, Part

_DEFAULT_RANK = 8
# Highest learning rates where none is given: what is usual for models of some billions of weights.
_RATES = {"full": 2e-5, "lora": 2e-4, "qlora": 2e-4, "dpo": 5e-6}


class Rehearse(Part):
    """Old knowledge among the new: questions that the model answers itself before it learns."""

    questions: Path = Field(description="JSON lines with prompt or messages; answers in them are left out.")
    questions_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    count: int = Field(ge=1, le=1_000_000, description="Questions that are drawn from them.")
    hold: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="How strongly what it expects at each token of these answers is held; 0 learns their words only.",
    )
    repeat: int = Field(
        1, ge=1, le=1000, description="How often each line of data is read while each of these answers is read once."
    )


class Finetune(Part):
    """A model that has learnt from conversations, or an adapter that it can be given."""

    data: Path = Field(description="JSON lines: conversations, for dpo preferences.")
    data_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    method: Literal["lora", "qlora", "full", "dpo"] = Field("lora", description="Which weights learn, and from what.")
    merge: bool = Field(False, description="Make a whole model; lora, qlora and dpo make an adapter else.")
    type: Literal["f32", "f16", "bf16"] | None = Field(
        None, description="What a whole model is kept in; as the base is, f16 where that is quantized."
    )
    rank: int | None = Field(None, ge=1, le=1024, description="Of the matrices that are added; 8.")
    alpha: float | None = Field(None, gt=0, le=65_536, description="They count alpha / rank times; twice the rank.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Share of their inputs left out while they learn; 0.")
    rate: float | None = Field(None, gt=0, le=1, description="Highest learning rate; the usual one of the method.")
    epochs: float = Field(3.0, gt=0, le=1000, description="How often all is read.")
    batch_tokens: int = Field(2048, ge=1, le=2**24, description="That a step learns from, about.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Of matrices that learn.")
    validation: Path | None = Field(None, description="A file like data that is only measured.")
    validation_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    validation_share: float = Field(0.1, ge=0, le=0.5, description="Of the data, where there is no such file.")
    patience: int = Field(
        3, ge=0, le=1000, description="Ends after so many evaluations, of ten, that got no better; 0 never."
    )
    beta: float | None = Field(None, gt=0, le=10, description="How strongly dpo holds the model to what it was; 0.1.")
    rehearse: Rehearse | None = Field(None, description="Old knowledge among the new.")

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        wrong: list[str] = []
        if self.method == "full":
            wrong += [name for name in ("rank", "alpha", "dropout") if getattr(self, name) is not None]
            wrong += ["merge"] if self.merge else []
        if self.method != "dpo" and self.beta is not None:
            wrong.append("beta")
        if self.method == "dpo" and self.rehearse is not None:
            wrong.append("rehearse")
        if self.type is not None and not self.makes_model:
            wrong.append("type")
        if wrong:
            raise ValueError(f"expected no {' and no '.join(wrong)} with method {self.method}{self._makes()}")
        return self

    @property
    def makes_model(self) -> bool:
        """Whether a whole model comes of it, and not an adapter."""
        return self.merge or self.method == "full"

    @property
    def true_rank(self) -> int:
        """Given, or 8."""
        return self.rank or _DEFAULT_RANK

    @property
    def true_alpha(self) -> float:
        """Given, or twice the rank."""
        return self.alpha or 2.0 * self.true_rank

    @property
    def true_rate(self) -> float:
        """Given, or usual for the method."""
        return self.rate or _RATES[self.method]

    @property
    def files(self) -> dict[tuple[str, ...], Path]:
        """Where in these settings a file is named → the file."""
        rehearse = self.rehearse.questions if self.rehearse is not None else None
        named = {("data",): self.data, ("validation",): self.validation, ("rehearse", "questions"): rehearse}
        return {place: path for place, path in named.items() if path is not None}

    def _makes(self) -> str:
        return ", which makes an adapter" if not self.makes_model and self.type is not None else ""
