"""From a published model that generates to ONNX for onnxruntime-genai, run and held against its source."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.environments.installed import Environment
from undercroft.optimize.compression.comparing import LARGEST_SHARE_OF_NOISE, Comparison
from undercroft.optimize.conversion.comparing import Agreement, Answer, Continuation, compare_continuations
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.onnx.making import PROGRAMS
from undercroft.optimize.steps import Progress

DecoderType = Literal["f32", "int8", "int4"]
DECODER_TYPES: tuple[DecoderType, ...] = ("f32", "int8", "int4")
# Weights that share a scale. Of what is to have four bits the last matrix and every one that llama.cpp's mixes keep
# finer, too, get eight: the divergence of a small Qwen 3 fell by half.
BLOCK_SIZE = 32
_OPTIONS: Mapping[DecoderType, Mapping[str, str]] = {
    "f32": {},
    "int8": {"block_size": str(BLOCK_SIZE)},
    "int4": {"algo_config": "k_quant_mixed", "block_size": str(BLOCK_SIZE)},
}
_PRECISIONS: Mapping[DecoderType, str] = {"f32": "fp32", "int8": "int8", "int4": "int4"}
_BITS: Mapping[DecoderType, frozenset[str]] = {
    "f32": frozenset({"32"}),
    "int8": frozenset({"8"}),
    "int4": frozenset({"4", "8"}),
}
# Largest mean divergence from the source that rounding explains, nats a token: those of W8A8 and W4A16 for vLLM.
LIMIT_NATS: Mapping[DecoderType, float] = {"f32": 0.001, "int8": 0.1, "int4": 0.5}
_NEW_TOKENS = 16
MOST_TOKENS = 384
_CONTEXT_TOKENS = 256
KEPT = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("chat_template.jinja", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"),
)


@dataclass(frozen=True, slots=True)
class DecoderOrder:
    """What is wanted.

    Args:
        source: Folder of the published model.
        target: Folder to write to; made here.
        architecture: As the model calls it.
        weight_type: What the weights are kept in.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    architecture: str
    weight_type: DecoderType
    folder: Path
    threads: int


@dataclass(frozen=True, slots=True)
class MadeDecoder:
    """What came of it.

    Args:
        matrices: Bits of a weight → how many matrices have them; empty where nobody counted.
        comparison: What both expect of the same texts.
        agreement: Of greedy answers, where every token has to be the same; None where weights are rounded.
    """

    matrices: Mapping[str, int]
    comparison: Comparison
    agreement: Agreement | None

    def told(self) -> dict[str, Any]:
        """For the lineage."""
        told: dict[str, Any] = {"matrices": dict(self.matrices)} if self.matrices else {}
        told["comparison"] = asdict(self.comparison)
        return told if self.agreement is None else {**told, "agreement": asdict(self.agreement)}


def make_decoder(
    order: DecoderOrder,
    exporter: Environment,
    runner: Environment,
    settings: EngineSettings,
    report: Callable[[Progress], None],
) -> MadeDecoder:
    """Builds with onnxruntime-genai's own builder, and runs the result against its source before it counts.

    Args:
        order: What is wanted.
        exporter: The installed ``onnx``.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine has to be sealed.
        report: Told how far it is.

    Raises:
        InvalidError: The builder does not know the architecture, or the result is not the same model.
        UnavailableError: A program failed, memory is short, or the engine does not load the result.
    """
    report(Progress(0, 0, "steps", "building"))
    matrices = _build(order, exporter)
    for name in KEPT:
        if (order.source / name).is_file():
            shutil.copyfile(order.source / name, order.target / name)
    report(Progress(0, 0, "steps", "comparing with the source"))
    asked = {
        "source": str(order.source),
        "result": str(order.target),
        "texts": [*SPLIT_TEXTS, *PROMPTS],
        "prompts": PROMPTS,
        "split_texts": SPLIT_TEXTS,
        "new_tokens": _NEW_TOKENS,
        "most_tokens": MOST_TOKENS,
        "scratch": str(order.folder / "expected.bin"),
        "threads": order.threads,
    }
    said = run_program(exporter, "compare_decoder", asked, folder=order.folder, programs=PROGRAMS)
    comparison = check_expectations(said, order.weight_type)
    agreement = check_answers(said["source"], said["result"]) if order.weight_type == "f32" else None
    report(Progress(0, 0, "steps", "trying it in its engine"))
    _try_served(order, runner, settings, said["split"])
    return MadeDecoder(matrices, comparison, agreement)


def _build(order: DecoderOrder, exporter: Environment) -> Mapping[str, int]:
    told = {
        "model": str(order.source),
        "target": str(order.target),
        "folder": str(order.folder),
        "precision": _PRECISIONS[order.weight_type],
        # The last matrix is the largest of small models: of a prompt only its last token needs it.
        "options": {"prune_lm_head": "true", **_OPTIONS[order.weight_type]},
    }
    said = run_program(exporter, "to_decoder", told, folder=order.folder, programs=PROGRAMS)
    if said["outcome"] == "unsupported":
        raise InvalidError(
            "unsupported-architecture",
            f"onnxruntime-genai's model builder does not know the architecture {order.architecture[:80]!r}",
            hint="undercroft optimize convert MODEL --to gguf: llama.cpp knows others",
        )
    check_made(said["matrices"], said["block_sizes"], order.weight_type)
    found: dict[str, int] = said["matrices"]
    return found


