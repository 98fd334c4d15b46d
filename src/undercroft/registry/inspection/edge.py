"""Programs for devices, ExecuTorch's and LiteRT's, and ``edge.json`` beside them, which says how each is run.

Both are FlatBuffers: an offset of the root table, four letters that name the schema, tables. They hold weights and
operators that a runtime knows, nothing that runs by itself.

Source: ``schema/program.fbs`` of ExecuTorch, ``schema.fbs`` of LiteRT, and the internals of FlatBuffers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.reading import BoundedReader, refuse

MANIFEST = "edge.json"
_HEADER_BYTES = 64
_SMALLEST_BYTES = 64


@dataclass(frozen=True, slots=True)
class Tensor:
    """What goes into a program or comes out.

    Args:
        name: ``input_ids`` …
        type: Of its values: ``int64``, ``int32``, ``float32``.
        shape: Sizes; a name where the size is free.
    """

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class EdgeManifest:
    """How a program for a device is run.

    Args:
        runtime: What runs it.
        program: Its file.
        tokenizer: File that makes token ids of text, as Hugging Face's tokenizers read it.
        task: It makes a vector of a text, or goes on with it.
        weights: What most weights are kept in.
        parameters: Values of all weights; count.
        most_tokens: Longest text, or the cache of prompt and answer together; tokens.
        lengths: That it computes; one where any length up to it will do. Of what LiteRT writes text with: that it
            reads at once.
        is_length_fixed: A text, or the last piece of one, is filled up to the next of ``lengths``.
        pad_token: Id of what fills up.
        width: Of a vector; 0 where it makes none.
        pooling: How the vector is made, inside the program; empty where it makes none.
        end_tokens: Ids that end an answer; empty where it makes none.
        inputs: In the order in which they are given.
        outputs: What comes.
    """

    runtime: Literal["executorch", "litert"]
    program: str
    tokenizer: Literal["tokenizer.json"]
    task: Literal["embed", "generate"]
    weights: Literal["f32", "int8"]
    parameters: int
    most_tokens: int
    lengths: tuple[int, ...]
    is_length_fixed: bool
    pad_token: int
    width: int
    pooling: str
    end_tokens: tuple[int, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def read_manifest(document: Any, name: str) -> EdgeManifest:
    """A manifest that somebody wrote.

    Args:
        document: Parsed JSON.
        name: Of its file, for errors.

    Raises:
        InvalidError: ``bad-edge-manifest``: a field is missing or of the wrong kind, or names a file elsewhere.
    """
    try:
        found = TypeAdapter(EdgeManifest).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        _fail(name, f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:120]}")
    if not found.program or "/" in found.program or "\\" in found.program or found.program.startswith("."):
        _fail(name, f"program: expected the plain name of a file beside it, got {found.program[:80]!r}")
    longest, is_counted = max(found.lengths, default=0), min(found.lengths, default=0) > 0
    # What LiteRT writes text with reads piece after piece; everything else takes the longest text whole.
    if found.runtime == "litert" and found.task == "generate":
        if not is_counted or longest > found.most_tokens:
            _fail(name, "lengths: expected counts of tokens, none above most_tokens")
    elif not is_counted or longest != found.most_tokens:
        _fail(name, "lengths: expected counts of tokens of which the largest is most_tokens")
    return found


def check_program(path: Path, name: str) -> None:
    """Makes sure that a program's root lies inside its file.

    Raises:
        InvalidError: ``bad-edge-program``.
    """
    with BoundedReader(
        path, name=name, code="bad-edge-program", what="program for a device", limit_bytes=_HEADER_BYTES
    ) as reader:
        root = reader.u32("the root")
        if reader.size_bytes < _SMALLEST_BYTES or not 8 <= root <= reader.size_bytes - 4:
            reader.fail(f"its root is at byte {root:,} of {reader.size_bytes:,}")


def program_facts(manifest: EdgeManifest, size_bytes: int) -> ModelFacts:
    """What is known of a program before the configuration beside it is read.

    Args:
        manifest: As above.
        size_bytes: Of the program.
    """
    return ModelFacts(
        task=manifest.task,
        context_tokens=manifest.most_tokens,
        parameters=manifest.parameters or None,
        quantization=manifest.weights.upper(),
        bits_per_weight=round(size_bytes * 8 / manifest.parameters, 2) if manifest.parameters else None,
    )


def _fail(name: str, problem: str) -> None:
    refuse("bad-edge-manifest", "manifest of a program for a device", name, problem)
