"""What could be made of a model: every quantization scheme, with the size and the types that it would have. Pure.

Types and bytes are those that the quantizer plans; nothing is written to know them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from undercroft.catalog.shapes import StoredTensor
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.units import format_bytes
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.planning import Plan, plan_file
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.quantization.source import Source


class Why(StrEnum):
    """A candidate was left out before it was made."""

    NOT_SMALLER = "not smaller"
    SAME = "same as another"
    NEEDS_TEXTS = "needs texts"
    ROUNDED_ALREADY = "rounded already"
    DOES_NOT_FIT = "does not fit"
    TOO_SLOW = "too slow"
    CANNOT_BE_MADE = "cannot be made"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be made.

    Args:
        name: Of the scheme, such as ``Q4_K_M``; of a variant with its name before it: ``less-Q4_K_M``, ``less``.
        size_bytes: Of its file.
        tensors: As it would store them.
        scheme: That makes it; empty for a variant as it is.
        variant: Name of what it is made of; empty for the parent.
    """

    name: str
    size_bytes: int
    tensors: tuple[StoredTensor, ...]
    scheme: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A model that is not made.

    Args:
        name: Of the scheme.
        why: The kind of reason.
        sentence: For people, with both numbers where there are any.
        size_bytes: That it would have; None where it cannot be planned.
    """

    name: str
    why: Why
    sentence: str
    size_bytes: int | None = None


def plan_candidates(
    source: Source,
    source_bytes: int,
    schemes: Iterable[str],
    matrix: ImportanceMatrix | None,
    *,
    allow_requantize: bool = False,
    variant: str = "",
) -> tuple[list[Candidate], list[LeftOut]]:
    """Every candidate, the smallest first, and what was left out.

    Args:
        source: The model that they would be made of, open.
        source_bytes: Of the parent's files: what is no smaller is left out.
        schemes: Names of those to look at.
        matrix: Which columns matter; None without, which leaves out those that need it. One from `any_matrix` does,
            where only sizes and types are wanted.
        allow_requantize: Take weights that were rounded before.
        variant: Name of the source; empty for the parent.
    """
    made: dict[tuple[str, ...], Candidate] = {}
    out: list[LeftOut] = []
    for name in (name for name in SCHEMES if name in set(schemes)):
        try:
            plan = _planned(source, name, matrix, allow_requantize)
        except RefusedError as error:
            out.append(_refused(_named(variant, name), error))
            continue
        except InvalidError as error:
            out.append(LeftOut(_named(variant, name), Why.CANNOT_BE_MADE, error.message))
            continue
        kinds = tuple(tensor.kind for tensor in plan.tensors)
        twin = made.get(kinds)
        if plan.size_bytes >= source_bytes:
            sentence = f"{format_bytes(plan.size_bytes)}, the model itself has {format_bytes(source_bytes)}"
            out.append(LeftOut(_named(variant, name), Why.NOT_SMALLER, sentence, plan.size_bytes))
        elif twin is not None:
            sentence = f"every tensor gets the type that it gets as {twin.name}"
            out.append(LeftOut(_named(variant, name), Why.SAME, sentence, plan.size_bytes))
        else:
            made[kinds] = Candidate(_named(variant, name), plan.size_bytes, _stored(plan), name, variant)
    return sorted(made.values(), key=lambda found: found.size_bytes), out


def any_matrix(source: Source, dataset: str) -> ImportanceMatrix:
    """A matrix that knows every tensor and says the same of each column: what is planned with it has the types and the
    size of what is made with a true one.

    Args:
        source: The model, open.
        dataset: Name of the texts, which the file of the result holds.
    """
    shapes = {name: shape for name, shape in source.shapes.items() if len(shape) > 1}
    matrices = {name: shape[2] if len(shape) > 2 else 1 for name, shape in shapes.items()}
    return ImportanceMatrix(
        sums={
            name: np.broadcast_to(np.float32(1), (count, shapes[name][0])).astype(np.float32)
            for name, count in matrices.items()
        },
        counts={name: np.ones(count, np.float32) for name, count in matrices.items()},
        datasets=(dataset,),
        chunks=1,
        chunk_tokens=1,
    )


def as_it_is(variant: str, source: Source, size_bytes: int) -> Candidate:
    """A variant that is not quantized further.

    Args:
        variant: Its name.
        source: It, open.
        size_bytes: Of its file.
    """
    tensors = (
        StoredTensor(tensor.name, tensor.shape, tensor.kind, source.tensor_bytes(tensor.name))
        for tensor in source.tensors
    )
    return Candidate(variant, size_bytes, tuple(tensors), "", variant)


def _named(variant: str, scheme: str) -> str:
    return f"{variant}-{scheme}" if variant else scheme


def _planned(source: Source, scheme: str, matrix: ImportanceMatrix | None, allow_requantize: bool) -> Plan:
    return plan_file(
        source.tensors,
        source.keys,
        source.network,
        SCHEMES[scheme],
        matrix,
        alignment=source.alignment,
        allow_requantize=allow_requantize,
    )


def _refused(name: str, error: RefusedError) -> LeftOut:
    if error.code == "requantizing":
        return LeftOut(name, Why.ROUNDED_ALREADY, "the model is rounded already, and would be rounded twice")
    return LeftOut(name, Why.NEEDS_TEXTS, "it is garbage without an importance matrix, which texts make")


def _stored(plan: Plan) -> tuple[StoredTensor, ...]:
    return tuple(StoredTensor(tensor.name, tensor.shape, tensor.kind, tensor.size_bytes) for tensor in plan.tensors)
