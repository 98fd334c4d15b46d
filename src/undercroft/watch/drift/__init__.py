"""Drift: detectors of what is no longer as it was, what they read, and what they say. `look` is for everybody else."""

from __future__ import annotations

from undercroft.watch.drift.surveying import DRIFT_KINDS, Drift, forget, look, survey

__all__ = ["DRIFT_KINDS", "Drift", "forget", "look", "survey"]
