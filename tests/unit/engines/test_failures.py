"""One sentence out of an engine's last words."""

from __future__ import annotations

import pytest

from undercroft.engines.failures import explain

KILLED, ABORTED, EXIT_1 = 9, 6, 1 << 8


_VLLM = "(EngineCore pid=18) ERROR 11-22 09:49:08 [core.py:1510] "


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            f"{_VLLM}    raise RuntimeError(\n"
            f"{_VLLM}RuntimeError: Worker failed with error 'Available memory on node 0 (18.82/23.54 GiB) on kv cache "
            "allocation is less than requested memory for kv (400.0 GiB).', please check the stack trace above\n"
            "(APIServer pid=2) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "it ran out of memory: RuntimeError: Worker failed with error 'Available memory on node 0 (18.82/23.54 "
            "GiB) on kv cache allocation is less than requested memory for kv (400.0 GiB).', please check the stack "
            "trace above",
        ),
        (
            "(EngineCore pid=9) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
            "it ran out of memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: "
            "dict_keys(['AfmoeForCausalLM'])\n",
            "it does not know the model's architecture: Model architectures ['FooForCausalLM'] are not supported for "
            "now. Supported architectures: dict_keys(['AfmoeForCausalLM'])",
        ),
        (
            "  Value error, User-specified max_model_len (5120) is greater than the derived max_model_len (512)\n",
            "its context is longer than the model was made for: User-specified max_model_len (5120) is greater than "
            "the derived max_model_len (512)",
        ),
        (
            "ValueError: Couldn't instantiate the backend tokenizer from one of: \n(1) a `tokenizers` library\n",
            "its tokenizer cannot be read: ValueError: Couldn't instantiate the backend tokenizer from one of:",
        ),
        (
            "OSError: [Errno 98] Address already in use\n",
            "it could not listen on its socket: OSError: [Errno 98] Address already in use",
        ),
        (
            "(APIServer pid=2) ValueError: LoRA rank 9 is greater than max_lora_rank 8.\n",
            "an adapter cannot be loaded: ValueError: LoRA rank 9 is greater than max_lora_rank 8.",
        ),
        (
            f"{_VLLM}AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'\n",
            "it was built without what this model computes on this processor: AttributeError: '_OpNamespace' '_C' "
            "object has no attribute 'cpu_gemm_wna16'",
        ),
        (
            f"{_VLLM}KeyError: 'layers.0.strange'\n"
            "(APIServer pid=2) RuntimeError: Engine core initialization failed. See root cause above.\n"
            "nanobind: this is likely caused by a reference counting issue in the binding code.\n",
            "it ended by itself with exit status 1; its last word was: KeyError: 'layers.0.strange'",
        ),
    ],
)
def test_vllm_says_its_root_cause(output: str, sentence: str) -> None:
    """Of vLLM's tracebacks the first error counts, without the marks of its processes."""
    assert explain(output, EXIT_1) == sentence


@pytest.mark.parametrize(
    ("output", "status", "sentence"),
    [
        (
            "0.00.1 E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'\n"
            "0.00.2 E llama_model_load: error loading model: llama_model_loader: failed\n"
            "0.00.3 E srv          init: exiting due to model loading error\n",
            EXIT_1,
            "its model cannot be loaded: gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
        ),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
            ABORTED,
            "it ran out of memory, at most 2.0 GiB are allowed (engines.memory_limit_bytes): "
            "terminate called after throwing an instance of 'std::bad_alloc'",
        ),
        (
            "0.00.1 E srv start: couldn't bind HTTP server socket, hostname: /x.sock\n",
            EXIT_1,
            "it could not listen on its socket: start: couldn't bind HTTP server socket, hostname: /x.sock",
        ),
        (
            "error: invalid argument: --no-such-flag\n",
            EXIT_1,
            "it does not know a flag: error: invalid argument: --no-such-flag",
        ),
        (
            "llama_model_load: error loading model: Resource temporarily unavailable\n",
            EXIT_1,
            "it ran out of memory, at most 2.0 GiB are allowed (engines.memory_limit_bytes): "
            "llama_model_load: error loading model: Resource temporarily unavailable",
        ),
        ("", KILLED, "it was ended by SIGKILL (the kernel does so when memory is short)"),
        ("all well\n", EXIT_1, "it ended by itself with exit status 1; its last word was: all well"),
        (
            "0.1 E old trouble\nundercroft: llama.cpp listens on unix:///x\n0.9 E srv send_error: the last trouble\n"
            "undercroft: the engine ended with exit status 1\n",
            EXIT_1,
            "it ended by itself with exit status 1; its last word was: send_error: the last trouble",
        ),
        ("loading\n", None, "loading"),
        ("", None, None),
    ],
)
def test_tells_the_cause(output: str, status: int | None, sentence: str | None) -> None:
    """While loading the first error counts, as the others follow from it; after that the last one."""
    assert explain(output, status, memory_limit_bytes=2 * 1024**3) == sentence


def test_output_is_not_trusted() -> None:
    """Colours and control characters are taken out, and a long line is cut."""
    sentence = explain("\x1b[31mred\x1b[0m \x07bell" + "x" * 5000, EXIT_1)
    assert sentence is not None
    assert sentence.startswith("it ended by itself with exit status 1; its last word was: red bellxxx")
    assert len(sentence) < 320
    assert sentence.isprintable()
