"""Real answers of the starter to its standard questions, as it is and made worse: what a simulated year draws from."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader

import undercroft
from benchmarks import product
from benchmarks.processes import MissingError
from undercroft.checks.questions import Question
from undercroft.core.home import Home
from undercroft.registry.models import add_local
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.serving.keeper_client import refresh
from undercroft.storage.database import Database
from undercroft.watch.probes.asking import ask_all
from undercroft.watch.probes.baselines import QuestionBaseline
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.door_client import DoorClient
from undercroft.watch.probes.outcomes import Outcome, likeness_to
from undercroft.watch.probes.probe_files import load_probe, probe_file

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
NAME = "tickets"
GOOD, PROMPT, SLIGHT, COARSE, TWO_LEVELS, TEMPLATE, NONSENSE, LANGUAGE, HOT, EMPTY = (
    "good",
    "prompt",
    "slight",
    "coarse",
    "two-levels",
    "template",
    "nonsense",
    "language",
    "hot",
    "empty",
)
# The starter's context is 1,024 tokens: a prompt of 1,900 more, as the issue has it, does not fit into it.
_LONG_PROMPT = "You are the help desk of a shop. Be kind to everybody, and read what they write with care. " * 12
# Levels of the weights, and which weights: at three levels the starter still passes its standard questions.
_LEVELS = {SLIGHT: (3, "blk"), COARSE: (2, "ffn"), TWO_LEVELS: (2, "blk")}
# Of the same length, so that the file's other places stay where they are.
_ROLE, _NO_ROLE = b'"<|user|>" ~ plain(message.content)', b'"<|user|>" ~ plain(message.role   )'


@dataclass(frozen=True, slots=True)
class Bank:
    """Outcomes to draw from.

    Args:
        questions: The standard questions.
        probe: Their file.
        baseline: Question → what is usual of the good variant.
        rounds: Variant → rounds → an outcome a question.
        models: Model → its file, as the year registers them.
    """

    questions: Sequence[Question]
    probe: str
    baseline: dict[str, QuestionBaseline]
    rounds: dict[str, list[list[Outcome]]]
    models: dict[str, Path]

    def passed_share(self, variant: str) -> float:
        """Of the standard questions, of all rounds."""
        passed = [outcome.has_passed for each in self.rounds[variant] for outcome in each]
        return sum(passed) / len(passed)


@dataclass(frozen=True, slots=True)
class Served:
    """A server with the starter in production and worse releases beside it.

    Args:
        server: That runs.
        variables: Environment of its commands.
        releases: Variant → number of its release.
        models: Model → its file.
    """

    server: product.Server
    variables: Mapping[str, str]
    releases: Mapping[str, int]
    models: Mapping[str, Path]


@contextlib.contextmanager
def serving(folder: Path, variants: Collection[str]) -> Iterator[Served]:
    """A server with variants as releases of one name, the good one in production, as long as the block.

    Args:
        folder: For the models that are made worse.
        variants: Which; the good one is the first of them.

    Raises:
        MissingError: The server did not start, or a command failed.
    """
    models = {"ticket-pilot": STARTER}
    for variant in variants:
        if variant in _LEVELS:
            models[variant] = folder / f"{variant}.gguf"
            coarsen(STARTER, models[variant], *_LEVELS[variant])
        elif variant == TEMPLATE:
            models[variant] = folder / f"{variant}.gguf"
            break_template(STARTER, models[variant])
    with product.server(ready=("ticket-pilot",)) as server:
        variables = product.environment(server.home, server.port)
        home, known = Home(server.home), _releases()
        database = Database(home.database_file)
        for name, path in models.items():
            if path != STARTER:
                add_local(database, home, path, name=name, actor="cli:anna", must_copy=True)
        with database.write() as connection:
            for variant in variants:
                store.create(connection, NAME, check_content(known[variant]), actor="cli:anna", reason=None)
        database.close()
        refresh(home)
        releases = {variant: number for number, variant in enumerate(variants, start=1)}
        product.command("release", "promote", f"{NAME}@{releases[GOOD]}", variables=variables)
        _init_probe(variables)
        yield Served(server, variables, releases, models)


def fill(served: Served, rounds: int) -> Bank:
    """Asks every variant its standard questions, through the door.

    Args:
        served: As `serving` gives it.
        rounds: Times that each question is asked of each variant.

    Raises:
        MissingError: The starter did not answer.
    """
    home = Home(served.server.home)
    questions = load_probe(home, NAME).questions
    client = DoorClient(f"http://127.0.0.1:{served.server.port}", served.server.key)
    found = {
        variant: [list(ask_all(client, f"{NAME}@{number}", questions, None, NAME)) for _ in range(rounds)]
        for variant, number in served.releases.items()
    }
    unanswered = [one.error for variant in (GOOD,) for each in found[variant] for one in each if one.error]
    if unanswered:
        raise MissingError(f"the starter did not answer: {unanswered[0]}")
    baseline = {
        question.id: baseline_of(question, [each[position] for each in found[GOOD]])
        for position, question in enumerate(questions)
    }
    compared = {
        variant: [[_compared(outcome, baseline[outcome.question]) for outcome in each] for each in own]
        for variant, own in found.items()
    }
    text = probe_file(home, NAME).read_text(encoding="utf-8")
    return Bank(questions, text, baseline, compared, dict(served.models))


def coarsen(source: Path, target: Path, levels: int, which: str) -> None:
    """Writes a copy of a model whose Q8_0 weights have few levels each: too coarse a quantization.

    Args:
        source: GGUF file.
        target: To write.
        levels: That each weight of a block of 32 can have; at least 2.
        which: Part of the names of the tensors.
    """
    content = bytearray(source.read_bytes())
    for tensor in GGUFReader(source).tensors:
        if tensor.tensor_type is not GGMLQuantizationType.Q8_0 or which not in tensor.name:
            continue
        begin = tensor.data_offset
        blocks = np.frombuffer(content, dtype=np.int8, count=tensor.n_bytes, offset=begin).reshape(-1, 34)
        step = 254 / levels
        index = np.clip(np.floor((blocks[:, 2:].astype(np.float64) + 127) / step), 0, levels - 1)
        rounded = np.clip(np.round(-127 + (index + 0.5) * step), -127, 127).astype(np.int8)
        made = np.concatenate([blocks[:, :2], rounded], axis=1)
        content[begin : begin + tensor.n_bytes] = made.tobytes()
    target.write_bytes(content)


def break_template(source: Path, target: Path) -> None:
    """Writes a copy of a model whose chat template puts a turn's role in the place of what the user said.

    Raises:
        MissingError: The template is not the one that this was written for.
    """
    content = source.read_bytes()
    if content.count(_ROLE) != 1:
        raise MissingError(f"the chat template of {source.name} has no {_ROLE.decode()!r} to break")
    target.write_bytes(content.replace(_ROLE, _NO_ROLE))


def _releases() -> dict[str, dict[str, Any]]:
    """Variant → what its release is made of."""
    greedy = {"temperature": 0}
    plain = {"model": "ticket-pilot", "sampling": greedy}
    nonsense = [{"user": "Hi, where is my order?", "assistant": "Blub blub blub."}] * 8
    return {
        GOOD: plain,
        PROMPT: {**plain, "prompt": {"system": _LONG_PROMPT}},
        **{made: {**plain, "model": made} for made in (*_LEVELS, TEMPLATE)},
        NONSENSE: {**plain, "prompt": {"examples": nonsense}},
        LANGUAGE: {**plain, "prompt": {"system": "Write the summary in Thai."}},
        HOT: {**plain, "sampling": {"temperature": 2}},
        EMPTY: {**plain, "sampling": {**greedy, "stop": ["{"]}},
    }


def _compared(outcome: Outcome, known: QuestionBaseline) -> Outcome:
    likeness = likeness_to(known, outcome.answer.text) if outcome.answer is not None else None
    return replace(outcome, likeness=likeness, noisy=known.noisy_checks())


def _init_probe(variables: Mapping[str, str]) -> None:
    subprocess.run(
        [str(product.COMMAND), "probe", "init", NAME, "--yes"],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        timeout=120,
    )
