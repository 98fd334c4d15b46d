"""What a release is made of: model, engine and its settings, prompt, sampling. Checked whole, kept as plain data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from undercroft.catalog.engines import ATTACHED, EngineName
from undercroft.core.errors import InvalidError
from undercroft.core.forms import of_form
from undercroft.core.ids import NAME_PATTERN
from undercroft.registry.releases.problems import field_problems
from undercroft.registry.releases.prompts import Example, Prompt

_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]
_Digest = Annotated[str, of_form(r"sha256:[0-9a-f]{64}", "a digest such as sha256:0123…")]
_Stop = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16)]


# The engines that tell adapters apart request by request.
ADAPTER_ENGINES: tuple[EngineName, ...] = ("llama.cpp", "vllm")
_ADAPTERS_LIMIT = 32


def _with_models(adapters: Any) -> Any:
    """``polite: polite-lora`` is short for ``polite: {model: polite-lora}``."""
    if not isinstance(adapters, dict):
        return adapters
    return {name: {"model": adapter} if isinstance(adapter, str) else adapter for name, adapter in adapters.items()}


class Sampling(BaseModel):
    """How tokens are chosen where a request does not say so itself; None leaves it to the engine."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1000)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.5, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**32 - 2)
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    stop: _Stop | None = None


class ReleaseSettings(BaseModel):
    """How the engine runs it. None leaves it to the deployment, so that machines may differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["generate", "embed", "rerank", "classify"] | None = Field(None, description="What it is for.")
    context_tokens: int | None = Field(None, ge=1, le=10_000_000, description="Context of one request, in tokens.")
    slots: int | None = Field(None, ge=1, le=256, description="Requests that a replica computes at the same time.")
    cache_type: Literal["f16", "q8_0", "q4_0"] | None = Field(None, description="How keys and values are kept.")
    dtype: Literal["auto", "float16", "bfloat16", "float32"] | None = Field(
        None, description="vllm: type of weights while computing."
    )
    may_shrink_context: bool | None = Field(None, description="Out of memory all the same: halve the context once.")
    url: str | None = Field(None, max_length=2048, description="Base URL of an external engine, without /v1.")
    upstream_model: str | None = Field(None, max_length=256, description="What the external engine calls the model.")
    key_file: Path | None = Field(None, description="File with the external engine's key.")
    ca_file: Path | None = Field(None, description="Certificates that the external engine is trusted by, PEM.")


class ReleaseAdapter(BaseModel):
    """A LoRA that is loaded beside the model and asked for by a name of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: _Name = Field(description="A registered adapter.")
    digest: _Digest | None = Field(None, description="Of its files; filled in when the release is made.")


class ReleaseContent(BaseModel):
    """Everything that makes an answer what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: _Name | None = None
    adapters: Annotated[
        dict[str, ReleaseAdapter], BeforeValidator(_with_models), Field(max_length=_ADAPTERS_LIMIT)
    ] = {}
    engine: EngineName = "llama.cpp"
    settings: ReleaseSettings = ReleaseSettings.model_construct()
    prompt: Prompt | None = None
    sampling: Sampling = Sampling.model_construct()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        bad = next((name for name in self.adapters if not NAME_PATTERN.fullmatch(name)), None)
        if bad is not None:
            raise ValueError(f"adapters: expected names of a-z, 0-9, '.', '_' and '-', got '{bad[:80]}'")
        if self.adapters and self.engine not in ADAPTER_ENGINES:
            raise ValueError(f"adapters: the engine {self.engine} serves none, {' and '.join(ADAPTER_ENGINES)} do")
        if self.adapters and self.settings.task not in (None, "generate"):
            raise ValueError(f"adapters: expected the task generate, got {self.settings.task}")
        if self.engine in ATTACHED:
            if self.model is not None or self.settings.url is None:
                raise ValueError("an engine that is attached needs settings.url and takes no model")
        elif self.model is None:
            raise ValueError("model: is missing")
        elif any((self.settings.url, self.settings.upstream_model, self.settings.key_file, self.settings.ca_file)):
            raise ValueError(
                f"settings: url, upstream_model, key_file and ca_file belong to an attached engine, {self.engine} has "
                "none"
            )
        if self.settings.dtype is not None and self.engine != "vllm":
            raise ValueError(f"settings: dtype belongs to the engine vllm, {self.engine} has none")
        for name in ("key_file", "ca_file"):
            file = getattr(self.settings, name)
            if file is not None and not file.is_absolute():
                raise ValueError(f"settings.{name}: expected an absolute path, got '{file}'")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every registered model that it is made of: the base, then the adapters."""
        own = (self.model,) if self.model is not None else ()
        return tuple(dict.fromkeys((*own, *(adapter.model for adapter in self.adapters.values()))))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what was left out is left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


FIELD_NAMES = sorted(
    {
        name
        for kind in (ReleaseContent, ReleaseAdapter, ReleaseSettings, Sampling, Prompt, Example)
        for name in kind.model_fields
    }
)


def check_content(values: Any) -> ReleaseContent:
    """Reads a release as a person gave it.

    Raises:
        InvalidError: ``bad-release``: every problem in one message.
    """
    try:
        return ReleaseContent.model_validate(values)
    except ValidationError as error:
        raise InvalidError(
            "bad-release", "the release has problems: " + "; ".join(field_problems(error, FIELD_NAMES))
        ) from error


def content_digest(content: ReleaseContent, model_digest: str | None) -> str:
    """What it is: equal for equal content over an equal model, whatever it is called.

    Args:
        model_digest: Of the model's files; None for an external engine.
    """
    plain = {"content": content.to_dict(), "model_digest": model_digest}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
