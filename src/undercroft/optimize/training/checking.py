"""Whether llama.cpp computes what torch computed: the same log-probabilities, before a result counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.core.errors import InvalidError
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import TOLERANCE_NATS
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.training.running import PROGRAMS
from undercroft.optimize.training.sequences import TokenSequence, write_sequences


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came of a comparison.

    Args:
        compared: Tokens; count.
        mean_difference: Of their log-probabilities, nats.
        largest_difference: The same of the worst.
        tolerance: The largest mean that passes.
    """

    compared: int
    mean_difference: float
    largest_difference: float
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data; every compared token was the same, or there would be none."""
        return {**asdict(self), "same": self.compared}


@dataclass(frozen=True, slots=True)
class Trial:
    """A text that both are asked about.

    Args:
        text: With names of special tokens.
        tokens: As the engine cuts it, with its beginning.
    """

    text: str
    tokens: tuple[int, ...]


def check_result(
    made: Path,
    adapter: Path | None,
    folder: Path,
    peft: Path | None,
    trials: Sequence[Trial],
    environment: Environment,
    *,
    work: Path,
    kind: str,
    threads: int,
) -> Agreement:
    """Holds a result in llama.cpp against the weights in torch that it was made of.

    Args:
        made: GGUF that is run.
        adapter: GGUF adapter that changes it; None where there is none.
        folder: The model in torch.
        peft: Its adapter in torch; None where there is none.
        trials: At least one.
        environment: The installed ``train``.
        work: For what is in between.
        kind: What the result's weights are kept in, or were in the base where that is more rounded.
        threads: Processors to use; count.

    Raises:
        InvalidError: ``not-the-same``.
        UnavailableError: A program failed.
    """
    sequences = [TokenSequence(trial.tokens, (True,) * len(trial.tokens)) for trial in trials]
    write_sequences(work / "trials.npz", sequences)
    order = {
        "model": str(folder),
        "adapter": str(peft) if peft is not None else None,
        "sequences": str(work / "trials.npz"),
        "threads": threads,
    }
    wanted = run_program(environment, "score", order, folder=work, programs=PROGRAMS)["log_probabilities"]
    longest = max(len(trial.tokens) for trial in trials)
    reading = Reading(window_tokens=max(longest, 16), has_marks=True, threads=threads)
    found = list(token_log_probabilities(made, [trial.text for trial in trials], reading, adapter=adapter))
    differences = []
    for trial, expected, one in zip(trials, wanted, found, strict=True):
        if one.tokens.tolist() != list(trial.tokens[-len(one.tokens) :]):
            raise _other(f"llama.cpp cuts {trial.text[:40]!r} otherwise the second time")
        differences.append(np.abs(np.asarray(expected)[-len(one.tokens) :] - one.log_probabilities))
    joined = np.concatenate(differences)
    agreement = Agreement(len(joined), float(joined.mean()), float(joined.max()), TOLERANCE_NATS[kind])
    if not agreement.mean_difference <= agreement.tolerance:
        raise _other(
            f"mean difference of log-probabilities {agreement.mean_difference:.2g}, "
            f"at most {agreement.tolerance:.2g} allowed for {kind}"
        )
    return agreement


def _other(what: str) -> InvalidError:
    return InvalidError(
        "not-the-same",
        f"llama.cpp does not compute what was trained: {what}",
        hint="take a base in f16 or bf16, or report it: its engine and torch disagree",
    )
