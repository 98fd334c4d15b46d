"""A spec in vLLM's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import fake_vllm
from undercroft.core.errors import InvalidError
from undercroft.engines import vllm_options
from undercroft.engines.contract import Adapter, EngineSpec, Task


@pytest.fixture(name="spec")
def _spec(tmp_path: Path) -> EngineSpec:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    return EngineSpec(
        replica_id="rep_1",
        name="bot@3",
        task=Task.GENERATE,
        run_dir=Path("/run/rep_1"),
        log_path=Path("/log"),
        model_path=tmp_path,
        context_tokens=4096,
        slots=3,
        cache_bytes=64,
    )


def arguments(spec: EngineSpec, *, port: int = 0) -> list[str]:
    template = Path("/run/rep_1/template.jinja") if spec.chat_template else None
    host = "127.0.0.1" if port else "/run/rep_1/engine.sock"
    return vllm_options.arguments(spec, python=Path("/env/bin/python"), host=host, port=port, template_file=template)


def write_adapter(folder: Path, rank: object, **config: object) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **config}), encoding="utf-8")
    return folder


def test_on_processors(spec: EngineSpec) -> None:
    """Context and slots are vLLM's own words, the name has no release, the cache is given in bytes, no GPU is named."""
    flags = fake_vllm.parse(arguments(spec)[1:])
    assert (flags.max_model_len, flags.max_num_seqs, flags.served_model_name) == (4096, 3, "bot")
    assert (flags.uds, flags.kv_cache_memory_bytes, flags.seed) == ("/run/rep_1/engine.sock", 64, 0)
    assert flags.enforce_eager
    assert flags.enable_prefix_caching
    assert flags.disable_uvicorn_access_log
    assert not flags.tensor_parallel_size
    assert flags.gpu_memory_utilization is None
    assert "key" not in " ".join(arguments(spec))


def test_on_gpus(spec: EngineSpec) -> None:
    """Accelerators and their share are those of the plan; compiled kernels are not forbidden; keys may be 8-bit."""
    on_gpus = replace(spec, gpus=2, gpu_memory_ratio=0.37, cache_bytes=None, cache_type="q8_0", dtype="bfloat16")
    vllm_options.check(on_gpus)
    flags = fake_vllm.parse(arguments(on_gpus)[1:])
    assert (flags.tensor_parallel_size, flags.gpu_memory_utilization, flags.dtype) == (2, "0.370", "bfloat16")
    assert flags.kv_cache_dtype == "fp8"
    assert not flags.enforce_eager


def test_embeddings_and_a_port(spec: EngineSpec) -> None:
    """A model that generates nothing is pooled; where no socket can be, it listens on the loopback."""
    flags = fake_vllm.parse(arguments(replace(spec, task=Task.EMBED), port=4711)[1:])
    assert (flags.runner, flags.host, flags.port, flags.uds) == ("pooling", "127.0.0.1", 4711, None)
    assert not flags.enable_prefix_caching


def test_adapters_and_template(spec: EngineSpec, tmp_path: Path) -> None:
    """LoRAs are named with their folders and given room for the largest rank; a template replaces the model's."""
    adapters = tuple(Adapter(f"a{rank}", write_adapter(tmp_path / f"a{rank}", rank)) for rank in (4, 20))
    full = replace(spec, adapters=adapters, chat_template="{{ x }}")
    vllm_options.check(full)
    flags = fake_vllm.parse(arguments(full)[1:])
    assert flags.enable_lora
    assert (flags.max_loras, flags.max_lora_rank, flags.max_cpu_loras) == (3, 32, 3)
    on_gpus = fake_vllm.parse(arguments(replace(full, gpus=1))[1:])
    assert (on_gpus.max_loras, on_gpus.max_cpu_loras) == (2, 2)
    one_at_a_time = fake_vllm.parse(arguments(replace(full, gpus=1, slots=1))[1:])
    assert (one_at_a_time.max_loras, one_at_a_time.max_cpu_loras) == (1, 2)
    assert flags.lora_modules == [f"a4={tmp_path}/a4", f"a20={tmp_path}/a20"]
    assert flags.chat_template == "/run/rep_1/template.jinja"


def test_nothing_is_told_or_fetched(spec: EngineSpec) -> None:
    """The environment turns off reports and downloads, keeps everything in the replica's folder, and holds the key."""
    found = vllm_options.environment(spec, {"PATH": "/bin"}, key="k", threads=3)
    assert {found[name] for name in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE")} == {"1"}
    assert {found[name] for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME")} == {"/run/rep_1"}
    assert (found["VLLM_API_KEY"], found["OMP_NUM_THREADS"], found["PATH"]) == ("k", "3", "/bin")
    assert "OMP_NUM_THREADS" not in vllm_options.environment(replace(spec, gpus=1), {}, key="k", threads=3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_path": None}, "needs a model for engine 'vllm'"),
        ({"model_path": Path("/nowhere")}, r"expects a folder with config\.json"),
        ({"slots": 0}, "at least 1 context token and 1 slot"),
        ({"cache_type": "q4_0"}, r"keeps keys and values as f16 or, on GPUs, q8_0, got q4_0"),
        ({"cache_type": "q8_0"}, r"as f16 on processors, got q8_0"),
        ({"adapters": (Adapter("a", Path("/a.gguf")),)}, "adapter 'a' as a folder of PEFT's"),
    ],
)
def test_refuses_what_vllm_cannot_do(spec: EngineSpec, changes: dict[str, object], said: str) -> None:
    """What would fail later is refused before a process is started, and says what is expected."""
    with pytest.raises(InvalidError, match=said):
        vllm_options.check(replace(spec, **changes))  # type: ignore[arg-type]


def test_refuses_a_rank_that_is_none(spec: EngineSpec, tmp_path: Path) -> None:
    """An adapter whose own file says no usable rank is refused by name."""
    for number, rank in enumerate((0, 513, "16", None)):
        adapter = Adapter("a", write_adapter(tmp_path / str(number), rank))
        with pytest.raises(InvalidError, match="a rank of 1 to 512"):
            vllm_options.check(replace(spec, adapters=(adapter,)))


def test_room_is_for_the_largest_rank_of_any_layer(spec: EngineSpec, tmp_path: Path) -> None:
    """Ranks may differ by layer; vLLM takes a few sizes only."""
    adapter = Adapter("a", write_adapter(tmp_path / "a", 4, rank_pattern={"v_proj": 65}))
    assert vllm_options.adapter_room(replace(spec, adapters=(adapter,), gpus=1)) == (1, 128)
    assert vllm_options.adapter_room(spec) == (0, 0)
    lists = Adapter("b", write_adapter(tmp_path / "b", 4, rank_pattern=[65]))
    with pytest.raises(InvalidError, match="a rank of 1 to 512"):
        vllm_options.check(replace(spec, adapters=(lists,)))


def test_the_last_slot_on_processors_is_no_adapters(spec: EngineSpec, tmp_path: Path) -> None:
    """There, vLLM adds what is in its last slot to requests for the base that are computed beside others."""
    adapters = tuple(Adapter(f"a{n}", write_adapter(tmp_path / f"a{n}", 4)) for n in range(5))
    assert vllm_options.adapter_room(replace(spec, adapters=adapters, slots=1)) == (6, 8)
