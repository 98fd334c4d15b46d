"""From a folder as it is published to one GGUF that was run and says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf

from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.architectures import unsupported
from undercroft.optimize.conversion.comparing import Agreement, Continuation
from undercroft.optimize.conversion.pre_tokenizers import choose
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.optimize.conversion.verifying import verify_embeddings, verify_generation
from undercroft.optimize.measures.splitting import split_texts
from undercroft.optimize.steps import Progress

WeightType = Literal["f32", "f16", "bf16", "q8_0"]
WEIGHT_TYPES: tuple[WeightType, ...] = ("f32", "f16", "bf16", "q8_0")

NEW_TOKENS = 16
_PRE_TOKENIZER = "tokenizer.ggml.pre"


@dataclass(frozen=True, slots=True)
class ConversionOrder:
    """What is wanted.

    Args:
        source: Folder of a published model: ``config.json``, safetensors, tokenizer.
        target: GGUF to write.
        name: What the file calls itself.
        weight_type: What the weights are kept in.
        task: What the model is for: it goes on with text, or embeds it.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    name: str
    weight_type: WeightType
    task: Literal["generate", "embed"]
    folder: Path
    threads: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it.

    Args:
        pre_tokenizer: How text is cut before the vocabulary is looked into; None where the vocabulary is of another
            kind.
        is_pre_tokenizer_tried: The converter did not know the vocabulary; the way was found by trying.
        agreement: Of the file, run in its engine, with its source.
    """

    pre_tokenizer: str | None
    is_pre_tokenizer_tried: bool
    agreement: Agreement


def convert_to_gguf(
    order: ConversionOrder,
    environment: Environment,
    settings: EngineSettings,
    report: Callable[[Progress], None],
) -> Conversion:
    """Converts with llama.cpp's own converter, and runs the result against its source before it counts.

    Args:
        order: What is wanted.
        environment: The installed ``convert``.
        settings: How the engine is run that the result is tried in.
        report: Told how far it is.

    Raises:
        InvalidError: The converter does not know the architecture or no way to cut its text, or the result is not the
            same model.
        UnavailableError: A program failed, memory is short, or the engine does not load the result.
    """
    said = _convert(order, environment, None, report)
    is_tried = said["outcome"] == "unknown-pre-tokenizer"
    if is_tried:
        said = _convert(order, environment, _find_pre_tokenizer(order, environment, report), report)
    report(Progress(0, 0, "steps", "asking the source"))
    reference = _reference(order, environment)
    report(Progress(0, 0, "steps", "comparing with the source"))
    return Conversion(said["pre_tokenizer"], is_tried, _verify(order, reference, settings))


def _convert(
    order: ConversionOrder, environment: Environment, pre_tokenizer: str | None, report: Callable[[Progress], None]
) -> dict[str, Any]:
    said = run_program(
        environment,
        "to_gguf",
        _to_gguf(order, environment, order.target, pre_tokenizer, is_vocabulary_only=False),
        folder=order.folder,
        percent=lambda done: report(Progress(done, 100, "percent", "converting")),
    )
    if said["outcome"] == "unsupported":
        raise unsupported(said["detail"]["architecture"], said["detail"]["known"])
    return said


def _to_gguf(
    order: ConversionOrder,
    environment: Environment,
    target: Path,
    pre_tokenizer: str | None,
    *,
    is_vocabulary_only: bool,
) -> dict[str, Any]:
    return {
        "sources": str(environment.sources),
        "model": str(order.source),
        "target": str(target),
        "type": order.weight_type,
        "name": order.name,
        "pre_tokenizer": pre_tokenizer,
        "is_vocabulary_only": is_vocabulary_only,
    }


def _find_pre_tokenizer(order: ConversionOrder, environment: Environment, report: Callable[[Progress], None]) -> str:
    report(Progress(0, 0, "steps", "finding how its text is cut"))
    vocabulary, tried = order.folder / "vocabulary.gguf", order.folder / "tried.gguf"
    run_program(
        environment,
        "to_gguf",
        _to_gguf(order, environment, vocabulary, "default", is_vocabulary_only=True),
        folder=order.folder,
    )
    asked = {
        "model": str(order.source),
        "adapter": None,
        "task": "split",
        "split_texts": SPLIT_TEXTS,
        "threads": order.threads,
    }
    expected = run_program(environment, "reference", asked, folder=order.folder)["split"]

    def split(name: str) -> Sequence[Sequence[int]]:
        write_with_pre_tokenizer(vocabulary, tried, name)
        return split_texts(tried, SPLIT_TEXTS)

    try:
        return choose(expected, split)
    finally:
        vocabulary.unlink(missing_ok=True)
        tried.unlink(missing_ok=True)


def write_with_pre_tokenizer(vocabulary: Path, target: Path, name: str) -> None:
    """Copies a GGUF without tensors, with another way to cut text.

    Args:
        vocabulary: GGUF that holds a vocabulary only.
        target: File to write.
        name: Of the way, as llama.cpp calls it.
    """
    reader = gguf.GGUFReader(vocabulary)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = name if key == _PRE_TOKENIZER else field.contents()
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type=inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def _reference(order: ConversionOrder, environment: Environment) -> dict[str, Any]:
    asked = {
        "model": str(order.source),
        "adapter": None,
        "task": order.task,
        "split_texts": (),
        "texts": PROMPTS,
        "new_tokens": NEW_TOKENS,
        "threads": order.threads,
    }
    return run_program(environment, "reference", asked, folder=order.folder)


def _verify(order: ConversionOrder, reference: dict[str, Any], settings: EngineSettings) -> Agreement:
    if order.task == "embed":
        return verify_embeddings(order.target, PROMPTS, reference["embedded"], order.weight_type, settings)
    return verify_generation(order.target, PROMPTS, continuations_of(reference), order.weight_type)


def continuations_of(reference: Mapping[str, Any]) -> list[Continuation]:
    """What the source goes on with, as the program ``reference`` answers it."""
    return [
        Continuation(tuple(one["prompt"]), tuple(one["tokens"]), tuple(one["logprobs"]), tuple(one["margins"]))
        for one in reference["generated"]
    ]
