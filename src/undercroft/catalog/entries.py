"""The form of an entry in the catalogue's files, checked before it is used."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from undercroft.catalog.shapes import Experts
from undercroft.core.forms import of_form, wrong_form

Count = Annotated[int, Field(ge=1, le=2**40)]
CountOrNone = Annotated[int, Field(ge=0, le=2**40)]
Names = Annotated[str, of_form(r"[A-Za-z0-9._/-]*( +[A-Za-z0-9._/-]+)*", "names with blanks between them")]
Languages = Annotated[
    str, of_form(r"([a-z]{2,3}( +[a-z]{2,3})*)?", "ISO 639 codes with blanks between them, such as 'en th'")
]
Repository = Annotated[str, of_form(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)?", "a repository such as 'org/name'")]


def _one_or_each(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError as error:
        raise wrong_form("a whole number from 1, or a list with one number for each layer") from error


OneOrEach = Annotated[Count | list[CountOrNone], WrapValidator(_one_or_each)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpertsEntry(_Entry):
    """A mixture of experts; see `undercroft.catalog.shapes.Experts`."""

    count: Count
    used: Count
    feed_forward: Count
    shared: CountOrNone = 0
    shared_feed_forward: CountOrNone = 0
    dense_layers: CountOrNone = 0


class ModelEntry(_Entry):
    """One model; names as in `undercroft.catalog.shapes.ModelShape` where they are not its own.

    ``kv_heads`` is one number for all blocks or a list with one each. ``window_pattern`` n says that each n-th block
    has no window and the others have one; 0 gives one to all.
    """

    name: Annotated[
        str,
        of_form(r"[a-z0-9][a-z0-9.-]{0,62}", "up to 63 lower-case letters, digits, '.' and '-', such as 'house-7b'"),
    ]
    hub: Repository = ""
    base: Repository = ""
    also: Names = ""
    task: Literal["chat", "embed", "rerank", "encode"]
    licence: Annotated[str, of_form(r"[a-z0-9][a-z0-9.-]{0,63}", "the id of a licence such as 'apache-2.0'")]
    released: date | None = None
    official: Languages = ""
    usable: Languages = ""
    remark: str = Field("", max_length=400)
    sources: dict[str, str] = {}

    architecture: Annotated[
        str, of_form(r"[a-z0-9][a-z0-9_.-]{0,63}", "the name that a GGUF gives its architecture, such as 'llama'")
    ]
    layers: Annotated[int, Field(ge=1, le=1024)]
    width: Count
    heads: Count
    kv_heads: OneOrEach
    head_dim: CountOrNone = 0
    value_head_dim: CountOrNone = 0
    feed_forward: CountOrNone
    vocabulary: Count
    context_tokens: Count
    is_tied: bool = False
    is_gated: bool = True
    has_attention_bias: bool = False
    has_query_key_norm: bool = False
    window_tokens: CountOrNone = 0
    window_pattern: CountOrNone | None = None
    experts: ExpertsEntry | None = None
    is_encoder: bool = False
    position_rows: CountOrNone = 0
    parameters: CountOrNone = 0
    extra: dict[str, float] = {}

    @model_validator(mode="after")
    def _fits_itself(self) -> ModelEntry:
        if isinstance(self.kv_heads, list) and len(self.kv_heads) != self.layers:
            raise ValueError(
                f"kv_heads has {len(self.kv_heads)} entries, expected one for each of {self.layers} layers"
            )
        if (self.window_tokens > 0) != (self.window_pattern is not None):
            raise ValueError("window_tokens and window_pattern belong together")
        if self.head_dim == 0 and self.width % self.heads:
            raise ValueError("head_dim is missing, and width is not a multiple of heads")
        if self.feed_forward == 0 and self.experts is None:
            raise ValueError("feed_forward is 0 and there are no experts")
        return self


def window_layers_of(entry: ModelEntry) -> frozenset[int]:
    """The blocks with a sliding window."""
    if not entry.window_tokens or entry.window_pattern is None:
        return frozenset()
    return windowed(entry.layers, entry.window_pattern)


def windowed(layers: int, pattern: int) -> frozenset[int]:
    """Blocks with a window where each ``pattern``-th has none, as llama.cpp counts them; 0 gives one to all."""
    if pattern == 0:
        return frozenset(range(layers))
    return frozenset(layer for layer in range(layers) if layer % pattern < pattern - 1)


def experts_of(entry: ModelEntry) -> Experts | None:
    """The mixture of experts; None for a dense network."""
    found = entry.experts
    if found is None:
        return None
    return Experts(
        count=found.count,
        used=found.used,
        feed_forward=found.feed_forward,
        shared=found.shared,
        shared_feed_forward=found.shared_feed_forward,
        dense_layers=found.dense_layers,
    )
