"""What every engine can do, and what the states of a replica mean.

    state      what is true                                  effect on the server
    ─────────  ────────────────────────────────────────────  ─────────────────────────────────────────────
    starting   the process was begun, its model is loading   no request is sent; the start deadline runs
    warming    it answers, the first real request is under   no request is sent; the start deadline runs
               way
    ready      it has answered a real request                requests are sent; health is watched
    stopping   it was told to end                            no new request is sent; running ones may end
    stopped    it has ended because it was told to           its folder is removed
    failed     it ended by itself, was killed for silence,   back-off, then a new one is started;
               or never became ready                         its log stays

An engine is not trusted: it gets its own process, an empty network where the kernel allows, a fresh key, a clean
environment and a memory limit. Everything here is synchronous and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

from undercroft.core.processes import ProcessIdentity


class ReplicaState(StrEnum):
    """See the table above."""

    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Task(StrEnum):
    """What a model is for; one replica does one."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    CLASSIFY = "classify"


class Health(StrEnum):
    """One look at an engine."""

    LOADING = "loading"  # alive, not ready to answer yet
    HEALTHY = "healthy"  # its main loop answered
    SILENT = "silent"  # alive, and no answer within the time given
    DEAD = "dead"  # the process is gone, or for external: nobody accepts connections


