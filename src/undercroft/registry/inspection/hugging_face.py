"""Facts of a folder with Hugging Face files: configuration, tensors, tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from undercroft.registry.facts import UNKNOWN, ModelFacts
from undercroft.registry.inspection.compressed_weights import count_weights, name_of
from undercroft.registry.inspection.onnx import BITS, OnnxModel
from undercroft.registry.inspection.reading import refuse
from undercroft.registry.inspection.safetensors import DTYPES, StoredTensor
from undercroft.registry.inspection.templates import TEMPLATE_LIMIT_BYTES, check_template
from undercroft.registry.inspection.texts import read_text

_TEMPLATES_LIMIT = 16
_NAMING_SHARE = 0.25
_GENERATE = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
_ENCODERS = {"bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert", "nomic_bert", "deberta-v2", "new"}


def stored_facts(weights: Sequence[StoredTensor] | OnnxModel, config: Any = None) -> ModelFacts:
    """What the weights say.

    Args:
        weights: All of them.
        config: The parsed ``config.json``, which tells how many numbers lie packed in one.
    """
    if isinstance(weights, OnnxModel):
        return _onnx_facts(weights)
    stored = config if isinstance(config, dict) else {}
    parameters = count_weights(weights, stored) or sum(tensor.elements for tensor in weights)
    elements: Counter[str] = Counter()
    for tensor in weights:
        elements[tensor.dtype] += tensor.elements
    bits = sum(tensor.elements * DTYPES[tensor.dtype] for tensor in weights)
    return ModelFacts(
        parameters=parameters,
        quantization=elements.most_common(1)[0][0],
        bits_per_weight=round(bits / parameters, 2) if parameters else None,
    )


def _onnx_facts(model: OnnxModel) -> ModelFacts:
    """Tables of rows mostly stay as they were, so that a quarter of the weights names how the model was rounded."""
    weights = sum(model.stored.values())
    names = [name for name, count in model.stored.items() if count >= _NAMING_SHARE * weights]
    bits = sum(BITS[name] * count for name, count in model.stored.items())
    return ModelFacts(
        parameters=model.parameters or None,
        title=(model.graph_name or "")[:100] or UNKNOWN,
        quantization=min(names, key=lambda name: BITS[name]) if names else UNKNOWN,
        bits_per_weight=round(bits / weights, 2) if weights else None,
    )


def folder_facts(facts: ModelFacts, configs: Mapping[str, Any], tokenizers: Mapping[str, Path]) -> ModelFacts:
    """Adds what the configuration says; the chat templates are tried in the sandbox.

    Args:
        facts: From the weights.
        configs: Parsed JSON files by name.
        tokenizers: Other tokenizer files by name.

    Raises:
        InvalidError: ``bad-template``.
    """
    top = configs.get("config.json")
    config = top if isinstance(top, dict) else {}
    # Models that see or hear keep the language model's numbers one level down.
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    templates = _templates(configs, tokenizers)
    for name, template in templates.items():
        check_template(template, name=name)
    heads = _count(text, "num_attention_heads")
    width = _count(text, "hidden_size")
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else config.get("model_type")
    architecture = architecture[:100] if isinstance(architecture, str) and architecture.isprintable() else UNKNOWN
    return replace(
        facts,
        architecture=architecture,
        task=_task(architecture, config, configs),
        context_tokens=_count(text, "max_position_embeddings") or _count(text, "n_positions"),
        layers=_count(text, "num_hidden_layers"),
        embedding_length=width,
        heads=heads,
        kv_heads=_count(text, "num_key_value_heads") or heads,
        head_dim=_count(text, "head_dim") or (width // heads if width and heads else None),
        vocabulary_tokens=_count(text, "vocab_size"),
        quantization=_quantization(config) or facts.quantization,
        chat_template=templates.pop("default", None),
        other_templates=templates,
    )


def _count(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40
    return value if is_count else None


def _quantization(config: Mapping[str, Any]) -> str | None:
    found = config.get("quantization_config")
    if (name := name_of(config)) is not None:
        return name
    method = found.get("quant_method") if isinstance(found, dict) else None
    return method[:40].upper() if isinstance(method, str) and method.isprintable() else None


def _task(architecture: str, config: Mapping[str, Any], configs: Mapping[str, Any]) -> str | None:
    if architecture.endswith(_GENERATE):
        return "generate"
    if architecture.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        if not isinstance(labels, dict):
            return None
        return "rerank" if len(labels) == 1 else "classify"
    is_encoder = config.get("model_type") in _ENCODERS or "modules.json" in configs
    return "embed" if is_encoder else None


def _templates(configs: Mapping[str, Any], tokenizers: Mapping[str, Path]) -> dict[str, str]:
    """Chat templates by name; the file of its own goes before the tokenizer's configuration."""
    found: dict[str, str] = {}
    for file in ("tokenizer_config.json", "chat_template.json"):
        document = configs.get(file)
        given = document.get("chat_template") if isinstance(document, dict) else None
        if isinstance(given, str):
            found["default"] = given
        elif isinstance(given, list):
            found |= _named(given, file)
    for name, path in tokenizers.items():
        if name == "chat_template.jinja":
            found["default"] = read_text(path, name, TEMPLATE_LIMIT_BYTES)
    return found


def _named(given: list[Any], file: str) -> dict[str, str]:
    if len(given) > _TEMPLATES_LIMIT:
        refuse("bad-json", "tokenizer configuration", file, f"it has {len(given):,} chat templates")
    return {
        item["name"][:80]: item["template"]
        for item in given
        if isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("template"), str)
    }
