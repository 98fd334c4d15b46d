"""Every constant of the speed forecast in one place, with its range and where it comes from.

None of these was measured on accelerators by this project: no GPU was at hand. They are fitted to published figures,
which ``tests/unit/planning/test_speed_published.py`` keeps. The processor's were measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from undercroft.planning.targets import Rate

# Decode rate of a quantization against F16, per byte read, on a device of REFERENCE_BALANCE; a mix is read as the types
# that it is made of.
_PUBLISHED = "ratio to F16 per byte read, llama.cpp on 8B models"
_BETWEEN = "interpolated between its neighbours of the published table"
READ_EFFICIENCY: Mapping[str, tuple[float, str]] = {
    "F32": (1.0, _BETWEEN),
    "F16": (1.0, _PUBLISHED),
    "BF16": (1.0, _BETWEEN),
    "Q8_0": (0.93, _PUBLISHED),
    "Q6_K": (0.83, _PUBLISHED),
    "Q5_K": (0.79, _BETWEEN),
    "Q5_1": (0.80, _BETWEEN),
    "Q5_0": (0.80, _BETWEEN),
    "Q4_1": (0.80, _BETWEEN),
    "Q4_0": (0.88, "RTX 3090, 8B, 155 tokens/s (llama.cpp #15802)"),
    "MXFP4": (0.80, _BETWEEN),
    "Q4_K": (0.75, _PUBLISHED),
    "IQ4_XS": (0.74, _PUBLISHED),
    "IQ4_NL": (0.75, _BETWEEN),
    "Q3_K": (0.65, _BETWEEN),
    "IQ3_S": (0.62, _BETWEEN),
    "IQ3_XXS": (0.60, _BETWEEN),
    "Q2_K": (0.54, _PUBLISHED),
    "IQ2_S": (0.50, _BETWEEN),
    "IQ2_XS": (0.50, _BETWEEN),
    "IQ2_XXS": (0.50, _BETWEEN),
    "IQ1_S": (0.45, _BETWEEN),
    "IQ1_M": (0.45, _BETWEEN),
    "FP8": (0.95, "assumption: as Q8_0, unpacked in hardware"),
    "INT8": (0.93, "assumption: as Q8_0"),
    "AWQ": (0.85, "assumption: Marlin kernels of vLLM"),
    "GPTQ": (0.85, "assumption: Marlin kernels of vLLM"),
    "INT4": (0.85, "assumption: Marlin kernels of vLLM"),
}
UNKNOWN_EFFICIENCY = (0.70, "assumption for a type that is not in the table")

# Unpacking takes arithmetic, so what it costs depends on how much a device has for each byte that it reads. FP32
# operations a byte: RTX 4090 82, RTX 3090 38, M4 36, H100 20, A100 10. The shortfall of the table is scaled with
# REFERENCE_BALANCE / balance within the limits. Fitted to decode rates at Q4_K_M of 3B to 31B models on RTX 4080 and
# 4090, A100 SXM and H100 SXM (pavlokhmel.com, 2026-06): median error under 15 % with it, 24 % without.
REFERENCE_BALANCE = 35.0
LEAST_SHORTFALL, MOST_SHORTFALL = 0.5, 2.0
SHORTFALL_SPREAD = Rate(1.0, 0.3, 1.6, "M4 at Q4_K_M reads as fast as F16 (normiebench #3); older kernels are slower")

# Seconds a layer takes beside reading: launches of kernels, small operations, waiting. By kind and vendor.
_LAUNCH_SOURCE = "fitted to 1B to 31B models of pavlokhmel.com (2026-06) and the A100 sweep of johnmusgrave.com"
LAYER_OVERHEAD: Mapping[tuple[str, str], Rate] = {
    ("gpu", "nvidia"): Rate(38e-6, 12e-6, 100e-6, _LAUNCH_SOURCE),
    ("gpu", "amd"): Rate(80e-6, 30e-6, 200e-6, "assumption: ROCm launches take longer than CUDA's"),
    ("unified", "nvidia"): Rate(
        250e-6, 80e-6, 600e-6, "Jetson Orin Nano, Qwen 1.5B Q4_K_M at 32 tokens/s (realizar #120)"
    ),
    ("unified", "apple"): Rate(70e-6, 25e-6, 150e-6, "M5, TinyLlama Q4_0 at 150 tokens/s (llama.cpp #16634)"),
    ("cpu", ""): Rate(38e-6, 15e-6, 90e-6, "fitted to 23 files of 9 models in the engine, EPYC, 2 threads, 2026-11-21"),
}
# Cards with stacked memory run at lower clocks, and their launches weigh more beside what they read.
STACKED_MEMORY_BANDWIDTH = 1.15e12
STACKED_MEMORY_OVERHEAD = Rate(85e-6, 35e-6, 130e-6, _LAUNCH_SOURCE)
OTHER_LAYER_OVERHEAD = Rate(120e-6, 40e-6, 400e-6, "assumption: a young software stack")
# Sampling looks at each token of the vocabulary on the host.
SAMPLING_SECONDS_PER_TOKEN = Rate(2e-9, 0.7e-9, 6e-9, "measured here: llama.cpp's default samplers")
STEP_SECONDS = Rate(0.15e-3, 0.05e-3, 0.5e-3, "measured here: server loop, one frame through the door 0.024 ms")


# What a layer of a processor takes beyond that: for each value of its width, for each further sequence of a step, and
# for each expert that a token is sent to. Of the same fit; the starter (6 layers of 192) answered with 2,155 tokens/s.
WIDTH_SECONDS, SEQUENCE_SECONDS, EXPERT_SECONDS = 35e-9, 34e-6, 16e-6


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a processor spends on a weight of a type, in FP32 operations of the assumed peak (see ``targets_of``).

    Args:
        alone: For the one token of one sequence, beside reading: what is not done while memory is waited for.
        waiting: Once, where there are two tokens and more: they are multiplied with a few rows at a time, which is not
            what a core's prefetching follows.
        together: For each of two to fifteen tokens, beside that.
        prompt: For each of `PROMPT_COLUMNS` tokens and more.
        expert: For a token of a prompt and a weight of an expert, which is multiplied with one token after the other.
    """

    alone: float
    waiting: float
    together: float
    prompt: float
    expert: float


