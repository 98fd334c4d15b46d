"""What the training program is asked to do, and what it answers. Plain values, shared by all that train."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from undercroft.core.errors import InvalidError

Method = Literal["full", "lora", "qlora"]


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """The negative log-probability of each judged token."""

    kind: Literal["cross-entropy"] = "cross-entropy"


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a teacher's probabilities are from the student's, at each judged token, beside the cross-entropy.

    Args:
        teacher: Folder of the teacher, as `undercroft.optimize.training.opening` lays it out; its vocabulary is the
            student's.
        temperature: Both are softened by it; the divergence is multiplied by its square.
        share: Of the divergence in the loss, from 0 to 1; the rest is cross-entropy.

    Source:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
    """

    teacher: Path
    temperature: float = 1.0
    share: float = 1.0
    kind: Literal["divergence"] = "divergence"


@dataclass(frozen=True, slots=True)
class Holding:
    """Cross-entropy; but of sequences that are held, how far the model has moved from what it expected in them.

    That is the Kullback-Leibler divergence of its probabilities from those that it began with, at each judged token.

    Args:
        strength: What the divergence is multiplied by.
        base: Folder of the model that it began as; None with a LoRA, without which it is that model.

    Source:
        Li, Hoiem: Learning without Forgetting, 2016.
    """

    strength: float
    base: Path | None = None
    kind: Literal["holding"] = "holding"


@dataclass(frozen=True, slots=True)
class Preference:
    """Direct preference optimization; sequences come in pairs, the chosen one and then the rejected one.

    Args:
        beta: How strongly the model is held to the one that it began as.

    Source:
        Rafailov et al.: Direct Preference Optimization, 2023.
    """

    beta: float = 0.1
    kind: Literal["preference"] = "preference"


Loss = CrossEntropy | Divergence | Holding | Preference


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank matrices beside the model's own, which stay as they are.

    Args:
        rank: Of each pair; count.
        alpha: The pair's product is multiplied by ``alpha / rank``.
        dropout_ratio: Share of inputs of a pair that are left out at random while it learns.
    """

    rank: int
    alpha: float
    dropout_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How it is taught.

    Args:
        rate: Highest learning rate, reached after the warm-up; falls to a tenth of it by a cosine.
        epochs: How often every sequence is read.
        window_tokens: Length of a row, into which whole sequences are packed; tokens.
        batch_rows: Rows that are computed together.
        accumulation: Such batches a step.
        warmup_ratio: Share of all steps.
        weight_decay: Of matrices; norms and biases have none.
        clip: Longest gradient; its norm.
        evaluations: Times that the validation is read, evenly over all steps.
        patience: Ends after so many evaluations without a better one; 0 never does.
        checkpoint_seconds: Between what is kept to go on from.
    """

    rate: float
    epochs: float
    window_tokens: int
    batch_rows: int = 1
    accumulation: int = 1
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    evaluations: int = 10
    patience: int = 0
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """One training.

    Args:
        model: Folder with ``config.json`` and safetensors: published, or laid out by `opening`.
        training: Sequences, as `undercroft.optimize.training.sequences` writes them.
        validation: Sequences that are only measured; None where there are none.
        target: Folder that the result is written into: the whole weights for ``full``, else the adapter as PEFT has it.
        folder: What it keeps to go on from lies here, and its log; the same order in the same folder goes on.
        method: Which weights learn.
        loss: What is made small.
        schedule: How.
        lora: For ``lora`` and ``qlora``.
        seed: Of everything that is random.
        threads: Processors to use; count. Sums depend on it, so a training that goes on keeps what it began with.
        keeps_zeros: Weights of blocks that are zero stay so.

    Raises:
        InvalidError: Method and matrices do not belong together.
    """

    model: Path
    training: Path
    validation: Path | None
    target: Path
    folder: Path
    method: Method
    loss: Loss
    schedule: Schedule
    lora: Lora | None = None
    seed: int = 0
    threads: int = 1
    keeps_zeros: bool = False

    def __post_init__(self) -> None:
        if (self.method == "full") != (self.lora is None):
            raise InvalidError("bad-training", f"expected matrices of low rank for lora and qlora, got {self.method}")

    def to_dict(self) -> dict[str, Any]:
        """For the program, as JSON holds it."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of a loss.

    Args:
        step: After which; count.
        loss: Mean a judged token, or a pair; nats.
    """

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Curve:
    """How the loss went.

    Args:
        training: Of each step.
        validation: Of each evaluation, the first one before any step.
    """

    training: tuple[Point, ...] = ()
    validation: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Args:
        curve: How the loss went.
        steps: That were done; count.
        kept_step: Whose weights were kept: the best on the validation, else the last.
        has_stopped_early: It was no longer getting better.
        learnt_values: Weights that learnt; count.
        all_values: Of the model, without what was added; count.
        read_tokens: Tokens that were read, all epochs together.
        resumed_at: Steps from which it went on after it was interrupted.
        threads: That it used.
    """

    curve: Curve
    steps: int
    kept_step: int
    has_stopped_early: bool
    learnt_values: int
    all_values: int
    read_tokens: int
    threads: int
    resumed_at: tuple[int, ...] = field(default=())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
