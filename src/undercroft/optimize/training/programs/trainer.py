"""The loop: read, judge, change, measure, keep; the same weights for the same order, killed in between or not."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from undercroft.optimize.training.programs.keeping import Keeper
from undercroft.optimize.training.programs.losses import loss_of
from undercroft.optimize.training.programs.networks import RefusedError, learnt, open_network, save, with_lora
from undercroft.optimize.training.programs.packing import Sequences, lay_out, plan_reading, plan_steps

_LEAST_RATE_RATIO = 0.1
_BETAS = (0.9, 0.999)


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Does an order and says what came of it; see `train`."""
    try:
        return Trainer(order).run()
    except OSError as error:
        return {"outcome": "os-error", "errno": error.errno, "path": str(error.filename or order["folder"])}
    except MemoryError:
        return {"outcome": "out-of-memory"}
    except _DivergedError as error:
        return {"outcome": "diverged", "step": error.step, "loss": error.loss}
    except RefusedError as error:
        return {"outcome": "refused", "detail": str(error)}
    except RuntimeError as error:
        if "not enough memory" in str(error) or "allocate memory" in str(error):
            return {"outcome": "out-of-memory"}
        raise


class _DivergedError(Exception):
    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, str(loss)


class Trainer:
    """One training.

    Args:
        order: As it was given.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order, self._schedule = order, order["schedule"]
        self._keeper = Keeper(Path(order["folder"]), order)
        kept = self._keeper.load()
        self._threads = order["threads"] if kept is None else kept["threads"]
        torch.set_num_threads(self._threads)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(order["seed"])
        is_quantized = order["method"] == "qlora"
        network = open_network(order["model"], is_quantized=is_quantized)
        self._all_values = _values(network)
        self._network = (
            network if order["lora"] is None else with_lora(network, order["lora"], is_quantized=is_quantized)
        )
        self._loss = loss_of(order["loss"])
        together = self._loss.together
        self._training = Sequences.load(order["training"])
        self._validation = Sequences.load(order["validation"]) if order["validation"] else None
        self._steps = plan_steps(self._training, self._schedule, order["seed"], together=together)
        self._optimizer = torch.optim.AdamW(self._groups(), lr=0.0, betas=_BETAS)
        self._curve: dict[str, list[list[float]]] = {"training": [], "validation": []}
        self._zeros = _zeros(self._network) if order["keeps_zeros"] else {}
        self._state: dict[str, Any] = {"step": 0, "best": None, "worse": 0, "read_tokens": 0, "resumed_at": []}
        if kept is not None:
            self._restore(kept)

    def run(self) -> dict[str, Any]:
        """To the end, or until it gets no better."""
        state, total = self._state, len(self._steps)
        _say("begun", state["step"], total, curve=self._curve)
        if not self._curve["validation"]:
            self._evaluate()
        kept_seconds = time.monotonic()
        marks = _marks(total, self._schedule["evaluations"])
        while state["step"] < total and not self._has_enough():
            self._step()
            if state["step"] in marks:
                self._evaluate()
            if time.monotonic() - kept_seconds >= self._schedule["checkpoint_seconds"]:
                self._keep()
                kept_seconds = time.monotonic()
        self._keep()
        return self._finish()

    def _step(self) -> None:
        state = self._state
        batches = [self._laid_out(self._training, rows) for rows in self._steps[state["step"]]]
        count = sum(self._loss.count(batch) for batch in batches)
        rate = _rate(state["step"], len(self._steps), self._schedule)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        self._network.train()
        for batch in batches:
            loss = self._loss.summed(self._network, batch) / count
            loss.backward()
            total += float(loss.detach())
            state["read_tokens"] += int((batch.segments >= 0).sum())
        if not math.isfinite(total):
            raise _DivergedError(state["step"] + 1, total)
        torch.nn.utils.clip_grad_norm_(list(learnt(self._network).values()), self._schedule["clip"])
        self._optimizer.step()
        self._keep_zeros()
        self._optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        self._curve["training"].append([state["step"], total])
        _say("trained", state["step"], len(self._steps), loss=total)

    def _keep_zeros(self) -> None:
        own = learnt(self._network) if self._zeros else {}
        with torch.no_grad():
            for name, zeros in self._zeros.items():
                own[name].masked_fill_(zeros, 0.0)

    def _evaluate(self) -> None:
        if self._validation is None:
            return
        state, schedule = self._state, self._schedule
        self._network.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for rows in plan_reading(
                self._validation, schedule["window_tokens"], schedule["batch_rows"], together=self._loss.together
            ):
                batch = self._laid_out(self._validation, rows)
                total += float(self._loss.summed(self._network, batch))
                count += self._loss.count(batch)
        loss = total / count
        if not math.isfinite(loss):
            raise _DivergedError(state["step"], loss)
        self._curve["validation"].append([state["step"], loss])
        _say("evaluated", state["step"], len(self._steps), loss=loss)
        if state["best"] is None or loss < state["best"][1]:
            self._keeper.keep_best(learnt(self._network), state["step"])
            state["best"], state["worse"] = [state["step"], loss], 0
            self._keep()
        else:
            state["worse"] += 1

    def _has_enough(self) -> bool:
        patience = self._schedule["patience"]
        return bool(patience and self._state["worse"] >= patience)

    def _finish(self) -> dict[str, Any]:
        state = self._state
        kept_step = state["step"] if state["best"] is None else state["best"][0]
        if kept_step != state["step"]:
            self._put(self._keeper.load_best(kept_step))
        save(self._network, Path(self._order["target"]))
        return {
            "outcome": "done",
            "curve": self._curve,
            "steps": state["step"],
            "kept_step": kept_step,
            "has_stopped_early": state["step"] < len(self._steps),
            "learnt_values": sum(one.numel() for one in learnt(self._network).values()),
            "all_values": self._all_values,
            "read_tokens": state["read_tokens"],
            "threads": self._threads,
            "resumed_at": state["resumed_at"],
        }

    def _keep(self) -> None:
        state = self._state
        self._keeper.keep(
            {
                **state,
                "curve": self._curve,
                "threads": self._threads,
                "weights": {name: one.detach() for name, one in learnt(self._network).items()},
                "optimizer": self._optimizer.state_dict(),
                "random": torch.get_rng_state(),
            }
        )
        self._keeper.forget_others(state["best"][0] if state["best"] is not None else None)

    def _restore(self, kept: dict[str, Any]) -> None:
        self._put(kept["weights"])
        self._optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        self._curve = kept["curve"]
        self._state = {name: kept[name] for name in self._state}
        self._state["resumed_at"] = [*self._state["resumed_at"], self._state["step"]]

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, one in learnt(self._network).items():
                one.copy_(weights[name])

    def _groups(self) -> list[dict[str, Any]]:
        own = list(learnt(self._network).values())
        decayed, plain = [one for one in own if one.dim() > 1], [one for one in own if one.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": self._schedule["weight_decay"]}]
        return [*groups, {"params": plain, "weight_decay": 0.0}] if plain else groups

    def _laid_out(self, sequences: Sequences, rows: Any) -> Any:
        return lay_out(sequences, rows, self._schedule["window_tokens"])


def _rate(step: int, steps: int, schedule: dict[str, Any]) -> float:
    """Up in a line, then down by a cosine; step from 0."""
    highest, warm = float(schedule["rate"]), max(1, round(steps * float(schedule["warmup_ratio"])))
    if step < warm:
        return highest * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    fall = _LEAST_RATE_RATIO + (1 - _LEAST_RATE_RATIO) * 0.5 * (1 + math.cos(math.pi * share))
    return highest * fall


def _marks(steps: int, evaluations: int) -> set[int]:
    """Steps after which the validation is read; the last is one of them."""
    return {math.ceil(steps * number / evaluations) for number in range(1, evaluations + 1)}


def _values(network: Any) -> int:
    """Weights of a model; one in four bits counts as one."""
    return sum(one.numel() * (2 if one.dtype == torch.uint8 else 1) for one in network.parameters())


def _zeros(network: Any) -> dict[str, torch.Tensor]:
    """Where matrices of blocks are zero."""
    own = {name: one.detach() for name, one in learnt(network).items() if one.dim() > 1 and ".layers." in name}
    return {name: one == 0 for name, one in own.items() if bool((one == 0).any())}


def _say(event: str, step: int, steps: int, **more: Any) -> None:
    print(json.dumps({"event": event, "step": step, "steps": steps, **more}), flush=True)
