"""Whether a well-formed GGUF file makes a model that an engine can load, and what it says of itself.

The engine checks much of this too, some of it by ending its process; here it is a sentence before one is started.

Source: ``llama-model.cpp``, ``llama-vocab.cpp`` and ``llama-hparams.h`` of llama.cpp, 2026-10.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from undercroft.registry.facts import UNKNOWN, ModelFacts
from undercroft.registry.inspection.gguf import GgufHeader, Tensor
from undercroft.registry.inspection.gguf_shapes import check_blocks
from undercroft.registry.inspection.gguf_types import FILE_TYPES, ValueType
from undercroft.registry.inspection.gguf_values import Array
from undercroft.registry.inspection.reading import refuse
from undercroft.registry.inspection.templates import check_template

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_TOKENIZER = re.compile(r"[a-z0-9_-]{1,32}")
_LAYERS_LIMIT = 512
_EXPERTS_LIMIT = 512
_WIDTH_LIMIT = 2**20
_CONTEXT_LIMIT = 2**31 - 1
_POOLING_RANK = 4
_NO_TOKEN = 2**32 - 1
_NO_VOCABULARY = {"none", "no_vocab"}
ENCODERS = {
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
}
_NOT_MODELS = {
    "mmproj": "the vision or audio part of a model, not a model",
    "imatrix": "an importance matrix, not a model",
    "vocab": "a vocabulary without weights",
}
_TEMPLATE = "tokenizer.chat_template"


def inspect_gguf(headers: Sequence[GgufHeader]) -> ModelFacts:
    """Checks that the files make one model, and reads its facts.

    Args:
        headers: One file, or all parts of a split one in order.

    Raises:
        InvalidError: ``bad-gguf`` or ``bad-template``.
    """
    first = headers[0]
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    _check_parts(headers, tensors)
    architecture = _check_kind(first, tensors)
    vocabulary = _check_vocabulary(first)
    _check_shape(first, architecture, vocabulary, tensors)
    templates = _templates(first)
    for text in templates.values():
        check_template(text, name=first.name)
    return _facts(first, architecture, vocabulary, tensors, templates)


def _fail(header: GgufHeader, problem: str) -> NoReturn:
    refuse("bad-gguf", "GGUF file", header.name, problem)


def _check_parts(headers: Sequence[GgufHeader], tensors: Sequence[Tensor]) -> None:
    first = headers[0]
    count = first.integer("split.count") or 1
    if count != len(headers):
        _fail(first, f"it is one of {count:,} parts, got {len(headers)}: they belong together")
    if count > 1:
        for number, header in enumerate(headers):
            if header.integer("split.no") != number or header.integer("split.count") != count:
                _fail(header, f"expected part {number + 1} of {count} by its own metadata, it says otherwise")
        wanted = first.integer("split.tensors.count")
        if wanted is not None and wanted != len(tensors):
            _fail(first, f"expected {wanted:,} tensors in all parts, got {len(tensors):,}")
        double = [name for name, times in Counter(t.name for t in tensors).items() if times > 1]
        if double:
            _fail(first, f"tensor {double[0]!r} is in two parts")


def _check_kind(header: GgufHeader, tensors: Sequence[Tensor]) -> str:
    kind = header.text("general.type") or "model"
    if kind in _NOT_MODELS:
        _fail(header, f"it is {_NOT_MODELS[kind]}")
    architecture = check_architecture(header)
    if architecture == "clip":
        _fail(header, f"it is {_NOT_MODELS['mmproj']}")
    if not tensors:
        _fail(header, "it holds no tensors")
    return architecture


def check_architecture(header: GgufHeader) -> str:
    """What a file says its architecture is.

    Raises:
        InvalidError: ``bad-gguf``: it says none, or something that cannot be one.
    """
    architecture = header.text("general.architecture")
    if architecture is None:
        _fail(header, "it does not say its general.architecture")
    if not _ARCHITECTURE.fullmatch(architecture):
        _fail(header, f"general.architecture is {architecture[:80]!r}, expected a name such as 'llama'")
    return architecture


def _check_vocabulary(header: GgufHeader) -> int | None:
    """Number of tokens; None for a model that brings no vocabulary."""
    model = header.text("tokenizer.ggml.model")
    if model is None:
        _fail(header, "it does not say its tokenizer.ggml.model")
    if not _TOKENIZER.fullmatch(model):
        _fail(header, f"tokenizer.ggml.model is {model[:80]!r}, expected a name such as 'gpt2'")
    if model in _NO_VOCABULARY:
        return None
    tokens = header.array("tokenizer.ggml.tokens")
    if tokens is None or tokens.kind is not ValueType.STRING or tokens.count == 0:
        _fail(header, "tokenizer.ggml.tokens is not a list of strings")
    if tokens.has_duplicates:
        _fail(header, "tokenizer.ggml.tokens holds a token twice")
    for key, kind in (("scores", ValueType.FLOAT32), ("token_type", ValueType.INT32)):
        _check_per_token(header, f"tokenizer.ggml.{key}", kind, tokens.count)
    types = header.array("tokenizer.ggml.token_type")
    wrong = min(types.bytes_at - tokens.bytes_at, default=None) if types is not None else None
    if wrong is not None and model == "llama":
        _fail(header, f"token {wrong:,} is said to stand for a byte and does not read like '<0x0A>'")
    merges = header.values.get("tokenizer.ggml.merges")
    if merges is not None and not (isinstance(merges.value, Array) and merges.value.kind is ValueType.STRING):
        _fail(header, "tokenizer.ggml.merges is not a list of strings")
    for key, value in header.values.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            is_token = isinstance(value.value, int) and (value.value < tokens.count or value.value == _NO_TOKEN)
            if value.kind is not ValueType.UINT32 or not is_token:
                _fail(header, f"{key} is {_shown(header, key)}, expected a token below {tokens.count:,} as UINT32")
    return tokens.count


def _check_per_token(header: GgufHeader, key: str, kind: ValueType, tokens: int) -> None:
    if key not in header.values:
        return
    array = header.array(key)
    if array is None or array.kind is not kind or array.count != tokens:
        got = f"{array.count:,} of {array.kind.name}" if array else _shown(header, key)
        _fail(header, f"{key} holds {got}, expected {tokens:,} of {kind.name}, one for each token")


def _shown(header: GgufHeader, key: str) -> str:
    value = header.values[key].value
    return "a list" if isinstance(value, Array) else repr(value)[:80]


def _check_shape(header: GgufHeader, architecture: str, vocabulary: int | None, tensors: Sequence[Tensor]) -> None:
    layers = _count(header, f"{architecture}.block_count", 1, _LAYERS_LIMIT)
    width = _count(header, f"{architecture}.embedding_length", 1, _WIDTH_LIMIT)
    _count(header, f"{architecture}.context_length", 1, _CONTEXT_LIMIT)
    for key, value in header.values.items():
        if key.startswith(f"{architecture}.") and isinstance(value.value, float):
            if not math.isfinite(value.value):
                _fail(header, f"{key} is {value.value}, expected a finite number")
            if key.endswith("_epsilon") and not 0 <= value.value < 1:
                _fail(header, f"{key} is {value.value}, expected a small positive number")
    _check_experts(header, architecture)
    pooling = header.values.get(f"{architecture}.pooling_type")
    if pooling is not None and (pooling.kind is not ValueType.UINT32 or pooling.value not in range(5)):
        _fail(
            header, f"{architecture}.pooling_type is {_shown(header, f'{architecture}.pooling_type')}, expected 0 to 4"
        )
    check_blocks(header, architecture, layers=layers, width=width, vocabulary=vocabulary, tensors=tensors)


def _count(header: GgufHeader, key: str, least: int, most: int) -> int:
    found = header.values.get(key)
    if found is None:
        _fail(header, f"it does not say its {key}")
    if found.kind is not ValueType.UINT32 or not isinstance(found.value, int):
        _fail(header, f"{key} has type {found.kind.name}, expected UINT32")
    if not least <= found.value <= most:
        _fail(header, f"{key} is {found.value:,}, expected {least:,} to {most:,}")
    return found.value


def _check_experts(header: GgufHeader, architecture: str) -> None:
    count_key, used_key = f"{architecture}.expert_count", f"{architecture}.expert_used_count"
    count = _count(header, count_key, 0, _EXPERTS_LIMIT) if count_key in header.values else 0
    if used_key in header.values and header.array(used_key) is None:
        used = _count(header, used_key, 0, _EXPERTS_LIMIT)
        if used > count or (count and not used):
            _fail(header, f"{used_key} is {used:,} of {count:,} experts")
    elif count and used_key not in header.values:
        _fail(header, f"it has {count:,} experts and does not say its {used_key}")


def _templates(header: GgufHeader) -> dict[str, str]:
    """Chat templates by name; the main one is called ``default``."""
    found: dict[str, str] = {}
    for key, value in header.values.items():
        if key != _TEMPLATE and not key.startswith(_TEMPLATE + "."):
            continue
        if not isinstance(value.value, str):
            _fail(header, f"{key[:80]!r} is not text")
        found[key.removeprefix(_TEMPLATE).removeprefix(".") or "default"] = value.value
    return found


def _facts(
    header: GgufHeader,
    architecture: str,
    vocabulary: int | None,
    tensors: Sequence[Tensor],
    templates: dict[str, str],
) -> ModelFacts:
    parameters = sum(tensor.elements for tensor in tensors)
    weights_bytes = sum(tensor.size_bytes for tensor in tensors)
    width = header.integer(f"{architecture}.embedding_length")
    heads = _largest(header, f"{architecture}.attention.head_count")
    head_dim = header.integer(f"{architecture}.attention.key_length")
    if head_dim is None and heads and width:
        head_dim = width // heads
    return ModelFacts(
        architecture=architecture,
        task=_task(header, architecture, tensors),
        parameters=parameters,
        context_tokens=header.integer(f"{architecture}.context_length"),
        layers=header.integer(f"{architecture}.block_count"),
        embedding_length=width,
        heads=heads,
        kv_heads=_largest(header, f"{architecture}.attention.head_count_kv") or heads,
        head_dim=head_dim,
        vocabulary_tokens=vocabulary,
        quantization=_quantization(header, tensors),
        bits_per_weight=round(weights_bytes * 8 / parameters, 2),
        licence=licence_of_header(header),
        languages=_texts(header, "general.languages"),
        base_models=base_models_of_header(header),
        title=title_of_header(header),
        chat_template=templates.pop("default", None),
        other_templates=templates,
    )


def licence_of_header(header: GgufHeader) -> str:
    """The licence that a file names, in lower case; ``unknown`` where it names none."""
    given = _short(header.text("general.license"))
    if given is not None and given.lower() == "other":
        given = _short(header.text("general.license.name"))
    return given.lower() if given is not None else UNKNOWN


def _largest(header: GgufHeader, key: str) -> int | None:
    array = header.array(key)
    if array is None:
        return header.integer(key)
    numbers = [item for item in array.items or () if isinstance(item, int)]
    return max(numbers, default=None)


def _task(header: GgufHeader, architecture: str, tensors: Sequence[Tensor]) -> str:
    pooling = header.integer(f"{architecture}.pooling_type")
    if pooling == _POOLING_RANK or (pooling is None and any(t.name == "cls.output.weight" for t in tensors)):
        return "rerank"
    return "embed" if pooling or architecture in ENCODERS else "generate"


def quantization_of(headers: Sequence[GgufHeader]) -> str:
    """Kind of most weights of a model: ``Q4_K_M``.

    Args:
        headers: One file, or all parts of a split one in order.
    """
    tensors = [tensor for header in headers for tensor in header.tensors]
    return _quantization(headers[0], tensors) if tensors else UNKNOWN


def _quantization(header: GgufHeader, tensors: Sequence[Tensor]) -> str:
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.kind.name] += tensor.elements
    most = elements.most_common(1)[0][0]
    claimed = FILE_TYPES.get(header.integer("general.file_type") or 0, "")
    # Q4_K_M is a mixture that is mostly Q4_K; a claim that the weights do not bear out is not repeated.
    return claimed if claimed.split("_")[0] == most.split("_")[0] else most


def title_of_header(header: GgufHeader) -> str:
    """A file's own name for itself; ``unknown`` where it has none."""
    return _short(header.text("general.name")) or UNKNOWN


def base_models_of_header(header: GgufHeader) -> tuple[str, ...]:
    """What a file says that it was made from."""
    found = []
    for number in range(min(header.integer("general.base_model.count") or 0, 16)):
        name = _short(header.text(f"general.base_model.{number}.name"))
        organization = _short(header.text(f"general.base_model.{number}.organization"))
        if name:
            found.append(f"{organization}/{name}" if organization else name)
    return tuple(found)


def _texts(header: GgufHeader, key: str) -> tuple[str, ...]:
    array = header.array(key)
    if array is None or array.kind is not ValueType.STRING:
        return ()
    return tuple(text for item in (array.items or ())[:64] if (text := _short(str(item))))


def _short(text: str | None) -> str | None:
    """A text of somebody else's that is to be shown: one line, printable, not long."""
    if text is None:
        return None
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip() or None
