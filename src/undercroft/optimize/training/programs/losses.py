"""What is made small. Each loss gives a sum over a batch and how much of what it is a sum of."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.nn import functional

from undercroft.optimize.training.programs.networks import (
    RefusedError,
    chosen_log_probabilities,
    logits,
    open_network,
)
from undercroft.optimize.training.programs.packing import Batch


class Loss(Protocol):
    """One way to judge a model."""

    together: int  # sequences that belong together

    def count(self, batch: Batch) -> int:
        """How many tokens, or pairs, a batch has."""

    def summed(self, network: Any, batch: Batch) -> torch.Tensor:
        """Over all of these; nats, a single number that can be differentiated."""


class _CrossEntropy:
    together = 1

    def count(self, batch: Batch) -> int:
        return len(batch.targets)

    def summed(self, network: Any, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(logits(network, batch), torch.from_numpy(batch.targets), reduction="sum")


class _Divergence:
    """See `undercroft.optimize.training.orders.Divergence`."""

    together = 1

    def __init__(self, order: dict[str, Any]) -> None:
        self._temperature, self._share = float(order["temperature"]), float(order["share"])
        self._teacher = open_network(order["teacher"]).eval().requires_grad_(False)

    def count(self, batch: Batch) -> int:
        return len(batch.targets)

    def summed(self, network: Any, batch: Batch) -> torch.Tensor:
        own = logits(network, batch)
        with torch.no_grad():
            taught = logits(self._teacher, batch)
        if own.shape != taught.shape:
            raise RefusedError(f"its vocabulary has {own.shape[1]:,} tokens, its teacher's {taught.shape[1]:,}")
        wanted = torch.log_softmax(taught / self._temperature, -1)
        given = torch.log_softmax(own / self._temperature, -1)
        divergence = functional.kl_div(given, wanted, reduction="sum", log_target=True) * self._temperature**2
        if self._share == 1.0:
            return divergence
        plain = functional.cross_entropy(own, torch.from_numpy(batch.targets), reduction="sum")
        return self._share * divergence + (1.0 - self._share) * plain


class _Holding:
    """See `undercroft.optimize.training.orders.Holding`."""

    together = 1

    def __init__(self, order: dict[str, Any]) -> None:
        self._strength = float(order["strength"])
        self._base = None if order["base"] is None else open_network(order["base"]).eval().requires_grad_(False)

    def count(self, batch: Batch) -> int:
        return len(batch.targets)

    def summed(self, network: Any, batch: Batch) -> torch.Tensor:
        own, held = logits(network, batch), torch.from_numpy(batch.held)
        plain = functional.cross_entropy(own[~held], torch.from_numpy(batch.targets)[~held], reduction="sum")
        if not batch.held.any():
            return plain
        wanted = torch.log_softmax(self._before(network, batch)[held], -1)
        given = torch.log_softmax(own[held], -1)
        return plain + self._strength * functional.kl_div(given, wanted, reduction="sum", log_target=True)

    def _before(self, network: Any, batch: Batch) -> torch.Tensor:
        """What the model gave before it learnt: a copy of it, or the one without its LoRA."""
        with torch.no_grad():
            if self._base is not None:
                return logits(self._base, batch)
            with network.disable_adapter():
                return logits(network, batch)


class _Preference:
    """See `undercroft.optimize.training.orders.Preference`; the model that it began as is the one without its LoRA."""

    together = 2

    def __init__(self, order: dict[str, Any]) -> None:
        self._beta = float(order["beta"])

    def count(self, batch: Batch) -> int:
        return len(batch.order) // 2

    def summed(self, network: Any, batch: Batch) -> torch.Tensor:
        with torch.no_grad(), network.disable_adapter():
            before = self._totals(network, batch)
        moved = (self._totals(network, batch) - before).view(-1, 2)
        return -functional.logsigmoid(self._beta * (moved[:, 0] - moved[:, 1])).sum()

    def _totals(self, network: Any, batch: Batch) -> torch.Tensor:
        found = chosen_log_probabilities(logits(network, batch), batch.targets)
        return torch.zeros(len(batch.order)).index_add(0, torch.from_numpy(batch.owners), found)


def loss_of(order: dict[str, Any]) -> Loss:
    """The loss that an order names."""
    kind = order["kind"]
    if kind == "divergence":
        return _Divergence(order)
    if kind == "holding":
        return _Holding(order)
    return _Preference(order) if kind == "preference" else _CrossEntropy()
