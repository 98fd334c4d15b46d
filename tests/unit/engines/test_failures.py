"""One sentence out of an engine's last words."""

from __future__ import annotations

import pytest

from undercroft.engines.failures import explain

KILLED, ABORTED, EXIT_1 = 9, 6, 1 << 8


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
