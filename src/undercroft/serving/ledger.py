"""The ledger of memory: what every replica holds or is going to, and what is left. Pure.

A claim is what a replica may take at most: the larger of its forecast and of what was measured. Free is the smaller of
two views, so that neither a wrong forecast nor another program can lead to an out-of-memory kill:

    by account      memory for models - claims
    by measurement  memory that the system calls available - what is claimed and not taken yet - mapped weights

Mapped weights count although the kernel could drop them: a model whose weights are read from disk at each token is not
served. A file that several replicas map is counted once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from undercroft.engines.contract import EngineMemory, ReplicaState
from undercroft.planning.calibration import Kind, Quantity
from undercroft.planning.speed import DecodeForecast
from undercroft.serving.admission import Needs, Phase, Room
from undercroft.serving.replica import ReplicaView

HOST = "host"

_SMALLEST_RESERVE_BYTES = 256 * 1024**2
_RESERVE_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One forecast figure: by formula alone, and with what was learnt from earlier ones."""

    plain: float
    corrected: float


@dataclass(frozen=True, slots=True)
class ReplicaForecast:
    """What one replica will take and do.

    Args:
        private_bytes: Main memory that the kernel cannot drop, with what was learnt from earlier loads.
        file_bytes: Mapped weights.
        gpu_bytes: Accelerator index → bytes.
        kind: What it resembles, to learn from; None for a guess, which teaches nothing.
        figures: Everything that was forecast and will be measured, but for answers.
        answers: Forecasts of those, for any number at once; None for a model that gives none, and for a guess.
        note: How it was made, where that needs saying: ``its shape is not known, so this is guessed from its size``.
    """

    private_bytes: int
    file_bytes: int
    gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    kind: Kind | None = None
    figures: Mapping[Quantity, Figure] = field(default_factory=dict)
    answers: DecodeForecast | None = None
    note: str = ""

    def needs(self, *, is_file_counted: bool = True) -> dict[str, int]:
        """Pool → bytes."""
        host = self.private_bytes + (self.file_bytes if is_file_counted else 0)
        return {HOST: host, **{gpu_pool(index): bytes_ for index, bytes_ in self.gpu_bytes.items() if bytes_}}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the system says now.

    Args:
        total_bytes: Main memory that this machine, or its control group, has.
        available_bytes: Of it, without swapping.
        gpus: Accelerator index → (all, free) bytes; those whose memory is their own.
    """

    total_bytes: int
    available_bytes: int
    gpus: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One replica in the ledger.

    Args:
        replica_id: Its id.
        deployment: What it serves.
        phase: Where it is in its life.
        claims: Pool → bytes that it holds or is going to, mapped files counted once for all replicas.
        measured: Pool → bytes that it holds now, counted like that.
        forecast: As made before it was loaded; None for one whose deployment is gone.
    """

    replica_id: str
    deployment: str
    phase: Phase
    claims: Needs
    measured: Needs
    forecast: ReplicaForecast | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it at one moment."""

    entries: tuple[Entry, ...]
    rooms: Mapping[str, Room]
    reading: Reading
    reserve_bytes: int


def gpu_pool(index: int) -> str:
    """The pool of an accelerator."""
    return f"gpu{index}"


def make_ledger(
    views: Sequence[ReplicaView],
    forecasts: Mapping[str, ReplicaForecast],
    reading: Reading,
    *,
    host_limit_bytes: int = 0,
    reserve_bytes: int = 0,
) -> Ledger:
    """The ledger of what runs.

    Args:
        views: Every replica with a process of its own.
        forecasts: Replica id → its forecast.
        reading: What the system says now.
        host_limit_bytes: Most main memory of all models together; 0 is what there is.
        reserve_bytes: Main memory that is kept for everything else; 0 is 5 %, and at least 256 MiB.
    """
    reserve = reserve_bytes or max(_SMALLEST_RESERVE_BYTES, int(reading.total_bytes * _RESERVE_RATIO))
    entries: list[Entry] = []
    seen_files: set[str] = set()
    hidden = mapped = 0
    for view in views:
        forecast, memory = forecasts.get(view.spec.replica_id), view.memory
        is_counted = str(view.spec.model_path) not in seen_files
        seen_files.add(str(view.spec.model_path))
        private, file = _host_claim(forecast, memory)
        hidden += max(0, private - (memory.private_bytes if memory else 0))
        mapped += file if is_counted else 0
        claims = {HOST: private + (file if is_counted else 0), **_gpu_claims(forecast, memory)}
        measured = {HOST: memory.private_bytes + (memory.file_bytes if is_counted else 0)} if memory else {}
        measured |= {gpu_pool(i): b for i, b in memory.gpu_bytes.items()} if memory else {}
        entries.append(Entry(view.spec.replica_id, view.spec.name, _phase(view.state), claims, measured, forecast))
    total = max(0, reading.total_bytes - reserve)
    if host_limit_bytes:
        total = min(total, host_limit_bytes)
    by_account = total - sum(entry.claims[HOST] for entry in entries)
    by_measurement = reading.available_bytes - reserve - hidden - mapped
    rooms = {HOST: Room(max(0, min(by_account, by_measurement)), total, "main memory")}
    for index, (all_bytes, free_bytes) in reading.gpus.items():
        rooms[gpu_pool(index)] = _gpu_room(index, all_bytes, free_bytes, entries)
    return Ledger(tuple(entries), rooms, reading, reserve)


def _host_claim(forecast: ReplicaForecast | None, memory: EngineMemory | None) -> tuple[int, int]:
    private = max(forecast.private_bytes if forecast else 0, memory.private_bytes if memory else 0)
    file = max(forecast.file_bytes if forecast else 0, memory.file_bytes if memory else 0)
    return private, file


def _gpu_claims(forecast: ReplicaForecast | None, memory: EngineMemory | None) -> dict[str, int]:
    wanted = dict(forecast.gpu_bytes) if forecast else {}
    taken = dict(memory.gpu_bytes) if memory else {}
    return {gpu_pool(i): max(wanted.get(i, 0), taken.get(i, 0)) for i in sorted({*wanted, *taken})}


def _gpu_room(index: int, all_bytes: int, free_bytes: int, entries: Sequence[Entry]) -> Room:
    pool = gpu_pool(index)
    claimed = sum(entry.claims.get(pool, 0) for entry in entries)
    hidden = sum(max(0, e.claims.get(pool, 0) - e.measured.get(pool, 0)) for e in entries)
    return Room(max(0, min(all_bytes - claimed, free_bytes - hidden)), all_bytes, f"memory of GPU {index}")


def _phase(state: ReplicaState) -> Phase:
    if state in {ReplicaState.STARTING, ReplicaState.WARMING}:
        return Phase.LOADING
    return Phase.READY if state is ReplicaState.READY else Phase.STOPPING
