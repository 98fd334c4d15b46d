"""Why an engine ended, in one sentence, out of what it printed and how it ended. Pure."""

from __future__ import annotations

import os
import re
import signal

_DETAIL_LIMIT = 240

# What llama.cpp prints → what it means. The first that matches wins; the most telling stand first.
_MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (
            r"(std::bad_alloc|cannot allocate memory|failed to allocate|unable to allocate|out of memory|MemoryError)",
            "it ran out of memory",
        ),
        (r"(couldn't bind HTTP server socket)", "it could not listen on its socket"),
        (r"(error: (?:invalid argument|unknown argument)[^\n]*)", "it does not know a flag"),
        (r"(undercroft: cannot run [^\n]*)", "its program could not be run"),
        (r"(error while loading shared libraries:[^\n]*)", "a library of its program is missing"),
        (r"(unknown model architecture:[^\n]*)", "it does not know the model's architecture"),
        (r"(error loading model[^\n]*|failed to load model[^\n]*|invalid magic[^\n]*)", "its model cannot be loaded"),
        (r"(failed to (?:load|apply) lora[^\n]*|failed to init lora[^\n]*)", "an adapter cannot be loaded"),
        (r"(No module named '[^']*')", "its program is not installed"),
        (r"(GGML_ASSERT\([^\n]*)", "it stopped at a check of its own"),
        (r"(CUDA error[^\n]*)", "the GPU reported an error"),
    )
)


def explain(output: str, status: int | None, *, memory_limit_bytes: int | None = None) -> str | None:
    """One sentence.

    Args:
        output: What it printed, the end of it.
        status: Its wait status; None where that is not known.
        memory_limit_bytes: Its limit, named where memory ran out.

    Returns:
        None where neither says anything.
    """
    for pattern, meaning in _MEANINGS:
        found = pattern.findall(output)
        if found:
            limit = ""
            if meaning == "it ran out of memory" and memory_limit_bytes is not None:
                limit = f", with a limit of {memory_limit_bytes} bytes (engines.memory_limit_bytes)"
            return f"{meaning}{limit}: {_clean(found[-1])}"
    ending = _ending(status)
    last = _last_line(output)
    if ending is None:
        return last
    return f"{ending}; its last output was: {last}" if last else ending


def _ending(status: int | None) -> str | None:
    if status is None:
        return None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = " (the kernel does so when memory is short)" if number == signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(number).name}{hint}"
    return f"it ended by itself with exit status {os.WEXITSTATUS(status)}"


def _last_line(output: str) -> str | None:
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("undercroft: the engine ")]
    return _clean(lines[-1]) if lines else None


def _clean(line: str) -> str:
    """Without colours and control characters: an engine's output is not trusted."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
    return "".join(c for c in text if c.isprintable()).strip()[:_DETAIL_LIMIT]
