"""What goes wrong in the years of `benchmarks.care`: each changes answers, times, use or files, and some the diary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.care_bank import COARSE, GOOD, NAME, PROMPT, SLIGHT, STARTER
from undercroft.core.home import Home
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.findings import Kind

# Of answers, that the years draw from.
VARIANTS = (GOOD, PROMPT, SLIGHT, COARSE)
_SPEED = frozenset({Kind.LATENCY, Kind.THROUGHPUT})
_ANSWERS = frozenset(
    {Kind.PASSES, Kind.SCORE, Kind.FORMAT, Kind.STYLE, Kind.ANSWER_LANGUAGE, Kind.REFUSALS, Kind.PROBE_FAILING}
)

# Action, subject, before and after of an entry of the journal.
_Entry = tuple[str, str, Mapping[str, Any] | None, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong at one moment, and is put right some days later.

    Args:
        name: What it is called in the report.
        kinds: Incidents that tell of it.
        measure: What is blamed; None where nobody is asked to blame.
        variant: Of the answers meanwhile.
        entry: Of the journal at that moment; None where the diary has nothing.
        undone: Of the journal when it is put right; None where the diary has nothing.
        cause: What the sentence of the likeliest cause must hold; empty: none may be named.
        slower: Factor of all times.
        busier: Factor of the number of requests.
        longer: Factor of the users' prompts.
        errors: Share of requests that fail.
        release: Number that answers meanwhile.
        act: Done to the home at that moment.
        leak_bytes_per_hour: That the replica grows by.
    """

    name: str
    kinds: frozenset[Kind]
    measure: Measure | None = None
    variant: str = GOOD
    entry: _Entry | None = None
    undone: _Entry | None = None
    cause: str = ""
    slower: float = 1.0
    busier: float = 1.0
    longer: float = 1.0
    errors: float = 0.0
    release: int = 1
    act: Callable[[Home], None] | None = None
    leak_bytes_per_hour: int = 0

    @property
    def key(self) -> str:
        """Its name, for names of figures."""
        return self.name.replace(" ", "_").replace("'", "")


def flip_a_bit(home: Home) -> None:
    """In the middle of the starter's stored file, as a disk does it that is dying."""
    whole = STARTER.read_bytes()
    path = next(p for p in home.blobs.rglob("*") if p.is_file() and p.read_bytes() == whole)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(len(whole) // 2)
        file.write(bytes([whole[len(whole) // 2] ^ 1]))


def _promoted(number: int) -> _Entry:
    return "release.promoted", f"{NAME}@{number}", {"tags": {"production": 1}}, {"tags": {"production": number}}


def _rolled_back(number: int) -> _Entry:
    return "release.rollback", f"{NAME}@1", {"tags": {"production": number}}, {"tags": {"production": 1}}


_FEW, _MANY = {"settings": {"threads": 1}}, {"settings": {"threads": 8}}
TROUBLES = (
    Trouble(
        "prompt edited",
        _SPEED | _ANSWERS,
        Measure.LATENCY,
        PROMPT,
        entry=_promoted(2),
        undone=_rolled_back(2),
        cause=f"put {NAME}@2",
        release=2,
    ),
    Trouble(
        "coarser quantization",
        _ANSWERS,
        Measure.QUALITY,
        COARSE,
        entry=_promoted(3),
        undone=_rolled_back(3),
        cause=f"put {NAME}@3",
        release=3,
    ),
    Trouble(
        "slightly coarser quantization",
        # A notice: listed, and told only where notices are.
        _ANSWERS | {Kind.ANSWERS},
        Measure.QUALITY,
        SLIGHT,
        entry=_promoted(4),
        undone=_rolled_back(4),
        cause=f"put {NAME}@4",
        release=4,
    ),
    Trouble(
        "new neighbour",
        _SPEED,
        Measure.LATENCY,
        entry=("deployment.create", "other", None, {"model": "coarse"}),
        undone=("deployment.remove", "other", {"model": "coarse"}, None),
        cause="began to serve other",
        slower=2.2,
    ),
    Trouble(
        "fewer threads",
        _SPEED,
        Measure.LATENCY,
        entry=("deployment.change", NAME, _MANY, _FEW),
        undone=("deployment.change", NAME, _FEW, _MANY),
        cause=f"changed the settings of {NAME}",
        slower=1.8,
    ),
    Trouble("another program's load", _SPEED, Measure.LATENCY, slower=2.5),
    Trouble(
        "more requests", _SPEED | {Kind.INPUT_LENGTH}, Measure.LATENCY, cause="Requests went", slower=1.7, busier=5.0
    ),
    Trouble(
        "longer questions",
        _SPEED | {Kind.INPUT_LENGTH},
        Measure.LATENCY,
        cause="Prompts went",
        slower=1.7,
        longer=5.0,
    ),
    Trouble(
        "release that fails",
        frozenset({Kind.ERRORS, Kind.PASSES, Kind.PROBE_FAILING}),
        Measure.ERRORS,
        entry=_promoted(2),
        undone=_rolled_back(2),
        cause=f"put {NAME}@2",
        errors=0.25,
        release=2,
    ),
    Trouble(
        "dearer prompt",
        _SPEED | _ANSWERS | {Kind.INPUT_LENGTH},
        Measure.COST,
        PROMPT,
        entry=_promoted(2),
        undone=_rolled_back(2),
        cause=f"put {NAME}@2",
        release=2,
    ),
    Trouble("leak", frozenset({Kind.MEMORY_LEAK}), Measure.MEMORY, leak_bytes_per_hour=30 * 1024**2),
    # The last of each year: a damaged file stays damaged.
    Trouble("flipped bit", frozenset({Kind.WEIGHTS_CHANGED}), act=flip_a_bit),
)
