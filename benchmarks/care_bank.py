"""Real answers of the starter to its standard questions, as it is and made worse: what a simulated year draws from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader

import undercroft
from benchmarks import product
from benchmarks.processes import MissingError
from undercroft.core.home import Home
from undercroft.watch.probes.asking import ask_all
from undercroft.watch.probes.baselines import QuestionBaseline
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.door_client import DoorClient
from undercroft.watch.probes.outcomes import Outcome
from undercroft.watch.probes.probe_files import Question, load_probe

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
NAME = "tickets"
GOOD, PROMPT, COARSE = "good", "prompt", "coarse"
# The starter's context is 1,024 tokens: a prompt of 1,900 more, as the issue has it, does not fit into it.
_LONG_PROMPT = "You are the help desk of a shop. Be kind to everybody, and read what they write with care. " * 12
# Steps that each weight's 8 bits are rounded to: three levels. With steps of 85 the starter passes all five questions.
_COARSE_STEPS = 127


@dataclass(frozen=True, slots=True)
class Bank:
    """Outcomes to draw from.

    Args:
        questions: The standard questions.
        baseline: Question → what is usual of the good variant.
        rounds: Variant → rounds → an outcome a question.
        models: Model → its file, as the year registers them.
    """

    questions: Sequence[Question]
    baseline: dict[str, QuestionBaseline]
    rounds: dict[str, list[list[Outcome]]]
    models: dict[str, Path]


def fill(rounds: int, folder: Path) -> Bank:
    """Asks every variant ``rounds`` times, through the door of a real server.

    Args:
        rounds: Times that each question is asked of each variant.
        folder: For the model that is made worse.

    Raises:
        MissingError: The server did not start, or did not answer.
    """
    coarse = folder / "coarse.gguf"
    coarsen(STARTER, coarse)
    prompt = folder / "prompt.md"
    prompt.write_text(_LONG_PROMPT, encoding="utf-8")
    with product.server(ready=("ticket-pilot",)) as server:
        variables = product.environment(server.home, server.port)
        product.command("model", "pull", str(coarse), "--name", "coarse", variables=variables)
        made = ["release", "create", NAME, "--sampling", "temperature=0", "--model"]
        product.command(*made, "ticket-pilot", variables=variables)
        product.command(*made, "ticket-pilot", "--prompt", str(prompt), variables=variables)
        product.command(*made, "coarse", variables=variables)
        product.command("release", "promote", f"{NAME}@1", variables=variables)
        _init_probe(variables)
        questions = load_probe(Home(server.home), NAME).questions
        client = DoorClient(f"http://127.0.0.1:{server.port}", server.key)
        found = {
            variant: [list(ask_all(client, f"{NAME}@{number}", questions, None, NAME)) for _ in range(rounds)]
            for variant, number in ((GOOD, 1), (PROMPT, 2), (COARSE, 3))
        }
    unanswered = [one.error for variant in (GOOD, PROMPT) for each in found[variant] for one in each if one.error]
    if unanswered:
        raise MissingError(f"the starter did not answer: {unanswered[0]}")
    baseline = {
        question.id: baseline_of(question, [each[position] for each in found[GOOD]])
        for position, question in enumerate(questions)
    }
    return Bank(questions, baseline, found, {"ticket-pilot": STARTER, "coarse": coarse})


def coarsen(source: Path, target: Path) -> None:
    """Writes a copy of a model whose Q8_0 weights have as many levels as 2 bits have: too coarse a quantization."""
    content = bytearray(source.read_bytes())
    for tensor in GGUFReader(source).tensors:
        if tensor.tensor_type is not GGMLQuantizationType.Q8_0 or "blk" not in tensor.name:
            continue
        begin = tensor.data_offset
        blocks = np.frombuffer(content, dtype=np.int8, count=tensor.n_bytes, offset=begin).reshape(-1, 34)
        rounded = np.clip(np.round(blocks[:, 2:] / _COARSE_STEPS) * _COARSE_STEPS, -127, 127).astype(np.int8)
        made = np.concatenate([blocks[:, :2], rounded], axis=1)
        content[begin : begin + tensor.n_bytes] = made.tobytes()
    target.write_bytes(content)


def _init_probe(variables: dict[str, str]) -> None:
    subprocess.run(
        [str(product.COMMAND), "probe", "init", NAME, "--yes"],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        timeout=120,
    )
