"""What was measured of one model, item by item; nothing here is a figure of a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came of one task.

    Args:
        id: Of the task.
        language: As the task says; None where it says none.
        has_passed: An answer came, and every check passed.
        score: 0.0 to 1.0: the mean of its checks by their weights; 0 without an answer.
        failed: Names of the checks that failed.
        total_seconds: From sending to the end; None without an answer.
        first_token_seconds: From sending to the first token; None where none came.
        prompt_tokens: As the engine counted; None where it did not tell.
        answer_tokens: As the engine counted; None where it did not tell.
        answer_digest: ``sha256:`` and 64 hex digits of the answer's text; empty without one.
        error: What the engine said instead of an answer; empty where one came.
        has_valid_format: Whether the answer is JSON, and as the schema wants it, where its checks ask for JSON; None
            where they do not.
    """

    id: str
    language: str | None
    has_passed: bool
    score: float
    failed: tuple[str, ...] = ()
    total_seconds: float | None = None
    first_token_seconds: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    answer_digest: str = ""
    error: str = ""
    has_valid_format: bool | None = None

    @property
    def speaking_seconds(self) -> float:
        """Time of all tokens after the first; 0 where there are not two, or it is not known."""
        if self.answer_tokens is None or self.first_token_seconds is None or self.total_seconds is None:
            return 0.0
        return max(0.0, self.total_seconds - self.first_token_seconds) if self.answer_tokens > 1 else 0.0


@dataclass(frozen=True, slots=True)
class TextRecord:
    """What a model thought of one text.

    Args:
        name: Of the text, unlike those of the others.
        language: Code; None where it is not known.
        tokens: That were predicted; count.
        nats: Sum of their negative log-likelihoods.
        bytes: Of the text that those tokens stand for; count.
        kl_nats: Sum over the same tokens of the Kullback-Leibler divergence from the parent; None without a parent.
        same_top: Tokens whose likeliest was the parent's, too; None without a parent.
    """

    name: str
    language: str | None
    tokens: int
    nats: float
    bytes: int
    kl_nats: float | None = None
    same_top: int | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory that was seen of the engine's process, from loading to the last answer.

    Args:
        private_bytes: Cache, buffers, repacked weights.
        file_bytes: Mapped pages of files, mostly weights.
        gpu_bytes: By GPU index; empty where there is none or it cannot be told.
        samples: Looks; count.
    """

    private_bytes: int
    file_bytes: int
    gpu_bytes: Mapping[int, int]
    samples: int


@dataclass(frozen=True, slots=True)
class Energy:
    """What a meter of this machine counted while the tasks ran, everything else on the machine with it.

    Args:
        joules: Used.
        meter: Which meter.
    """

    joules: float
    meter: str


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that was measured.

    Args:
        name: In the registry, or the name of its file.
        digest: Of its content; empty where it was not computed.
        size_bytes: Of its files.
        quantization: Kind of most weights; ``unknown`` where the file does not say.
        parameters: Count; None where the file does not say.
    """

    name: str
    digest: str
    size_bytes: int
    quantization: str
    parameters: int | None


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """One figure of one standard suite, as `lm-eval` gives it.

    Args:
        suite: Its name, or that of a group of suites.
        metric: ``acc``, ``acc_norm``, ``exact_match``, ``word_perplexity`` …
        filter: What was done to the answers before they were judged; ``none``.
        value: Of all items.
        standard_error: None where there is none.
        count: Items.
        is_more_better: Whether a larger value is better.
        shots: Examples before each question.
        version: Of the suite.
        values: What each item adds, in the suite's order, where the figure is their mean; else empty.
    """

    suite: str
    metric: str
    filter: str
    value: float
    standard_error: float | None
    count: int
    is_more_better: bool
    shots: int
    version: str
    values: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """``arc_easy acc``; with the filter where there is one."""
        return f"{self.suite} {self.metric}" + ("" if self.filter == "none" else f" ({self.filter})")


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was measured of one model.

    Args:
        subject: The model.
        items: In the order of the task set; empty where no task was asked.
        texts: In the order of the files; empty where no text was read.
        seconds: From the first question to the last answer, several at once; 0 where no task was asked.
        load_seconds: From the start of the engine to its first answer.
        peak: Of memory; None where it could not be seen.
        energy: None where the machine has no meter that may be read.
        suites: Figures of standard suites, in their order; empty where none was asked.
    """

    subject: Subject
    items: tuple[ItemResult, ...] = ()
    texts: tuple[TextRecord, ...] = ()
    seconds: float = 0.0
    load_seconds: float = 0.0
    peak: Peak | None = None
    energy: Energy | None = None
    suites: tuple[SuiteScore, ...] = ()
