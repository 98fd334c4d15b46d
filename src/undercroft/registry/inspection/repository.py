"""Looks into all files of one model together, each by its content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from undercroft.catalog.licences import licence_of_text, together
from undercroft.core.errors import InvalidError
from undercroft.registry.facts import UNKNOWN, ModelFacts
from undercroft.registry.inspection.edge import MANIFEST, check_program, program_facts, read_manifest
from undercroft.registry.inspection.formats import Format, find_format, refuse_unknown, require_format
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_adapter import inspect_adapter, is_adapter
from undercroft.registry.inspection.gguf_model import inspect_gguf
from undercroft.registry.inspection.hugging_face import folder_facts, stored_facts
from undercroft.registry.inspection.json_files import check_vocabulary, read_json, refuse_auto_map
from undercroft.registry.inspection.onnx import OnnxModel, read_onnx
from undercroft.registry.inspection.peft_adapter import inspect_peft
from undercroft.registry.inspection.reading import refuse
from undercroft.registry.inspection.safetensors import StoredTensor, read_safetensors
from undercroft.registry.inspection.texts import check_tokenizer, read_text
from undercroft.registry.inspection.triton import inspect_repository, is_repository
from undercroft.registry.model_card import ModelCard, read_card
from undercroft.registry.selection import INDEX, PEFT_CONFIG, PEFT_WEIGHTS, Role, config_files, is_vocabulary, role_of

_CARD_LIMIT_BYTES = 4 * 1024 * 1024
_EDGE = frozenset({Format.EXECUTORCH, Format.LITERT})
_IS_LICENCE = re.compile(r"LICEN[CS]E|COPYING", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Args:
        format: Of the weights.
        facts: Read from all files.
    """

    format: Format
    facts: ModelFacts


def inspect_files(files: Mapping[str, Path]) -> Inspection:
    """Checks every file of a model by its content.

    Args:
        files: Where each lies, by what its source calls it.

    Raises:
        InvalidError: One is damaged or of an unknown format, or they do not belong together.
        RefusedError: One can carry code.
    """
    if is_repository(files):
        facts, documents = inspect_repository(files)
        return Inspection(Format.TRITON, _with_documents(facts, documents))
    by_role: dict[Role, dict[str, Path]] = {role: {} for role in Role}
    for name in sorted(files):
        by_role[role_of(name)][name] = files[name]
    configs: dict[str, Any] = {}
    for name, path in by_role[Role.CONFIG].items():
        if is_vocabulary(name):
            check_vocabulary(path, name)
        else:
            configs[name] = _read_config(path, name)
    for name, path in by_role[Role.TOKENIZER].items():
        check_tokenizer(path, name)
    found, facts = _weights(by_role[Role.WEIGHTS], configs)
    if found in _EDGE and "tokenizer.json" not in by_role[Role.CONFIG]:
        raise InvalidError("no-tokenizer", f"a program for {found.value} comes with tokenizer.json; there is none")
    if found is not Format.GGUF and facts.adapter is None:
        stated = facts.context_tokens
        facts = folder_facts(facts, configs, by_role[Role.TOKENIZER])
        facts = facts if stated is None else replace(facts, context_tokens=stated)
    return Inspection(found, _with_documents(facts, by_role[Role.DOCUMENT]))


def _read_config(path: Path, name: str) -> Any:
    document = read_json(path, name)
    if not isinstance(document, (dict, list)):
        refuse("bad-json", "JSON file", name, "it is neither an object nor a list")
    if config_files([name]):
        refuse_auto_map(document, name)
    return document


def _weights(files: Mapping[str, Path], configs: Mapping[str, Any]) -> tuple[Format, ModelFacts]:
    formats: dict[str, Format | None] = {}
    for name, path in files.items():
        formats[name] = find_format(path)
    kinds = {kind for kind in formats.values() if kind is not None}
    if not kinds:
        for name, path in files.items():
            refuse_unknown(path, name)
        raise InvalidError("no-weights", "none of the files holds weights")
    if len(kinds) > 1:
        raise InvalidError("mixed-formats", f"the weights are in several formats: {', '.join(sorted(kinds))}")
    kind = kinds.pop()
    if kind is Format.ONNX:
        return kind, stored_facts(_read_onnx_folder(files, formats))
    if kind in _EDGE:
        return kind, _read_edge_folder(kind, files, configs)
    for name, path in files.items():
        require_format(path, name)
    if kind is Format.GGUF:
        headers = [read_gguf(path, name) for name, path in files.items()]
        return kind, inspect_adapter(headers) if any(map(is_adapter, headers)) else inspect_gguf(headers)
    if any(PurePosixPath(name).name == PEFT_WEIGHTS for name in files):
        return kind, inspect_peft(configs.get(PEFT_CONFIG), _read_shards(files, None))
    return kind, stored_facts(_read_shards(files, configs.get(INDEX)), configs.get("config.json"))


