"""From a deployment to what an engine is started with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.engines.contract import Task
from undercroft.planning.vllm_launch import VllmLaunch
from undercroft.registry.models import Model, ModelFacts
from undercroft.serving import specs
from undercroft.serving.deployments import Deployment, DeploymentSettings

GIB = 1024**3


def model(**facts: object) -> Model:
    known: dict[str, object] = {
        "architecture": "llama",
        "task": "generate",
        "context_tokens": 32768,
        "layers": 16,
        "kv_heads": 8,
        "head_dim": 64,
        **facts,
    }
    return Model(
        name="tiny",
        digest="sha256:" + "1" * 64,
        source="file",
        format="gguf",
        size_bytes=GIB,
        facts=ModelFacts(**known),  # type: ignore[arg-type]
        lineage={},
        created_at="2026-01-01T00:00:00.000Z",
        files=(),
    )


def template(own: Model | None = None, usual: EngineSettings | None = None, **settings: object) -> specs.Template:
    deployment = Deployment(
        "bot",
        "llama.cpp",
        "tiny",
        DeploymentSettings(**settings),
        1,
        True,
        "2026-01-01T00:00:00.000Z",  # type: ignore[arg-type]
    )
    return specs.template_for(deployment, own or model(), Path("/blob"), usual or EngineSettings())


def test_what_is_left_open_comes_from_model_and_settings() -> None:
    """The model's context up to 8,192 tokens, its task, the settings' slots."""
    spec = template().spec
    assert (spec.context_tokens, spec.slots, spec.task) == (8192, 4, Task.GENERATE)
    assert template(model(context_tokens=512)).spec.context_tokens == 512
    assert template(model(context_tokens=None)).spec.context_tokens == 2048
    assert template(model(task="embed")).spec.task is Task.EMBED


def test_the_usual_context_is_that_of_the_settings() -> None:
    """Beyond 8,192 tokens too, but never more than the model was made for; what the deployment says wins."""
    usual = EngineSettings(context_tokens=16384)
    assert template(usual=usual).spec.context_tokens == 16384
    assert template(model(context_tokens=None), usual).spec.context_tokens == 16384
    assert template(model(context_tokens=4096), usual).spec.context_tokens == 4096
    assert template(usual=usual, context_tokens=512).spec.context_tokens == 512


def test_what_is_said_wins() -> None:
    """The deployment's own context, slots and task."""
    spec = template(context_tokens=16384, slots=2, task="embed").spec
    assert (spec.context_tokens, spec.slots, spec.task) == (16384, 2, Task.EMBED)


def test_more_context_than_the_model_has_is_refused_with_both_numbers() -> None:
    """Never silently cut."""
    with pytest.raises(InvalidError, match=r"65,536 tokens.*32,768"):
        template(context_tokens=65536)


def test_the_memory_limit_holds_weights_cache_and_room() -> None:
    """At least the file and the cache of all slots, at most a few times that; a given limit wins."""
    cache = 2 * 16 * 8 * 64 * 8192 * 4 * 2
    limit = template().spec.memory_limit_bytes
    assert limit is not None
    assert GIB + cache < limit < 4 * (GIB + cache)
    assert template(memory_limit_bytes=5).spec.memory_limit_bytes == 5


def test_equal_wishes_have_equal_digests_and_others_differ() -> None:
    """The digest says whether a running replica has to be replaced; a replica's own id does not matter."""
    first = template()
    assert template().digest == first.digest
    assert template(slots=2).digest != first.digest
    assert template(model(context_tokens=512)).digest != first.digest
    home = Home(Path("/home"))
    one, two = specs.for_replica(first, home), specs.for_replica(first, home)
    assert one.replica_id != two.replica_id
    assert one.digest == two.digest == first.digest


def test_vllm_is_placed_by_its_plan() -> None:
    """Environment, cache and share are part of the digest; the limit of memory leaves room for its processes."""
    plain = specs.template_for(
        Deployment("bot", "vllm", "tiny", DeploymentSettings(), 1, True, ""), model(), Path("/m"), EngineSettings()
    )
    assert plain.engine == "vllm"
    assert plain.spec.memory_limit_bytes is None
    here = specs.placed(plain, model(), Path("/env"), VllmLaunch(0, None, GIB))
    assert (here.spec.environment, here.spec.cache_bytes) == (Path("/env"), GIB)
    assert here.spec.memory_limit_bytes == 7 * GIB
    on_gpus = specs.placed(plain, model(), Path("/env"), VllmLaunch(2, 0.5, None))
    assert (on_gpus.spec.gpus, on_gpus.spec.gpu_memory_ratio, on_gpus.spec.memory_limit_bytes) == (2, 0.5, None)
    assert len({plain.digest, here.digest, on_gpus.digest}) == 3
    assert here == specs.placed(plain, model(), Path("/env"), VllmLaunch(0, None, GIB))


def test_digest_is_that_of_earlier_versions() -> None:
    """A llama.cpp replica that an earlier version started is not replaced for fields that came later."""
    content = asdict(template().spec)
    later = {"environment", "dtype", "gpus", "gpu_memory_ratio", "cache_bytes", "ca_file", "metrics_port"}
    for name in ("replica_id", "run_dir", "log_path", "digest", *later):
        del content[name]
    content["model_digest"] = model().digest
    text = json.dumps(content, sort_keys=True, default=str)
    assert template().digest == hashlib.sha256(text.encode()).hexdigest()
