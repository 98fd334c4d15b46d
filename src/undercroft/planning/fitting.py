"""Whether a memory forecast fits into what there is, pool by pool, and by how much it does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.calibration import Corrections, Kind, Quantity
from undercroft.planning.forecasts import MemoryForecast, Term, Workload
from undercroft.planning.targets import Target
from undercroft.planning.traffic import traffic_of


class Verdict(StrEnum):
    """What came of it."""

    FITS = "fits"
    OFFLOAD = "fits with offload"  # some layers, or all, stay on the processor although there are accelerators
    NO = "does not fit"


@dataclass(frozen=True, slots=True)
class PoolFit:
    """One memory, filled.

    Args:
        pool: Id.
        name: As people call it.
        needed_bytes: Of what has to stay in it for the model to run at its speed.
        available_bytes: That a model may take.
        total_bytes: All of it.
        terms: What takes it, the largest first.
    """

    pool: str
    name: str
    needed_bytes: int
    available_bytes: int
    total_bytes: int
    terms: tuple[Term, ...]

    @property
    def missing_bytes(self) -> int:
        """By how much it does not fit; 0 where it does."""
        return max(0, self.needed_bytes - self.available_bytes)


@dataclass(frozen=True, slots=True)
class Fit:
    """All memories of a target.

    Args:
        verdict: Of all together.
        pools: Each; memory that host and accelerator share is one.
        gpu_layers: Layers on accelerators, the output layer counted as one.
    """

    verdict: Verdict
    pools: tuple[PoolFit, ...]
    gpu_layers: int

    @property
    def missing_bytes(self) -> int:
        """By how much it does not fit, all pools together."""
        return sum(pool.missing_bytes for pool in self.pools)


def fit_of(memory: MemoryForecast, target: Target, layers: int, factors: Mapping[Quantity, float] | None = None) -> Fit:
    """Compares a forecast with a target.

    Args:
        memory: By terms.
        target: With what is available.
        layers: Blocks of the network.
        factors: What was learnt: private, file and accelerator bytes are multiplied with these; None for nothing.
    """
    corrected = factors or {}
    shared = any(pool.kind in ("unified", "npu") for pool in target.accelerators)
    if shared:
        pools: tuple[PoolFit, ...] = (_filled(target.host.id, target, memory.terms, corrected, is_shared=True),)
    else:
        ids = [target.host.id, *(pool.id for pool in target.accelerators)]
        pools = tuple(
            _within(
                _filled(pool, target, [t for t in memory.terms if t.pool == pool], corrected, is_shared=False),
                memory.most_bytes.get(pool),
            )
            for pool in ids
        )
    if any(pool.missing_bytes for pool in pools):
        verdict = Verdict.NO
    elif target.accelerators and memory.gpu_layers <= layers:
        verdict = Verdict.OFFLOAD
    else:
        verdict = Verdict.FITS
    return Fit(verdict, pools, memory.gpu_layers)


def memory_factors(shape: ModelShape, workload: Workload, target: Target, learnt: Corrections) -> dict[Quantity, float]:
    """What earlier loads taught about the memory of models like this one; of the same kind as `speed.kind_of` says."""
    is_on_cards = bool(target.accelerators) and workload.gpu_layers != 0
    device = target.accelerators[-1].name if is_on_cards else target.host.name
    main_type = traffic_of(shape, workload.quantization, workload.engine).main_type
    kind = Kind(workload.engine, device, shape.architecture, main_type)
    wanted = (Quantity.PRIVATE_BYTES, Quantity.FILE_BYTES, Quantity.GPU_BYTES)
    return {quantity: learnt.correction(kind, quantity).factor for quantity in wanted}


def _within(pool: PoolFit, most_bytes: int | None) -> PoolFit:
    """With no more available than its engine takes, where what it needs is more than that."""
    if most_bytes is None or sum(term.size_bytes for term in pool.terms) <= most_bytes:
        return pool
    return replace(pool, available_bytes=min(pool.available_bytes, most_bytes))


def _filled(
    pool: str, target: Target, terms: Sequence[Term], factors: Mapping[Quantity, float], *, is_shared: bool
) -> PoolFit:
    own = next(p for p in (target.host, *target.accelerators) if p.id == pool)
    gpu_factor = factors.get(Quantity.GPU_BYTES, 1.0)
    gpu = sum(t.size_bytes for t in terms if t.pool != target.host.id) * gpu_factor
    private = sum(t.size_bytes for t in terms if t.pool == target.host.id and not t.is_file)
    files = sum(t.size_bytes for t in terms if t.pool == target.host.id and t.is_file)
    # Matrices that were rearranged are not read from the file again: the kernel may drop those pages for good.
    repacked = sum(t.size_bytes for t in terms if t.name == "repacked weights")
    files = max(0, files - repacked)
    needed = gpu + private * factors.get(Quantity.PRIVATE_BYTES, 1.0) + files * factors.get(Quantity.FILE_BYTES, 1.0)
    name = target.name if is_shared else own.name
    return PoolFit(
        pool=pool,
        name=name,
        needed_bytes=int(needed),
        available_bytes=own.available_bytes,
        total_bytes=own.total_bytes,
        terms=_counted(terms),
    )


def _counted(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Terms by size, without the pages of rearranged matrices in the file."""
    repacked = {t.pool: t.size_bytes for t in terms if t.name == "repacked weights"}
    counted = []
    for term in terms:
        if term.name == "weights" and term.is_file and repacked.get(term.pool):
            left = max(0, term.size_bytes - repacked[term.pool])
            formula = f"{term.formula}; less what is rearranged, whose pages may be dropped"
            term = Term(term.name, term.pool, left, True, formula, term.source)
        if term.size_bytes:
            counted.append(term)
    return tuple(sorted(counted, key=lambda t: -t.size_bytes))
