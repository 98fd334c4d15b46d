"""Train the starter model: ``python -m tools.starter.train --out DIR``.

The learning rate warms up, stays, and falls to zero over the last part of the steps. So a run can be prolonged from
its last checkpoint with a larger ``--steps``, also with a grammar that has grown since.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.starter.batches import batches
from tools.starter.conversations import ConversationSource
from tools.starter.grammar import load_all
from tools.starter.model import Shape, TicketModel
from tools.starter.tickets import TicketSource
from tools.starter.tokenizer import TicketTokenizer, train_tokenizer
from tools.starter.warm_start import warm_weights

WARM_UP_STEPS = 150
# English and Arabic were learnt slowest, Thai fastest, when all were drawn equally.
LANGUAGE_WEIGHTS = {"en": 1.8, "ar": 3.0, "vi": 1.8, "ms": 1.5, "zh": 1.2, "th": 0.6}


@dataclass(frozen=True)
class Plan:
    """What a training run does; counts are steps or tokens."""

    steps: int = 12000
    fall_ratio: float = 0.25
    batch_tokens: int = 3072
    peak_rate: float = 2e-3
    weight_decay: float = 0.1
    average_decay: float = 0.999
    dropout_ratio: float = 0.1
    intent_weight: float = 14.0
    urgency_weight: float = 8.0
    checkpoint_steps: int = 100
    seed: int = 20261120


def learning_rate(step: int, plan: Plan) -> float:
    """The rate at a step: linear warm-up, constant, linear fall to zero."""
    fall_steps = max(1, int(plan.steps * plan.fall_ratio))
    return plan.peak_rate * min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, (plan.steps - step) / fall_steps))


def _optimizers(model: TicketModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, whose updates it makes orthogonal, and AdamW for embeddings and gains.

    Muon's rate is scaled to updates as large as AdamW's, so both follow one schedule.
    """
    inner = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
    gains = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [
        {"params": [model.embedding.weight], "weight_decay": plan.weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    return [
        torch.optim.Muon(
            inner, lr=plan.peak_rate, weight_decay=plan.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(groups, lr=plan.peak_rate, betas=(0.9, 0.98), fused=True),
    ]


class Run:
    """The state of a training run and its checkpoint file."""

    def __init__(self, shape: Shape, plan: Plan, token_weights: list[float]) -> None:
        torch.manual_seed(plan.seed)
        self.shape, self.plan = shape, plan
        self.token_weights = torch.tensor(token_weights)
        self.model = TicketModel(shape, plan.dropout_ratio)
        self.optimizers = _optimizers(self.model, plan)
        self.average = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        self.step = self.tokens = 0
        self.seconds = 0.0

    def train_step(self, inputs: Tensor, targets: Tensor) -> float:
        """One optimizer step; returns the batch's loss in nats per answer token."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.plan)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model.loss(inputs, targets, self.token_weights)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._update_average()
        self.step += 1
        self.tokens += inputs.numel()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.plan.average_decay, (self.step + 1) / (self.step + 10))
        averages, weights = list(self.average.values()), list(self.model.parameters())
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is complete."""
        state = {
            "shape": asdict(self.shape),
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def start_with(self, weights: dict[str, Tensor]) -> None:
        """Take over weights before the first step."""
        self.model.load_state_dict(weights)
        self.average = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same shape."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]


def fit(run: Run, stream: Iterable[tuple[Tensor, Tensor]], checkpoint: Path, log: Path) -> None:
    """Train until the plan's last step, with a checkpoint and a log line every ``checkpoint_steps``."""
    losses: list[float] = []
    mark = time.monotonic()
    for inputs, targets in stream:
        if run.step >= run.plan.steps:
            return
        losses.append(run.train_step(inputs, targets))
        if run.step % run.plan.checkpoint_steps == 0 or run.step == run.plan.steps:
            run.seconds += time.monotonic() - mark
            mark = time.monotonic()
            run.save(checkpoint)
            line = {
                "step": run.step,
                "tokens": run.tokens,
                "seconds": round(run.seconds),
                "loss": sum(losses) / len(losses),
            }
            losses.clear()
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the starter model; goes on where DIR holds a checkpoint.")
    parser.add_argument("--out", type=Path, required=True, help="folder for tokenizer, checkpoint and log")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument(
        "--fall-ratio", type=float, default=Plan.fall_ratio, help="share of the steps in which the rate falls"
    )
    parser.add_argument("--batch-tokens", type=int, default=Plan.batch_tokens)
    parser.add_argument("--peak-rate", type=float, default=Plan.peak_rate)
    parser.add_argument("--start-from", type=Path, help="GGUF of an earlier run, also of a smaller network")
    for name in ("width", "layers", "heads", "kv_heads", "feed_forward"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Shape, name))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Train the tokenizer where there is none yet, then the network."""
    options = _arguments()
    # Read at the first product: one kept for each of a thousand shapes of batches took 600 MB more a minute.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    plan = Plan(options.steps, options.fall_ratio, options.batch_tokens, options.peak_rate)
    shape = Shape(
        width=options.width,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.kv_heads,
        feed_forward=options.feed_forward,
    )
    grammars = load_all()
    pieces, checkpoint = options.out / "tokenizer.model", options.out / "checkpoint.pt"
    if not pieces.exists():
        train_tokenizer(grammars, pieces, seed=plan.seed)
    tokenizer = TicketTokenizer(pieces)
    weights = tokenizer.token_weights(intent=plan.intent_weight, urgency=plan.urgency_weight)
    run = Run(shape, plan, weights)
    if checkpoint.exists():
        run.resume(checkpoint)
    elif options.start_from:
        kv_width = run.shape.kv_heads * run.shape.head_width
        run.start_with(warm_weights(options.start_from, pieces, run.model.state_dict(), kv_width))
        torch.save({"shape": asdict(shape), "average": run.average}, options.out / "start.pt")
    tickets = TicketSource(
        grammars, has_noise=True, id_ratio=0.6, bare_ratio=0.4, crossing_ratio=0.4, weights=LANGUAGE_WEIGHTS
    )
    source = ConversationSource(tickets, tokenizer)
    rng = random.Random(plan.seed + run.step)
    stream = batches(source, rng, batch_tokens=plan.batch_tokens, context_tokens=run.shape.context_tokens)
    fit(run, stream, checkpoint, options.out / "log.jsonl")


if __name__ == "__main__":
    main()
