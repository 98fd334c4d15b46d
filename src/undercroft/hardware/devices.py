"""A device of the catalogue: what one could buy, with the source of every figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["gpu", "accelerator", "soc", "npu", "cpu"]
Maturity = Literal["well-trodden", "works", "young", "none"]


@dataclass(frozen=True, slots=True)
class Price:
    """What it cost when somebody looked.

    Args:
        usd: List price, United States dollars; of what ``what`` says.
        year: Of the source.
        source: Where it stands.
        what: ``card``, ``module``, ``developer kit``, ``processor``, ``computer``, or ``hour`` (rent).
    """

    usd: float
    year: int
    source: str
    what: str = "card"


@dataclass(frozen=True, slots=True)
class Device:
    """One entry; figures are those of its maker.

    Args:
        id: ``nvidia-l4``; what ``--device`` takes.
        name: As its maker calls it.
        vendor: As `undercroft.hardware.machine.Vendor`.
        kind: What it is.
        year: It came out.
        memory_bytes: Its own, or of the whole computer where it is unified; 0 for an NPU that uses the host's.
        bandwidth_bytes: Of its memory, bytes a second.
        is_unified: Host and accelerator share the memory.
        tflops: Dense 10^12 a second: ``fp32``, ``fp16``, ``bf16``, ``fp8``, ``int8``, ``fp4``, ``int4``.
        watts: Board or package power at full load; 0 where its maker does not say.
        price: None where it is not sold or no price was found.
        engines: Engine → how well-trodden: ``llama.cpp``, ``vllm``, ``onnxruntime``, ``tensorrt``, ``executorch`` …
        remark: What a buyer should know, one or two sentences.
        sources: Field → where the figure stands.
        match: Lower-case texts; a detected device whose name holds all words of one of them is this one.
        reported_bytes: Of its memory, what its driver says it has, after error correction and what the firmware
            keeps; 0 where nobody wrote it down.
        rent: What an hour of it costs in a cloud's price list; None where none was found.
        unpriced: Why there is no price, as a part of a sentence; empty where there is one or nobody said.
    """

    id: str
    name: str
    vendor: str
    kind: Kind
    year: int
    memory_bytes: int
    bandwidth_bytes: float
    is_unified: bool
    tflops: Mapping[str, float]
    watts: float
    price: Price | None
    engines: Mapping[str, Maturity]
    remark: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    match: tuple[str, ...] = ()
    reported_bytes: int = 0
    rent: Price | None = None
    unpriced: str = ""

    @property
    def purchase(self) -> Price | None:
        """What buying one costs; None for what is only rented, or has no list price."""
        return None if self.price is None or self.price.what == "hour" else self.price
