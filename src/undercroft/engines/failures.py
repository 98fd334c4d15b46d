"""Why an engine ended, in one sentence, out of what it printed and how it ended. Pure."""

from __future__ import annotations

import os
import re
import signal

from undercroft.core.units import format_bytes

_DETAIL_LIMIT = 240

# What an engine prints → what it means. The first that matches wins; the most telling stand first.
_MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"^.*(?:{pattern}).*$", re.IGNORECASE | re.MULTILINE), meaning)
    for pattern, meaning in (
        # A thread that cannot be started for lack of memory is "temporarily unavailable".
        (
            r"std::bad_alloc|cannot allocate memory|(?:failed|unable) to allocate|insufficient memory|out of memory"
            r"|MemoryError|(?:what\(\)|error loading model):\s+Resource temporarily unavailable"
            r"|OpenBLAS error: Memory allocation|failed to map segment from shared object"
            r"|less than requested memory for kv|No available memory for the cache blocks"
            r"|larger than the available KV cache memory|less than desired GPU memory utilization",
            "it ran out of memory",
        ),
        (r"couldn't bind HTTP server socket|address already in use", "it could not listen on its socket"),
        (r"error: invalid argument|error: unknown argument|unrecognized arguments", "it does not know a flag"),
        (r"undercroft: cannot run ", "its program could not be run"),
        (r"error while loading shared libraries:", "a library of its program is missing"),
        (r"No module named '", "its program is not installed"),
        (
            r"unknown model architecture|does not recognize this architecture"
            r"|Model architectures \[.*\] are not supported",
            "it does not know the model's architecture",
        ),
        (r"is greater than the derived max_model_len", "its context is longer than the model was made for"),
        (r"Couldn't instantiate the backend tokenizer|Can't load tokenizer", "its tokenizer cannot be read"),
        (r"SafetensorError|Error while deserializing header", "its model cannot be loaded"),
        (r"chat template parsing error|failed to initialize chat template", "its chat template cannot be read"),
        (
            r"failed to (?:load|apply|init) lora|failed to load.*adapter|No adapter found for"
            r"|LoRA rank \d+ is greater than max_lora_rank|While loading .*, expected target modules in",
            "an adapter cannot be loaded",
        ),
        (r"error loading model|failed to load model|invalid magic", "its model cannot be loaded"),
        (r"CUDA error", "the GPU reported an error"),
        (r"GGML_ASSERT\(", "it stopped at a check of its own"),
        (
            r"'_OpNamespace' '\w+' object has no attribute",
            "it was built without what this model computes on this processor",
        ),
        (r"Engine core proc \S+ died", "one of its processes ended"),
    )
)
# llama.cpp marks its lines: time since start, level, function. vLLM: process, level, date, time, place.
_MARK = re.compile(r"^\s*[\d.]+ ([A-Z]) \s*(?:\w+\s+)?(?=\S)")
_VLLM_MARK = re.compile(r"^\(\w+ pid=\d+\) (?:(?:DEBUG|INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[^\]]*\] )?")
# What Python says at the end of a traceback; of several the first is what the others follow from.
_EXCEPTION = re.compile(r"^(?!.*Error: Engine core init)(?:[\w.]+(?:Error|Exception): |Value error, )(?=\S)")
_HAS_LOADED = re.compile(r"listens on |server is listening|model loaded", re.IGNORECASE)


def explain(output: str, status: int | None, *, memory_limit_bytes: int | None = None) -> str | None:
    """One sentence.

    Args:
        output: What it printed, the end of it.
        status: Its wait status; None where that is not known.
        memory_limit_bytes: Its limit, named where memory ran out.

    Returns:
        None where neither says anything.
    """
    ending, detail = _ending(status), _detail(output)
    for pattern, meaning in _MEANINGS:
        found = pattern.search(output)
        if found is None:
            continue
        if meaning == "it ran out of memory" and memory_limit_bytes is not None:
            meaning += f", at most {format_bytes(memory_limit_bytes)} are allowed (engines.memory_limit_bytes)"
        return f"{meaning}: {detail if _errors(output) else _clean(found[0])}"
    if ending is None or detail is None:
        return ending or detail
    return f"{ending}; its last word was: {detail}"


def is_out_of_memory(sentence: str) -> bool:
    """Whether a sentence of `explain` says that memory was short."""
    return "it ran out of memory" in sentence or "memory is short" in sentence


def _detail(output: str) -> str | None:
    """The line that says most: while loading the first error, as the others follow from it; later the last one."""
    errors = _errors(output)
    if errors:
        return _clean(errors[-1] if _HAS_LOADED.search(output) else errors[0])
    plain = (_VLLM_MARK.sub("", line) for line in output.splitlines())
    raised = next((line for line in plain if _EXCEPTION.match(line)), None)
    if raised is not None:
        return _clean(raised)
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("undercroft: the engine ")]
    return _clean(lines[-1]) if lines else None


def _errors(output: str) -> list[str]:
    marks = ((line, _MARK.match(line)) for line in output.splitlines())
    return [line for line, mark in marks if mark is not None and mark[1] == "E"]


def _ending(status: int | None) -> str | None:
    if status is None:
        return None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = " (the kernel does so when memory is short)" if number == signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(number).name}{hint}"
    return f"it ended by itself with exit status {os.WEXITSTATUS(status)}"


def _clean(line: str) -> str:
    """Without colours and control characters: an engine's output is not trusted."""
    text = _VLLM_MARK.sub("", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line))
    text = _MARK.sub("", text).removeprefix("  Value error, ")
    return "".join(c for c in text if c.isprintable()).strip()[:_DETAIL_LIMIT]
