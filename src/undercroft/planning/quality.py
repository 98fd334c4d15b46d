"""What quantizing costs in quality, and in which order quantizations are tried. Pure.

Source: Llama 3 8B, perplexity on WikiText-2 and mean KL divergence to F16, llama.cpp, with an importance matrix where
that is usual. Smaller models lose more, larger ones less.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quality:
    """Of a quantization.

    Args:
        quantization: Its name.
        divergence: Mean KL divergence to F16; 0 is the same.
        perplexity: Of Llama 3 8B; F16 has 6.233.
        words: What it means.
    """

    quantization: str
    divergence: float
    perplexity: float
    words: str


# The best first. F16 stands first and is not recommended: Q8_0 cannot be told from it and takes half.
QUALITIES: tuple[Quality, ...] = (
    Quality("F16", 0.0, 6.233, "as trained"),
    Quality("Q8_0", 0.0014, 6.234, "not to be told from F16"),
    Quality("Q6_K", 0.0055, 6.253, "hardly to be told from F16"),
    Quality("Q5_K_M", 0.011, 6.289, "very small loss"),
    Quality("Q4_K_M", 0.028, 6.383, "small loss, the usual choice"),
    Quality("IQ4_XS", 0.036, 6.460, "small loss, smaller file"),
    Quality("Q3_K_M", 0.084, 6.734, "noticeable loss"),
    Quality("Q2_K", 0.445, 9.75, "large loss: take a smaller model instead"),
)
BY_NAME = {quality.quantization: quality for quality in QUALITIES}
RECOMMENDED = tuple(q.quantization for q in QUALITIES if q.quantization not in ("F16", "Q2_K"))
# Where layers stay on the processor, what is read counts more than the last bit of quality.
RECOMMENDED_OFFLOADED = ("Q4_K_M", "IQ4_XS", "Q3_K_M", "Q5_K_M", "Q6_K", "Q8_0")
# Formats of engines that read safetensors, the best first.
OTHER_ENGINES = {"vllm": ("BF16", "FP8", "AWQ"), "onnxruntime": ("FP32", "INT8")}
