"""The catalogue of open models: shape, context, languages, licence, and where each of these stands.

The entries are in ``families/*.yaml`` beside this module. A folder of the user's adds to them and goes before them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from undercroft.catalog.entries import ModelEntry, experts_of, window_layers_of
from undercroft.catalog.shapes import ModelShape
from undercroft.catalog.yaml_files import bad_catalogue, problems_of, read_mapping, yaml_files
from undercroft.core.errors import NotFoundError

Task = Literal["chat", "embed", "rerank", "encode"]
LanguageSupport = Literal["official", "usable", "none"]

_FOLDER = Path(__file__).parent / "families"
_TOP_KEYS = {"family", "name", "maker", "defaults", "models"}
# What people and files add to a model's name that does not change its shape.
_ENDING = re.compile(
    r"[-.](gguf|instruct|it|chat|hf|base|pt|latest|awq|gptq.*|(i?q|tq)\d[a-z0-9_-]*|f16|bf16|f32|fp16|fp8|mxfp4)$"
)
_NEAR_SHOWN = 4


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One entry.

    Args:
        name: ``llama-3.2-3b``; what people write.
        family: ``llama``.
        family_name: ``Llama``.
        maker: Who published it.
        shape: Its sizes.
        hub: ``org/name`` of the variant that follows instructions; of an encoder, the encoder.
        base: ``org/name`` of the variant before it was tuned; empty for none.
        also: Further names of the same shape.
        task: ``chat``, ``embed``, ``rerank``, or ``encode`` for an encoder that is to be tuned to a task first.
        licence: Id of `undercroft.catalog.licences`.
        released: When it was published; None is not known.
        official: Languages (ISO 639) that its maker names as supported.
        usable: Languages that its maker names in training or evaluation, without a promise.
        remark: What one should know; empty for nothing.
        sources: Field → where it stands.
    """

    name: str
    family: str
    family_name: str
    maker: str
    shape: ModelShape
    hub: str
    base: str
    also: tuple[str, ...]
    task: Task
    licence: str
    released: date | None
    official: frozenset[str]
    usable: frozenset[str]
    remark: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    def language_support(self, language: str) -> LanguageSupport:
        """How well a language is supported.

        Args:
            language: ISO 639 code in lower case: ``th``.
        """
        if language in self.official:
            return "official"
        return "usable" if language in self.usable else "none"

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it is found by."""
        return tuple(filter(None, (self.name, self.hub, self.base, *self.also)))


class Catalogue:
    """All models, found by any of their names.

    Args:
        models: In the order of the files; where two have a name, the later one has it.
    """

    def __init__(self, models: Iterable[CatalogueModel]) -> None:
        by_name = {model.name: model for model in models}
        self.models: tuple[CatalogueModel, ...] = tuple(by_name.values())
        self._by_key = {name_key(name): model for model in self.models for name in model.names}
        self._by_key |= {name_key(model.name): model for model in self.models}

    def get(self, name: str) -> CatalogueModel | None:
        """The model of a name, or None where there is none."""
        return self._by_key.get(name_key(name))

    def find(self, name: str) -> CatalogueModel:
        """The model of a name: ``llama-3.2-3b``, ``meta-llama/Llama-3.2-3B-Instruct``, ``qwen2.5:7b``.

        Raises:
            NotFoundError: ``no-such-catalogue-model``, with the nearest names.
        """
        found = self.get(name)
        if found is not None:
            return found
        near = self.near(name)
        beside = f"; near it: {', '.join(near)}" if near else ""
        raise NotFoundError(
            "no-such-catalogue-model",
            f"the catalogue has no model {name[:80]!r}{beside}",
            hint=f"undercroft plan {near[0]}" if near else "undercroft plan models",
        )

    def near(self, name: str) -> list[str]:
        """Names of models that somebody may have meant, the nearest first."""
        key = name_key(name)
        begins = [model.name for model in self.models if len(key) > 2 and name_key(model.name).startswith(key)]
        keys = {name_key(model.name): model.name for model in self.models}
        alike = [keys[match] for match in difflib.get_close_matches(key, keys, n=_NEAR_SHOWN, cutoff=0.6)]
        return list(dict.fromkeys([*begins, *alike]))[:_NEAR_SHOWN]


def name_key(name: str) -> str:
    """What of a name counts: ``meta-llama/Llama-3.2-3B-Instruct`` and ``llama3.2:3b`` are one."""
    text = name.strip().lower().rsplit("/", 1)[-1].replace(":", "-").replace("_", "-")
    while (shorter := _ENDING.sub("", text)) != text:
        text = shorter
    return re.sub(r"[^a-z0-9]", "", text)


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """The catalogue that comes with Undercroft, and a user's own.

    Args:
        folder: The user's YAML files; an entry there goes before ours of the same name. None for none.

    Raises:
        InvalidError: ``bad-catalogue``: a file has problems; all of it are named.
    """
    files = yaml_files(_FOLDER)
    if folder is not None:
        files += [path for path in yaml_files(folder) if path.name != "licences.yaml"]
    return Catalogue([model for path in files for model in read_family(path)])


def read_family(path: Path) -> list[CatalogueModel]:
    """The models of one file.

    Raises:
        InvalidError: ``bad-catalogue``.
    """
    document = read_mapping(path)
    problems = [
        f"{key}: unknown key, expected one of {', '.join(sorted(_TOP_KEYS))}" for key in document.keys() - _TOP_KEYS
    ]
    family = _text(document, "family", problems)
    name, maker = _text(document, "name", problems), _text(document, "maker", problems)
    defaults, entries = document.get("defaults") or {}, document.get("models")
    if not isinstance(defaults, dict):
        problems.append("defaults: expected a mapping")
    if not isinstance(entries, dict) or not entries:
        problems.append("models: expected a mapping of names")
    if problems or not isinstance(entries, dict) or not isinstance(defaults, dict):
        raise bad_catalogue(path, problems)
    models = []
    for key, values in entries.items():
        try:
            entry = ModelEntry.model_validate(_merged(defaults, key, values))
        except ValidationError as error:
            problems += problems_of(error, f"models.{key}")
            continue
        models.append(_model(entry, family, name, maker))
    if problems:
        raise bad_catalogue(path, problems)
    return models


def _text(document: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = document.get(key)
    if isinstance(value, str) and value:
        return value
    problems.append(f"{key}: expected a text")
    return ""


def _merged(defaults: Mapping[str, Any], key: Any, values: Any) -> Any:
    """An entry over the defaults of its file; a null takes a default away."""
    if not isinstance(values, dict):
        return values
    merged = {**defaults, **values, "name": key}
    both = (defaults.get("sources"), values.get("sources"))
    if all(isinstance(sources, dict) for sources in both):
        merged["sources"] = {name: text for sources in both if sources for name, text in sources.items()}
    return {name: value for name, value in merged.items() if value is not None}


def _model(entry: ModelEntry, family: str, family_name: str, maker: str) -> CatalogueModel:
    return CatalogueModel(
        name=entry.name,
        family=family,
        family_name=family_name,
        maker=maker,
        shape=shape_of_entry(entry),
        hub=entry.hub,
        base=entry.base,
        also=tuple(entry.also.split()),
        task=entry.task,
        licence=entry.licence,
        released=entry.released,
        official=frozenset(entry.official.split()),
        usable=frozenset(entry.usable.split()) - frozenset(entry.official.split()),
        remark=entry.remark,
        sources={key: text.replace("{hub}", entry.hub) for key, text in entry.sources.items()},
    )


def shape_of_entry(entry: ModelEntry) -> ModelShape:
    """The sizes of an entry as the forecast takes them."""
    head_dim = entry.head_dim or entry.width // entry.heads
    kv_heads = entry.kv_heads if isinstance(entry.kv_heads, list) else [entry.kv_heads] * entry.layers
    return ModelShape(
        architecture=entry.architecture,
        layers=entry.layers,
        width=entry.width,
        heads=entry.heads,
        kv_heads=tuple(kv_heads),
        head_dim=head_dim,
        value_head_dim=entry.value_head_dim or head_dim,
        feed_forward=entry.feed_forward,
        vocabulary=entry.vocabulary,
        context_tokens=entry.context_tokens,
        is_tied=entry.is_tied,
        is_gated=entry.is_gated,
        has_attention_bias=entry.has_attention_bias,
        has_query_key_norm=entry.has_query_key_norm,
        window_tokens=entry.window_tokens,
        window_layers=window_layers_of(entry),
        experts=experts_of(entry),
        is_encoder=entry.is_encoder,
        position_rows=entry.position_rows,
        parameters=entry.parameters,
        extra=dict(entry.extra),
    )
