"""Quantizes a model's file: decided first, then written under another name, and named when all of it is sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.library import open_library
from undercroft.optimize.quantization.new_file import new_file
from undercroft.optimize.quantization.planning import Plan, plan_file
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS, Scheme
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.quantization.writing import Writer
from undercroft.registry.inspection.gguf import read_gguf


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """What became of one tensor.

    Args:
        name: Of the tensor.
        source_kind: Name of the type that it had.
        kind: Name of the type that it has.
        size_bytes: That it takes now, without padding.
        relative_error: Root mean square of what it lost, as a share of the source's own; 0 where it was only copied.
    """

    name: str
    source_kind: str
    kind: str
    size_bytes: int
    relative_error: float


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """A new file.

    Args:
        scheme: Name of the scheme.
        source_bytes: Of all tensors before.
        size_bytes: Of the file.
        tensors: In the order of the file.
    """

    scheme: str
    source_bytes: int
    size_bytes: int
    tensors: tuple[QuantizedTensor, ...]


def plan_quantization(
    source: Path, scheme: Scheme, *, importance: ImportanceMatrix | None = None, allow_requantize: bool = False
) -> Plan:
    """What `quantize_file` would write, and everything that would make it refuse; reads headers only.

    Args:
        source: A GGUF file, or the first part of a split one.
        scheme: What to make.
        importance: Which columns matter; None without.
        allow_requantize: Take weights that were rounded before.

    Raises:
        InvalidError: ``bad-gguf``, ``not-a-model``, ``importance-does-not-fit``, ``unreadable-type``.
        RefusedError: ``needs-importance``, ``requantizing``.
        OSError: The source cannot be read.
    """
    with Source(source) as opened:
        return _plan(opened, scheme, importance, allow_requantize)


def quantize_file(
    source: Path,
    target: Path,
    scheme: Scheme,
    *,
    importance: ImportanceMatrix | None,
    threads: int,
    report: Callable[[int, int], None],
    allow_requantize: bool = False,
) -> QuantizationResult:
    """Makes a smaller model, with the same types and bytes as ``llama-quantize``.

    To be run in a process of its own: the engine's library ends the process where something goes wrong inside it.

    Args:
        source: A GGUF file in F32, F16 or BF16, or the first part of a split one.
        target: Where to; what has the name is replaced when the new file is whole. Not one of the source's.
        scheme: What to make.
        importance: Which columns matter; None without.
        threads: That work; count, at least 1.
        report: Told bytes done and bytes in all, in this thread; what it raises ends the work.
        allow_requantize: Take weights that were rounded before, which loses more than rounding once.

    Returns:
        What became of each tensor, compared with its source after it was written.

    Raises:
        InvalidError: As `plan_quantization`; ``damaged-tensor``, ``bad-numbers``, ``lost-too-much``, ``same-file``.
        RefusedError: ``needs-importance``, ``requantizing``; nothing was written then.
        UnavailableError: ``disk-full``, ``no-quantizer``; nothing is left of what was written.
        OSError: The source cannot be read, or the folder not written.
    """
    library = open_library()
    with Source(source) as opened:
        if target.exists() and target.samefile(source):
            raise InvalidError(
                "same-file", f"{target} would be overwritten while it is read", hint="give the result another name"
            )
        plan = _plan(opened, scheme, importance, allow_requantize)
        with new_file(target, plan.header, plan.size_bytes) as (file, unfinished):
            _check_header(unfinished, plan)
            losses = Writer(opened, plan, file, library, importance).run(max(1, threads), report)
        tensors = (
            QuantizedTensor(tensor.name, tensor.source_kind, tensor.kind, tensor.size_bytes, loss.relative)
            for tensor, loss in zip(plan.tensors, losses, strict=True)
        )
        return QuantizationResult(scheme.name, opened.size_bytes, plan.size_bytes, tuple(tensors))


def _plan(source: Source, scheme: Scheme, importance: ImportanceMatrix | None, allow_requantize: bool) -> Plan:
    return plan_file(
        source.tensors,
        source.keys,
        source.network,
        scheme,
        importance,
        alignment=source.alignment,
        allow_requantize=allow_requantize,
    )


def _check_header(path: Path, plan: Plan) -> None:
    """Reads the new header as everybody will: tensors lie where they are going to be written."""
    found = read_gguf(path, path.name, with_tokens=False)
    read = [(tensor.name, tensor.shape, TYPE_NUMBERS[tensor.kind.name], tensor.offset) for tensor in found.tensors]
    if read != [(entry.name, entry.shape, entry.type_number, entry.offset) for entry in plan.entries]:
        raise InvalidError("lost-too-much", f"the header of {path.name} does not read back as it was planned")
