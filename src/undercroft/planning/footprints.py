"""Memory of one model in one quantization, computed once for every machine that it may run on. Pure.

A plan asks for the memory of one model on one machine; a ranking asks it of all machines, which differ in how many
equal cards share the blocks and in nothing else that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory_llamacpp import LIBRARY_BYTES, Parts
from undercroft.planning.targets import Pool, Rate, Target

_HUGE = 2**50
_NOTHING = Rate(1.0, 1.0, 1.0, "not used")
_HOST = Pool("host", "host", "cpu", _HUGE, _HUGE, _NOTHING)
_TARGET = Target("host", _HOST, (), _NOTHING)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a replica of llama.cpp takes, wherever it runs.

    Args:
        sums: Bytes of the first blocks, weights and cache: none of them, one, two …; the output layer is the last.
        card: Bytes that each card takes beside its blocks.
        last_card: The same of the card with the output layer.
        host: Bytes of the host beside cards.
        processor: Bytes on a machine without cards.
    """

    sums: tuple[int, ...]
    card: int
    last_card: int
    host: int
    processor: int

    def fullest_card(self, count: int, context_bytes: int) -> int:
        """Bytes of the fullest of equal cards.

        Args:
            count: Of cards.
            context_bytes: Taken on each by the driver.
        """
        if count == 1:
            return self.sums[-1] + self.last_card + context_bytes
        ends = _ends(len(self.sums) - 1, count)
        most = 0
        for first, last in pairwise((0, *ends)):
            if last > first:
                own = self.last_card if last == len(self.sums) - 1 else self.card
                most = max(most, self.sums[last] - self.sums[first] + own)
        return most + context_bytes


def footprint_of(shape: ModelShape, workload: Workload) -> Footprint:
    """Memory of a model in a quantization.

    Args:
        shape: Of the network.
        workload: How it is run; where its layers lie is not asked.

    Raises:
        InvalidError: As `undercroft.planning.memory.forecast_memory`.
    """
    parts = Parts(shape, workload, _TARGET)
    layout, own = parts.layout, parts.process_bytes()
    repacked = layout.repacked
    # Pages of matrices that were rearranged are not read from the file again, and may be dropped.
    files = layout.total - layout.unmapped + LIBRARY_BYTES
    cached = sum(parts.cache) + sum(parts.states)
    return Footprint(
        sums=(0, *accumulate(parts.block_bytes())),
        card=parts.card_compute_bytes(has_output=False),
        last_card=parts.card_compute_bytes(has_output=True),
        host=own + parts.host_compute_bytes(has_blocks=False, has_output=False) + layout.inputs + LIBRARY_BYTES,
        processor=own
        + parts.host_compute_bytes(has_blocks=True, has_output=True)
        + cached
        + repacked
        + max(0, files - repacked),
    )


@lru_cache(maxsize=4096)
def _ends(blocks: int, count: int) -> tuple[int, ...]:
    """Where the share of each of so many equal cards ends, as `Parts.placed` shares blocks out."""
    return tuple(-(-blocks * (card + 1) // count) for card in range(count))