# Two threads on an EPYC of 2024 with AVX-512: seconds a weight times 368e9 FP32 operations a second, which its products
# came to. F16, Q8_0, Q6_K, Q5_0, Q4_K, Q4_0, IQ4_XS, Q3_K and Q2_K: least squares over 23 files of 9 models in the
# engine, one, two and four sequences and prompts (benchmarks.sizing_speed), drawn towards what the kernels took when
# called one by one, weights in the core's cache. The others: as those calls took (xllamacpp 2026.10), or a type of the
# fit that is like them. Types that llama.cpp rearranges for AVX2 (Q4_0, Q4_K, IQ4_NL) as they are then.
PROCESSOR_SOURCE = "fitted to 23 files of 9 models in the engine, EPYC, AVX-512, 2026-11-21"
PROCESSOR_KERNELS: Mapping[str, Kernel] = {
    "F32": Kernel(4.0, 14.0, 6.9, 7.0, 14.0),
    "F16": Kernel(2.0, 14.0, 4.8, 7.0, 7.4),
    "BF16": Kernel(3.0, 14.0, 5.7, 7.0, 10.8),
    "Q8_0": Kernel(4.0, 21.0, 3.3, 4.7, 6.9),
    "Q6_K": Kernel(5.6, 5.9, 6.1, 3.5, 6.7),
    "Q5_K": Kernel(7.5, 8.0, 7.5, 3.4, 7.5),
    "Q5_0": Kernel(9.8, 23.0, 6.1, 6.6, 8.9),
    "Q5_1": Kernel(8.6, 8.0, 8.6, 8.0, 8.6),
    "Q4_K": Kernel(2.2, 2.7, 2.7, 3.9, 5.2),
    "Q4_0": Kernel(2.5, 2.7, 3.0, 4.0, 5.6),
    "Q4_1": Kernel(8.0, 8.0, 8.0, 6.0, 8.0),
    "IQ4_NL": Kernel(2.5, 2.7, 3.0, 4.0, 5.6),
    "IQ4_XS": Kernel(7.7, 8.2, 7.3, 3.4, 7.5),
    "Q3_K": Kernel(7.4, 7.2, 6.6, 3.3, 7.1),
    "Q2_K": Kernel(6.1, 6.8, 5.3, 3.2, 5.8),
}
# Bytes a second that one core reads while it computes. Where all cores together could read more than memory delivers,
# one computes while others read, and only the longer of the two counts. Measured here: one thread of an EPYC.
CORE_BANDWIDTH = 25e9
# How far one network's seconds may lie from another's on a processor where all else is known: nine of ten measured
# answers, each network forecast with a fit of the others.
NETWORK_SPREAD = Rate(1.0, 0.78, 1.28, "nine networks, each forecast with a fit of the others, 2026-11-21")
# The same for a product with many tokens of weights as they lie in their file, which `hardware measure` computes.
PRODUCT_OPERATIONS: Mapping[str, float] = {
    "f32": 6.7,
    "f16": 6.7,
    "bf16": 6.7,
    "q8_0": 4.4,
    "q6_k": 3.5,
    "q4_k": 3.3,
    "q4_0": 4.9,
}
OTHER_KERNEL = Kernel(13.0, 8.0, 13.0, 7.0, 13.0)
PROMPT_COLUMNS = 16
PROCESSOR_SPREAD = (0.65, 1.6)  # of the arithmetic above, on processors that were not measured

