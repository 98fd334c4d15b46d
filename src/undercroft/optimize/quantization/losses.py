"""How far a written tensor is from its source, and how far its type may take it.

A file can load and answer and still be wrong: rows in the wrong place, scales of another block. What is far from its
source is therefore never given a name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.library import Floats
from undercroft.optimize.quantization.schemes import TYPES

# Share of the root mean square. Zeros in place of weights give 1, other weights √2. A block whose largest value stands
# alone, and weights that an importance matrix calls unimportant, go well above what is usual for a type.
_LIMITS = ((16.0, 0.02), (8.0, 0.05), (6.0, 0.15), (5.0, 0.30), (4.0, 0.50), (3.0, 0.70), (0.0, 0.95))
# Below this no block has a scale that F16 can hold well; such a tensor says as good as nothing.
_FAINT = 1e-6
_PIECE = 4096


@dataclass(slots=True)
class Loss:
    """Sums over what was compared so far.

    Args:
        squared_error: Sum of squared differences.
        squared_source: Sum of squares of the source.
        elements: Compared; count.
        weighted_error: As the first, each column by its importance; as the first where there is no matrix.
        weighted_source: Likewise of the source.
    """

    squared_error: float = 0.0
    squared_source: float = 0.0
    elements: int = 0
    weighted_error: float = 0.0
    weighted_source: float = 0.0

    def add(self, other: Loss) -> None:
        """Takes another part of the same tensor in."""
        self.squared_error += other.squared_error
        self.squared_source += other.squared_source
        self.elements += other.elements
        self.weighted_error += other.weighted_error
        self.weighted_source += other.weighted_source

    @property
    def relative(self) -> float:
        """Root mean square of the difference, as a share of the source's; 0 where both are nothing."""
        return _share(self.squared_error, self.squared_source)

    @property
    def relative_where_it_matters(self) -> float:
        """The same with each column by its importance: what a matrix calls unimportant may be lost altogether."""
        return _share(self.weighted_error, self.weighted_source)


def compare(source: Floats, written: Floats, importance: Floats | None = None) -> Loss:
    """Compares two pieces of a tensor.

    Args:
        source: Whole rows, contiguous.
        written: Same size; overwritten.
        importance: One weight a column; shape ``(columns,)``. None where all count alike.
    """
    flat, difference = source.reshape(-1), written.reshape(-1)
    np.subtract(flat, difference, out=difference)
    error, size = _sum_of_squares(difference), _sum_of_squares(flat)
    if importance is None:
        return Loss(error, size, flat.size, error, size)
    roots = np.sqrt(importance)
    columns = roots.size
    np.multiply(difference.reshape(-1, columns), roots, out=difference.reshape(-1, columns))
    weighted = np.ravel(flat.reshape(-1, columns) * roots)
    return Loss(error, size, flat.size, _sum_of_squares(difference), _sum_of_squares(weighted))


def limit_of(kind: str) -> float:
    """The largest relative loss that a sound tensor of this type has.

    Args:
        kind: Name of a type.
    """
    bits = TYPES[kind].block_bytes * 8 / TYPES[kind].block
    return next(limit for least, limit in _LIMITS if bits >= least)


def check_loss(name: str, kind: str, loss: Loss) -> None:
    """Makes sure that a tensor is what it should be.

    Args:
        name: Of the tensor.
        kind: Name of the type in which it was written.
        loss: Of all of it.

    Raises:
        InvalidError: ``lost-too-much``: it is further from its source than its type explains.
    """
    is_faint = loss.squared_source < loss.elements * _FAINT**2
    nearest = min(loss.relative, loss.relative_where_it_matters)
    is_far = nearest > limit_of(kind) and not (is_faint and loss.squared_error <= loss.squared_source)
    if is_far or not math.isfinite(loss.squared_error):
        raise InvalidError(
            "lost-too-much",
            f"tensor {name!r} read back as {kind} differs from its source by {nearest:.0%} of its size, expected "
            f"at most {limit_of(kind):.0%}; the file was not kept",
            hint="choose a scheme with more bits, such as Q8_0; if it fails too, the installation is damaged",
        )


def _share(error: float, size: float) -> float:
    if size == 0.0:
        return 0.0 if error == 0.0 else math.inf
    return math.sqrt(error / size)


def _sum_of_squares(values: Floats) -> float:
    """In short pieces, so that single precision does, and without a library that starts threads of its own."""
    whole = values.size // _PIECE * _PIECE
    pieces = values[:whole].reshape(-1, _PIECE)
    rest = values[whole:]
    return float(np.einsum("ij,ij->i", pieces, pieces).sum(dtype=np.float64)) + float(np.einsum("i,i->", rest, rest))