Dtype = Literal["auto", "float16", "bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA that is loaded beside the model.

    Args:
        name: What requests call it.
        path: GGUF file.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class KserveModel:
    """How a model is asked that speaks KServe's protocol, version 2, in place of OpenAI's.

    Args:
        name: What the server calls it.
        texts: Inputs that take texts: one, or the query and the document.
        answer: Output with a row for each input.
        tokens: Output with the tokens of each input, before any was cut; None where it gives none.
        most_inputs: Of one request; count.
        most_tokens: Longest input, which the server cuts longer ones to; 0 where that is not known.
        labels: Of a classifier, by the number of its output; empty where it names none.
        is_grpc: It is asked over gRPC, in Protocol Buffers; else over HTTP, in JSON.
    """

    name: str
    texts: tuple[str, ...]
    answer: str
    tokens: str | None
    most_inputs: int
    most_tokens: int
    labels: tuple[str, ...] = ()
    is_grpc: bool = False


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Everything an engine needs to start one replica. The same for every engine; each takes what it knows.

    Args:
        replica_id: ``rep_`` and 12 characters; also the name of its folder.
        digest: Digest of everything below that a running replica cannot change; goes into the record unchanged.
        name: The deployment; what the engine calls the model in its answers.
        task: What the model is for.
        run_dir: The replica's own folder, mode 0700; socket, key and record lie here.
        log_path: The engine's output is appended here, and rotated.
        model_path: Weights: a file, or a folder with a published model's files; None for ``external``.
        context_tokens: Tokens of one request, prompt and answer together; per slot.
        slots: Requests computed at the same time.
        threads: CPU threads; 0 means the physical cores there are.
        gpu_layers: Layers put on a GPU; -1 means all that fit, 0 none.
        cache_type: How keys and values are kept.
        chat_template: Jinja text in place of the model's own; None keeps it.
        adapters: LoRAs, loaded with scale 0 and chosen per request.
        memory_limit_bytes: Most private memory of the process; None is no limit.
        environment: Folder of the Python environment that the engine is installed in; None for one that is built in.
        dtype: Of weights and activations while computing; ``auto`` is as the model says. Not for llama.cpp.
        gpus: That share every layer; 0 computes on processors. Not for llama.cpp.
        gpu_memory_ratio: Share of each of these that is taken at the start, 0 to 1; None without GPUs.
        cache_bytes: Of keys and values, taken at the start; None where the engine reckons by itself.
        seal_required: Refuse to start where the kernel gives no empty network.
        url: Base URL of an ``external`` engine, without ``/v1``; of ``triton`` also ``grpc(s)://host:port``.
        upstream_model: What an ``external`` engine calls the model; None means ``name``.
        key_file: File with the key of an ``external`` engine; None sends none.
        ca_file: Certificates that an ``external`` engine is trusted by, PEM; None is the system's.
        metrics_port: Where ``triton`` tells its metrics, on the host of ``url``; 0 is Triton's own, 8002.
    """

    replica_id: str
    name: str
    task: Task
    run_dir: Path
    log_path: Path
    model_path: Path | None = None
    context_tokens: int = 4096
    slots: int = 1
    threads: int = 0
    gpu_layers: int = -1
    cache_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    chat_template: str | None = None
    adapters: tuple[Adapter, ...] = ()
    memory_limit_bytes: int | None = None
    environment: Path | None = None
    dtype: Dtype = "auto"
    gpus: int = 0
    gpu_memory_ratio: float | None = None
    cache_bytes: int | None = None
    seal_required: bool = False
    url: str | None = None
    upstream_model: str | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    metrics_port: int = 0
    digest: str = ""

    @property
    def answers_as(self) -> str:
        """What the engine calls the model in its answers: the name that clients ask for, without a release."""
        return self.name.partition("@")[0]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """A started replica, as kept in its folder so that a later control process can adopt it.

    Args:
        replica_id: As in the spec.
        engine: Name of the engine, the key of `undercroft.engines.all.ENGINES`.
        deployment: The deployment that it serves.
        spec_digest: The spec's ``digest``; a replica whose digest is not wanted any more is replaced.
        pid: Process id; None for ``external``.
        process_started: Start time of that process, seconds since the epoch; None for ``external``.
        socket_path: Unix socket that it listens on, or None where it listens on ``base_url``.
        base_url: ``http://127.0.0.1:PORT`` where no Unix socket is possible, or an external server's URL.
        key_file: File that holds the key it asks for; None where it asks for none.
        is_sealed: It has an empty network namespace of its own, seen from outside.
        seal_note: In plain words, how it is sealed or why it is not.
        started_at: ISO 8601, UTC.
        upstream_model: What to call the model in requests to it; None where the engine does not look.
        run_dir: The replica's own folder.
        log_path: File that its output goes to; None for ``external``.
        ca_file: Certificates that it is trusted by; None is the system's.
        interface: What ``triton`` is asked through: its OpenAI frontend, or KServe's protocol.
        metrics_port: Where it tells its metrics, on the host of ``base_url``; None is where it answers.
    """

    replica_id: str
    engine: str
    deployment: str
    spec_digest: str
    pid: int | None
    process_started: float | None
    socket_path: str | None
    base_url: str | None
    key_file: str | None
    is_sealed: bool
    seal_note: str
    started_at: str
    upstream_model: str | None = None
    run_dir: str | None = None
    log_path: str | None = None
    ca_file: str | None = None
    interface: Literal["openai", "kserve"] = "openai"
    metrics_port: int | None = None

    @property
    def process(self) -> ProcessIdentity | None:
        """The process, safe against reused pids; None for ``external``."""
        if self.pid is None or self.process_started is None:
            return None
        return ProcessIdentity(self.pid, self.process_started)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a ready replica can do, as it says itself.

    Args:
        tasks: Route families that work: ``chat``, ``completions``, ``embeddings``, ``rerank``,
            ``classify``.
        has_tools: Its chat template knows tools.
        context_tokens: Tokens of one request; 0 where it does not say.
        slots: Requests computed at the same time.
        adapters: Names of adapters in the order of their ids; requests to llama.cpp must always name each with a scale.
        protocol: ``llama.cpp`` speaks llama.cpp's dialect (timings, ``lora``), ``openai`` only what OpenAI documents.
        kserve: How it is asked where it speaks KServe's protocol; None elsewhere.
    """

    tasks: frozenset[str]
    has_tools: bool
    context_tokens: int
    slots: int
    adapters: tuple[str, ...] = ()
    protocol: Literal["llama.cpp", "openai"] = "openai"
    kserve: KserveModel | None = None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the first real request measured.

    Args:
        seconds: From sending it to the end of its answer.
        tokens_per_second: Of its generation; None where the task generates nothing.
    """

    seconds: float
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Memory of an engine process.

    Args:
        private_bytes: Anonymous memory: cache, buffers, repacked weights; the kernel cannot drop it.
        file_bytes: Mapped file pages, mostly weights; the kernel may drop and read them again.
        gpu_bytes: Memory by GPU index; empty where there is none or it cannot be told.
    """

    private_bytes: int
    file_bytes: int
    gpu_bytes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What an engine says of itself in its ``/metrics``. Counters begin with its start; None is not said.

    Args:
        running: Requests that are computed now.
        waiting: Requests that wait in the engine.
        cache_ratio: Share of the cache of keys and values that is in use, 0 to 1.
        prompt_tokens: Of all prompts; counter.
        answer_tokens: Of all answers; counter.
        prefix_asked_tokens: Prompt tokens that were looked for in the cache of earlier prompts; counter.
        prefix_found_tokens: Of these, tokens that were found and not computed again; counter.
        preemptions: Requests that had to give up their cache for others and begin again; counter.
    """

    running: float | None = None
    waiting: float | None = None
    cache_ratio: float | None = None
    prompt_tokens: float | None = None
    answer_tokens: float | None = None
    prefix_asked_tokens: float | None = None
    prefix_found_tokens: float | None = None
    preemptions: float | None = None


class Engine(Protocol):
    """One program that runs models. In tests the programs are stand-ins, which are real processes, too."""

    name: str

    def start(self, spec: EngineSpec) -> EngineRecord:
        """Begins a replica and returns at once; its record is already in its folder.

        Raises:
            InvalidError: The spec asks for what this engine cannot do.
            UnavailableError: The process cannot be started, or not sealed where that is required.
            RefusedError: It would send requests to a host that is not allowed.
        """
        ...

    def look(self, record: EngineRecord, *, timeout_seconds: float) -> Health:
        """One look, never raising: is it alive, and does its main loop answer?"""
        ...

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """What it can do. Only for a healthy replica.

        Raises:
            UnavailableError: It did not answer.
        """
        ...

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """Sends one real, short request of the spec's task and waits for its answer.

        Raises:
            UnavailableError: It did not answer, or with an error.
        """
        ...

    def figures(self, record: EngineRecord) -> EngineFigures | None:
        """What it counted so far; None where it counts nothing, or did not answer."""
        ...

    def memory(self, record: EngineRecord) -> EngineMemory | None:
        """What it takes now; None for a process on another machine or one that is gone."""
        ...

    def is_busy(self, record: EngineRecord) -> bool:
        """Whether it still computes requests, so that a stop should wait. False where it cannot be told."""
        ...

    def failure(self, record: EngineRecord) -> str | None:
        """Why it ended or will not start, in one sentence out of its log; None where the log does not say."""
        ...

    def stop(self, record: EngineRecord, *, grace_seconds: float) -> None:
        """Asks it to end, waits, kills, and leaves no process and no folder. Does nothing where both are gone."""
        ...