# Share of the dense tensor rate that a long prompt gets. llama.cpp's share falls on large cards: rate x share /
# (1 + rate / knee). RTX 3090 Ti 53, RTX 4090 91 to 146, M4 2.9 TFLOP/s (llama.cpp #4812, #4766, #7716, #4167).
PREFILL_SHARE: Mapping[str, Rate] = {
    "llama.cpp": Rate(0.90, 0.40, 1.3, "llama-bench pp512 in llama.cpp #4766, #4812, #7716 and discussion 4167"),
    "vllm": Rate(0.50, 0.30, 0.65, "assumption: model FLOP utilisation of prefill in vLLM"),
    "onnxruntime": Rate(0.35, 0.15, 0.60, "assumption"),
}
PREFILL_KNEE: Mapping[str, float] = {"llama.cpp": 300e12}
# Share of that rate which a decode step of few sequences gets for each further one.
# RTX 3090, 8B Q4_0: 155 tokens/s alone, 469 with 4, 571 with 8 sequences (llama.cpp #15802); A100: 6.6 x with 8 (vLLM).
BATCH_SHARE: Mapping[str, Rate] = {
    "llama.cpp": Rate(0.40, 0.20, 0.80, "RTX 3090, 8B Q4_0, 1 to 8 sequences (llama.cpp #15802)"),
    "vllm": Rate(0.70, 0.40, 0.95, "A100 40 GB, 8B BF16, 1 to 8 sequences (johnmusgrave.com)"),
    "onnxruntime": Rate(0.40, 0.20, 0.80, "assumption"),
}
# Tensor parallel: share of the sum that several cards reach, and two all-reduces a layer.
TENSOR_PARALLEL_SHARE = Rate(0.85, 0.60, 0.95, "assumption: cards on PCIe; NVLink does better")
ALL_REDUCE_SECONDS = Rate(25e-6, 10e-6, 60e-6, "assumption: one small all-reduce over PCIe")

# Loading.
START_SECONDS: Mapping[str, Rate] = {
    "llama.cpp": Rate(0.4, 0.2, 2.0, "measured here: the starter is ready in 0.2 to 0.4 s"),
    "vllm": Rate(40.0, 20.0, 120.0, "measured: 39 s on a CPU without CUDA graphs"),
    "onnxruntime": Rate(1.0, 0.5, 4.0, "assumption: a session with optimisation of its graph"),
}
# llama.cpp reads its file through mapped pages, which takes this on top of the disk's own time; makes a table of its
# tokenizer's merges; and rearranges weights for the instruction set on one core. Fitted to 21 loads of 0.1 to 4.2 GB,
# EPYC, 2 cores, disk of a virtual machine, 2026-11-21: half of the loads of networks that the fit had not seen came
# within 35 %.
_LOADS = "fitted to 21 loads, EPYC, 2026-11-21"
MAPPED_BYTES_PER_SECOND = Rate(0.8e9, 0.3e9, 4e9, _LOADS)
MERGE_SECONDS = Rate(5e-6, 2e-6, 1e-5, _LOADS)
REPACK_BYTES_PER_SECOND = Rate(0.32e9, 0.15e9, 1.5e9, _LOADS)
DOOR_SECONDS = Rate(0.003, 0.001, 0.02, "measured here: door and engine's HTTP, benchmarks.gateway")