def _read_edge_folder(kind: Format, files: Mapping[str, Path], configs: Mapping[str, Any]) -> ModelFacts:
    if MANIFEST not in configs:
        raise InvalidError(
            "no-manifest",
            f"a program for {kind.value} comes with {MANIFEST}, which says how it is run; there is none",
            hint="take one that was made by: undercroft optimize convert MODEL --to executorch",
        )
    manifest = read_manifest(configs[MANIFEST], MANIFEST)
    if manifest.runtime != kind or list(files) != [manifest.program]:
        shown, said = ", ".join(files)[:120], f"{manifest.program!r} for {manifest.runtime}"
        raise InvalidError(
            "wrong-manifest",
            f"{MANIFEST} speaks of {said}, beside it lies {shown!r} for {kind.value}",
            hint="keep the files of one model in one folder",
        )
    path = files[manifest.program]
    check_program(path, manifest.program)
    return program_facts(manifest, path.stat().st_size)


def _read_shards(files: Mapping[str, Path], index: Any) -> list[StoredTensor]:
    tensors: list[StoredTensor] = []
    place: dict[str, str] = {}
    for name, path in files.items():
        for tensor in read_safetensors(path, name):
            if tensor.name in place:
                _fail(name, f"tensor {tensor.name[:120]!r} is in {place[tensor.name][:120]!r} too")
            place[tensor.name] = PurePosixPath(name).name
            tensors.append(tensor)
    if index is not None:
        wanted = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(wanted, dict):
            refuse("bad-json", "index of weights", INDEX, "it has no object 'weight_map'")
        for tensor_name, file_name in wanted.items():
            if place.get(tensor_name) != file_name:
                _fail(INDEX, f"tensor {str(tensor_name)[:120]!r} is not in {str(file_name)[:120]!r} as it says")
    return tensors


def _read_onnx_folder(files: Mapping[str, Path], formats: Mapping[str, Format | None]) -> OnnxModel:
    models = [name for name, kind in formats.items() if kind is Format.ONNX and name.lower().endswith(".onnx")]
    if not models and len(files) == 1:
        models = list(files)
    if len(models) != 1:
        raise InvalidError("several-models", f"expected one ONNX model, got {len(models)}")
    name = models[0]
    model = read_onnx(files[name], name)
    beside = {PurePosixPath(other).name: path for other, path in files.items() if other != name}
    for location, needed_bytes in model.external.items():
        if location not in beside:
            refuse("bad-onnx", "ONNX file", name, f"it needs the file {location[:120]!r} beside it")
        size = beside[location].stat().st_size
        if size < needed_bytes:
            problem = f"it needs {needed_bytes:,} bytes of {location[:120]!r}, which has {size:,}"
            refuse("bad-onnx", "ONNX file", name, problem)
    for other, path in beside.items():
        if other not in model.external:
            refuse_unknown(path, other)
    return model


@dataclass(frozen=True, slots=True)
class Documents:
    """What the texts beside the weights say.

    Args:
        card: Front matter of ``README.md``; empty where there is none.
        licence: Of the card and of the texts of well-known licences, joined by ``AND``; None where none says it.
    """

    card: ModelCard
    licence: str | None


def read_documents(files: Mapping[str, Path]) -> Documents:
    """Reads model card and licence.

    Args:
        files: Where each lies, by what its source calls it.

    Raises:
        InvalidError: One is too large or no text.
    """
    card = ModelCard()
    texts: dict[str, str | None] = {}
    for name, path in files.items():
        text = read_text(path, name, _CARD_LIMIT_BYTES)
        if name.lower() == "readme.md":
            card = read_card(text)
        else:
            texts[name] = licence_of_text(text)
    own = [licence for name, licence in texts.items() if licence is not None and _IS_LICENCE.match(name)]
    # A NOTICE may quote the licence of a part, and a policy of use its model's: they count where nothing else says it.
    return Documents(card, together([card.licence, *own]) or together(texts.values()))


def _with_documents(facts: ModelFacts, files: Mapping[str, Path]) -> ModelFacts:
    """Adds what the card and the texts beside the weights say to what the weights themselves do."""
    found = read_documents(files)
    card = found.card
    return replace(
        facts,
        licence=together([facts.licence, found.licence]) or UNKNOWN,
        languages=facts.languages or card.languages,
        base_models=facts.base_models or card.base_models,
        task="rerank" if card.pipeline == "text-ranking" and facts.task == "embed" else facts.task,
    )


def _fail(name: str, problem: str) -> None:
    refuse("bad-safetensors", "safetensors file", name, problem)