def check_made(matrices: Mapping[str, int], block_sizes: Sequence[int], weight_type: DecoderType) -> None:
    """Makes sure that what was asked of the builder was done, since it ignores what it does not understand.

    Args:
        matrices: Bits of a weight → how many matrices have them.
        block_sizes: Weights that share a scale.
        weight_type: What was asked for.

    Raises:
        InvalidError: ``not-as-asked``.
    """
    smallest = min(_BITS[weight_type], key=int)
    is_right = set(matrices) <= _BITS[weight_type] and matrices.get(smallest, 0) > 0
    if is_right and set(block_sizes) <= {BLOCK_SIZE}:
        return
    shown = ", ".join(f"{count} of {bits} bits" for bits, count in sorted(matrices.items())) or "none"
    raise InvalidError(
        "not-as-asked",
        f"the builder was asked for matrices in {weight_type} and blocks of {BLOCK_SIZE}, it made {shown} and blocks "
        f"of {', '.join(map(str, block_sizes)) or 'none'}",
        hint="take another --type: f32, int8 or int4",
    )


def check_expectations(said: Mapping[str, Any], weight_type: DecoderType) -> Comparison:
    """What both models expect of the same texts, if it is near enough.

    Args:
        said: What the program that compared them said.
        weight_type: Of the result.

    Raises:
        InvalidError: ``not-the-same``.
    """
    names = ("tokens", "same_top", "mean_nats", "largest_nats", "noise_nats", "source_nats", "result_nats")
    found = Comparison(**{name: said[name] for name in names}, limit_nats=LIMIT_NATS[weight_type])
    if found.tokens > 0 and found.mean_nats <= found.largest_passing_nats:
        return found
    is_noise = found.mean_nats > LARGEST_SHARE_OF_NOISE * found.noise_nats
    why = (
        f"which is nearly noise: a model that reads nothing is {found.noise_nats:.3g} away"
        if is_noise
        else f"at most {found.limit_nats:g} is allowed for {weight_type}"
    )
    raise InvalidError(
        "not-the-same",
        f"the new model is not its source: over {found.tokens:,} tokens it diverges by {found.mean_nats:.3g} nats a "
        f"token, {why}; the same token first at {found.same_top:.1%}",
        hint="--type int8 or f32" if weight_type == "int4" else "take another format: undercroft optimize convert -h",
    )


def check_answers(source: Sequence[Mapping[str, Any]], result: Sequence[Mapping[str, Any]]) -> Agreement:
    """Greedy answers of weights that were not rounded, token by token.

    Args:
        source: For each prompt ``prompt``, ``tokens``, ``logprobs``, ``margins``.
        result: The same of the result.

    Raises:
        InvalidError: ``not-the-same``.
    """
    continuations = [
        Continuation(tuple(one["prompt"]), tuple(one["tokens"]), tuple(one["logprobs"]), tuple(one["margins"]))
        for one in source
    ]
    answers = [Answer(tuple(one["prompt"]), tuple(one["tokens"]), tuple(one["logprobs"])) for one in result]
    found = compare_continuations(continuations, answers, "f32")
    if found.holds:
        return found
    raise InvalidError(
        "not-the-same",
        f"the new model is not its source: {found.same} of {found.compared} tokens came out the same, mean difference "
        f"{found.mean_difference:.2g}, at most {found.tolerance:.2g} allowed for f32",
        hint="take another format: undercroft optimize convert MODEL --to gguf",
    )


def _try_served(
    order: DecoderOrder, runner: Environment, settings: EngineSettings, expected: Sequence[Sequence[int]]
) -> None:
    """Whether it loads and answers as it will be served, and its tokenizer there splits as the source's does."""
    setup = Setup(context_tokens=_CONTEXT_TOKENS, slots=1, threads=order.threads)
    with running(order.target, setup, settings, engine="onnxruntime", environment=runner.folder) as replica:
        for text, tokens in zip(SPLIT_TEXTS, expected, strict=True):
            body = {"content": text, "add_special": True}
            answer = wire.request(replica.endpoint, "POST", "/tokenize", body, timeout_seconds=60.0)
            if answer.status != 200:
                raise UnavailableError(
                    "engine-refused",
                    f"the engine answered /tokenize with status {answer.status}: {answer.message()}",
                )
            if answer.json()["tokens"] != list(tokens):
                raise InvalidError(
                    "not-the-same",
                    f"the new model is not its source: it splits {text[:40]!r} into other tokens",
                    hint="undercroft optimize convert MODEL --to gguf",
                )
