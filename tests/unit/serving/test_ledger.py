"""The ledger of memory: claims, and what is left."""

from __future__ import annotations

from pathlib import Path

from undercroft.engines.contract import EngineMemory, EngineSpec, ReplicaState, Task
from undercroft.serving.admission import Phase
from undercroft.serving.ledger import Ledger, Reading, ReplicaForecast, make_ledger
from undercroft.serving.replica import ReplicaView

MIB = 1024**2


def view(
    name: str, state: ReplicaState, memory: EngineMemory | None = None, model: str = "", number: int = 1
) -> ReplicaView:
    spec = EngineSpec(
        replica_id=f"rep_{name}{number}",
        name=name,
        task=Task.GENERATE,
        run_dir=Path("/run"),
        log_path=Path("/log"),
        model_path=Path(f"/models/{model or name}.gguf"),
    )
    return ReplicaView(spec=spec, spec_digest="d", state=state, started=0.0, memory=memory)


def ledger(
    *views: ReplicaView,
    forecast: ReplicaForecast | None = None,
    reading: Reading | None = None,
    limit: int = 0,
    reserve: int = 1 * MIB,
) -> Ledger:
    forecast = forecast or ReplicaForecast(300 * MIB, 200 * MIB)
    reading = reading or Reading(2001 * MIB, 1900 * MIB)
    forecasts = {v.spec.replica_id: forecast for v in views}
    return make_ledger(views, forecasts, reading, host_limit_bytes=limit, reserve_bytes=reserve)


def test_a_replica_that_loads_claims_its_forecast() -> None:
    """Before anything is measured the forecast is taken from both views of what is free."""
    found = ledger(view("a", ReplicaState.STARTING))
    assert found.entries[0].claims == {"host": 500 * MIB}
    assert found.entries[0].phase is Phase.LOADING
    assert found.rooms["host"].free_bytes == (1900 - 1 - 300 - 200) * MIB


def test_what_was_measured_counts_where_it_is_more() -> None:
    """An engine that took more than forecast claims what it took."""
    found = ledger(view("a", ReplicaState.READY, EngineMemory(450 * MIB, 200 * MIB)))
    assert found.entries[0].claims == {"host": 650 * MIB}
    assert found.rooms["host"].free_bytes == min(2000 - 650, 1900 - 1 - 200) * MIB


def test_memory_that_is_taken_is_not_subtracted_twice() -> None:
    """A replica whose forecast came true leaves what the system calls available, less its mapped weights."""
    reading = Reading(10_001 * MIB, 1000 * MIB)
    found = ledger(view("a", ReplicaState.READY, EngineMemory(300 * MIB, 200 * MIB)), reading=reading)
    assert found.rooms["host"].free_bytes == (1000 - 1 - 200) * MIB


def test_replicas_of_one_file_count_its_pages_once() -> None:
    """Two replicas that map the same weights claim them once."""
    pair = (view("a", ReplicaState.READY, number=1), view("a", ReplicaState.READY, number=2))
    found = ledger(*pair)
    assert [entry.claims["host"] for entry in found.entries] == [500 * MIB, 300 * MIB]


def test_a_limit_for_models_is_kept() -> None:
    """With 600 MiB for all models and 500 claimed, 100 are left, whatever else is free; never less than none."""
    assert ledger(view("a", ReplicaState.READY), limit=600 * MIB).rooms["host"].free_bytes == 100 * MIB
    assert ledger(view("a", ReplicaState.READY), limit=400 * MIB).rooms["host"].free_bytes == 0


def test_the_reserve_is_a_twentieth_and_not_tiny() -> None:
    """Without a setting 5 % are kept for everything else, at least 256 MiB."""
    assert ledger(reading=Reading(100_000 * MIB, 90_000 * MIB), reserve=0).reserve_bytes == 5000 * MIB
    assert ledger(reading=Reading(1000 * MIB, 900 * MIB), reserve=0).reserve_bytes == 256 * MIB


def test_a_gpu_has_a_room_of_its_own() -> None:
    """What is claimed on a GPU and not taken yet is not free, nor is what others hold there."""
    forecast = ReplicaForecast(10 * MIB, 0, {0: 4000 * MIB})
    reading = Reading(2001 * MIB, 1900 * MIB, {0: (8000 * MIB, 7000 * MIB)})
    found = ledger(view("a", ReplicaState.STARTING), forecast=forecast, reading=reading)
    assert found.rooms["gpu0"].free_bytes == 3000 * MIB
    assert found.rooms["gpu0"].total_bytes == 8000 * MIB
    assert found.entries[0].claims["gpu0"] == 4000 * MIB


def test_one_that_stops_holds_its_memory_until_it_is_gone() -> None:
    """A stopping replica still claims; admission knows that it comes back."""
    found = ledger(view("a", ReplicaState.STOPPING, EngineMemory(300 * MIB, 200 * MIB)))
    assert found.entries[0].phase is Phase.STOPPING
    assert found.entries[0].claims == {"host": 500 * MIB}
