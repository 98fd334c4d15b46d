"""What a recipe says of a step that converts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from undercroft.optimize.recipe_fields import Name, Part

# What weights can be kept in, by format.
TYPES_OF: Mapping[str, tuple[str, ...]] = {
    "gguf": ("f32", "f16", "bf16", "q8_0"),
    "onnx": ("f32", "int8", "int4"),
    "executorch": ("f32", "int8"),
    "litert": ("f32", "int8"),
    "triton": ("f32", "f16"),
    "tensorrt": ("f32", "f16"),
}


class Convert(Part):
    """From the form in which a model is published to one that an engine here, or a device, runs."""

    to: Literal["gguf", "onnx", "executorch", "litert", "triton", "tensorrt"] = Field(
        description="The format: for llama.cpp, onnxruntime or devices; Triton of an encoder in ONNX."
    )
    type: Literal["f32", "f16", "bf16", "q8_0", "int8", "int4"] | None = Field(
        None, description="What the weights are kept in; GGUF: BF16 where they are published so, else F16. Others: F32."
    )
    version: int | None = Field(
        None,
        ge=1,
        le=999_999_999,
        description="triton, tensorrt: number of the version in the repository; 1 if left out.",
    )
    base: Name | None = Field(
        None, description="gguf, of an adapter: its base as a GGUF; one that was converted here if left out."
    )

    @model_validator(mode="after")
    def _has_a_type_of_its_format(self) -> Self:
        if self.type is not None and self.type not in TYPES_OF[self.to]:
            more = "; in F16 it does not run on processors" if (self.to, self.type) == ("onnx", "f16") else ""
            raise ValueError(f"type: expected {' or '.join(TYPES_OF[self.to])} for {self.to}, got {self.type}{more}")
        if self.version is not None and self.to not in ("triton", "tensorrt"):
            raise ValueError(f"version: belongs to triton and tensorrt, {self.to} has none")
        if self.base is not None and self.to != "gguf":
            raise ValueError(f"base: belongs to gguf, of an adapter; {self.to} knows no adapters")
        return self
