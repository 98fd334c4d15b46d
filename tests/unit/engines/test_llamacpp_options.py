"""A spec in llama.cpp's words."""

from __future__ import annotations

import importlib.util
import json
import mmap
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import fake_llama_server
from undercroft.core.errors import InvalidError
from undercroft.engines import llamacpp_options
from undercroft.engines.contract import Adapter, EngineSpec, Task
from undercroft.engines.llamacpp import model_files, warm_up_request

SPEC = EngineSpec(
    replica_id="rep_1",
    name="bot",
    task=Task.GENERATE,
    run_dir=Path("/run/rep_1"),
    log_path=Path("/log"),
    model_path=Path("/models/m.gguf"),
    context_tokens=4096,
    slots=3,
)
FULL = replace(
    SPEC, gpu_layers=20, cache_type="q8_0", chat_template="{{ x }}", adapters=(Adapter("a", Path("/a.gguf")),)
)


def arguments(spec: EngineSpec) -> list[str]:
    return llamacpp_options.binary_arguments(
        spec,
        binary=Path("/bin/llama-server"),
        threads=2,
        host="/run/rep_1/engine.sock",
        port=0,
        key_file=Path("/run/rep_1/key"),
        template_file=Path("/run/rep_1/template.jinja") if spec.chat_template else None,
    )


def wheel(spec: EngineSpec) -> dict[str, object]:
    return llamacpp_options.wheel_fields(spec, threads=2, host="/run/rep_1/engine.sock", port=0)


def test_context_is_for_each_slot() -> None:
    """llama.cpp divides its context among its slots, so it is given that of all of them."""
    assert wheel(SPEC)["fields"]["n_ctx"] == 3 * 4096  # type: ignore[index]
    assert fake_llama_server.parse(arguments(SPEC)[1:]).ctx_size == 3 * 4096


@pytest.mark.parametrize("spec", [SPEC, FULL, replace(SPEC, task=Task.EMBED), replace(SPEC, task=Task.RERANK)])
def test_wheel_and_binary_say_the_same(spec: EngineSpec) -> None:
    """What the wheel's object is given and what the flags say agree."""
    options, flags = wheel(spec), fake_llama_server.parse(arguments(spec)[1:])
    fields = options["fields"]
    assert isinstance(fields, dict)
    assert (fields["n_ctx"], fields["n_parallel"], fields["hostnames"]) == (
        flags.ctx_size,
        flags.parallel,
        [flags.host],
    )
    assert (fields["n_batch"], fields["n_ubatch"]) == (flags.batch_size, flags.ubatch_size)
    assert (fields["n_threads_http"], options["threads"]) == (flags.threads_http, flags.threads)
    assert (options["alias"], options["model_path"]) == (flags.alias, flags.model)
    assert options["cache_type"] == flags.cache_type_k == flags.cache_type_v
    assert options["adapters"] == flags.lora
    assert fields.get("embedding", False) == (flags.embedding or flags.reranking)
    assert options["is_ranking"] == flags.reranking
    assert (fields["cache_ram_mib"], fields["n_ctx_checkpoints"]) == (flags.cache_ram, flags.ctx_checkpoints)
    assert fields["n_gpu_layers"] == (-1 if flags.n_gpu_layers is None else int(flags.n_gpu_layers))
    assert ("chat_template" in fields) == (flags.chat_template_file is not None)


def test_wheel_takes_every_field() -> None:
    """Every field exists in the wheel's object and keeps its value."""
    options = wheel(FULL)
    command = [sys.executable, "-m", "tests.support.engine_parameters", "the key"]
    done = subprocess.run(command, input=json.dumps(options), capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {
        "fields": options["fields"],
        "api_keys": ["the key"],
        "model": "/models/m.gguf",
        "adapters": [["/a.gguf", 0.0]],
    }


def test_flags_are_in_llamacpp_itself() -> None:
    """Every flag that a binary is given is one that llama.cpp's own parser, which the wheel holds, knows."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    library = next(Path(spec.origin).parent.glob("xllamacpp*.so"))
    given = {word for task in Task for word in arguments(replace(FULL, task=task)) if word.startswith("--")}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert [flag for flag in sorted(given) if content.find(b"\0" + flag.encode() + b"\0") < 0] == []


def test_key_is_in_no_argument() -> None:
    """A binary gets its key in a file, as arguments can be read by everybody."""
    assert "--api-key-file" in arguments(SPEC)
    assert "--api-key" not in arguments(SPEC)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_path": None}, "no-model"),
        ({"context_tokens": 0}, "bad-engine-settings"),
        ({"slots": 0}, "bad-engine-settings"),
        ({}, "no-model-file"),
    ],
)
def test_refuses_what_cannot_start(changes: dict[str, object], code: str) -> None:
    """No file, no context, no slot: each is refused before anything starts."""
    with pytest.raises(InvalidError) as caught:
        llamacpp_options.check(replace(SPEC, **changes))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_prompts_to_embed_fit_one_piece() -> None:
    """A prompt to embed is computed at once, so the physical batch holds the longest."""
    assert llamacpp_options.batch_tokens(replace(SPEC, task=Task.EMBED)) == (4096, 4096)


def test_health_finds_a_thread_beside_all_streams() -> None:
    """There are more threads than slots, however many slots there are."""
    assert all(llamacpp_options.http_threads(replace(SPEC, slots=n)) >= 4 * n + 4 for n in (1, 8, 256))


def test_warm_up_names_every_adapter() -> None:
    """With adapters loaded, a request always says their scales."""
    path, body = warm_up_request(FULL)
    assert path == "/v1/chat/completions"
    assert body["lora"] == [{"id": 0, "scale": 0.0}]
    assert "lora" not in warm_up_request(SPEC)[1]


def test_split_model_is_all_of_its_pieces(tmp_path: Path) -> None:
    """Of a split model every piece may be read, and nothing else in the folder."""
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "other-00001-of-00002.gguf", "m.gguf"):
        (tmp_path / name).touch()
    assert [p.name for p in model_files(tmp_path / "m-00001-of-00002.gguf")] == [
        "m-00001-of-00002.gguf",
        "m-00002-of-00002.gguf",
    ]
    assert model_files(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]
    assert model_files(None) == []
