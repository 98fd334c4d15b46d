"""The form of one device in YAML, and what is wrong with one that does not have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from undercroft.core import wrong_values
from undercroft.hardware.devices import Device, Kind, Maturity, Price
from undercroft.hardware.machine import Vendor

Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4", "int4"]

_ID = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_SIZES = {"MiB": 1024**2, "GiB": 1024**3}
_RATES = {"GB/s": 10**9, "TB/s": 10**12}


def _quantity(text: object, units: Mapping[str, int]) -> float:
    if text == 0:
        return 0
    found = re.fullmatch(r"(\d+(?:\.\d+)?) (\S+)", text) if isinstance(text, str) else None
    if found is None or found[2] not in units:
        raise ValueError(f"expected a number and {' or '.join(units)}, such as '24 {next(iter(units))}', got {text!r}")
    return float(found[1]) * units[found[2]]


Size = Annotated[int, BeforeValidator(lambda text: int(_quantity(text, _SIZES)))]
RateOfBytes = Annotated[float, BeforeValidator(lambda text: _quantity(text, _RATES))]
Text = Annotated[str, Field(min_length=1, max_length=400)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PriceEntry(BaseModel):
    """A price in YAML; fields as in `Price`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    usd: Positive
    year: int = Field(ge=2010, le=2100)
    source: Text
    what: Literal["card", "module", "developer kit", "processor", "computer", "hour"] = "card"

    def to_price(self) -> Price:
        return Price(usd=self.usd, year=self.year, source=self.source, what=self.what)


class Entry(BaseModel):
    """A device in YAML; fields as in `Device`, sizes with their unit: ``24 GiB``, ``300 GB/s``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Text
    vendor: Vendor
    kind: Kind
    year: int = Field(ge=2010, le=2100)
    memory: Size
    reported: Size = 0
    bandwidth: RateOfBytes
    unified: bool = False
    tflops: dict[Dtype, Positive]
    watts: float = Field(ge=0, le=100_000)
    price: PriceEntry | None = None
    rent: PriceEntry | None = None
    unpriced: Annotated[str, Field(max_length=400)] = ""
    engines: dict[Text, Maturity]
    remark: str = ""
    sources: dict[Text, Text]
    match: list[Text] = []

    @model_validator(mode="after")
    def _has_sources(self) -> Entry:
        figures = {"memory": self.memory, "bandwidth": self.bandwidth, "tflops": self.tflops, "watts": self.watts}
        missing = [name for name, value in figures.items() if value and name not in self.sources]
        if missing:
            raise ValueError(f"sources: no source is named for {', '.join(missing)}")
        return self

    def to_device(self, id: str) -> Device:
        return Device(
            id=id,
            name=self.name,
            vendor=self.vendor,
            kind=self.kind,
            year=self.year,
            memory_bytes=self.memory,
            bandwidth_bytes=self.bandwidth,
            is_unified=self.unified,
            tflops={str(dtype): value for dtype, value in self.tflops.items()},
            watts=self.watts,
            price=self.price.to_price() if self.price else None,
            engines=dict(self.engines),
            remark=self.remark,
            sources=dict(self.sources),
            match=tuple(text.lower() for text in self.match),
            reported_bytes=self.reported,
            rent=self.rent.to_price() if self.rent else None,
            unpriced="" if self.price else self.unpriced,
        )


def problems_of(id: str, raw: Mapping[str, Any]) -> Entry | list[str]:
    """The checked entry, or every problem it has as ``field: what is wrong``."""
    problems = [] if _ID.fullmatch(id) else ["the id: expected lower-case words joined by '-', such as 'nvidia-l4'"]
    try:
        entry = Entry.model_validate(dict(raw))
    except ValidationError as error:
        return problems + wrong_values.problems_of(error, is_yaml=True)
    return problems or entry
