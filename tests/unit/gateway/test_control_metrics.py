"""What control adds to the metrics."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from undercroft.engines.contract import EngineFigures, EngineSpec, ReplicaState, Task
from undercroft.gateway.admin.control_metrics import control_families
from undercroft.serving.replica import ReplicaView


def test_figures_of_an_engine_are_told_by_replica() -> None:
    """Each figure is a family of its own; what an engine does not count has no sample."""
    spec = EngineSpec("rep_1", "bot", Task.GENERATE, Path("/r"), Path("/l"))
    figures = EngineFigures(running=2, cache_ratio=0.5, prefix_asked_tokens=24, prefix_found_tokens=16)
    view = ReplicaView(spec, "", ReplicaState.READY, 0.0, figures=figures)
    told = control_families([view, ReplicaView(spec, "", ReplicaState.STARTING, 0.0)], {})
    for field in fields(EngineFigures):
        family, value = told[f"undercroft_engine_{field.name}"], getattr(figures, field.name)
        assert family["samples"] == ([[["bot", "rep_1"], value]] if value is not None else [])
    assert told["undercroft_engine_prefix_found_tokens"]["type"] == "counter"
    assert told["undercroft_engine_cache_ratio"]["type"] == "gauge"
