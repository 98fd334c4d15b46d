"""Adapters of deployments and releases: one meaning a name, held against their base, kept while somebody needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.adapters import write_adapter, write_peft, write_published
from tests.support.ggufs import write_chat_model, write_embedding_model
from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import parse_use
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.planning.vllm_launch import VllmLaunch
from undercroft.registry import models
from undercroft.registry.licences import LicenceGate
from undercroft.registry.model_paths import model_path
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ReleaseContent, check_content
from undercroft.registry.releases.files import read_releases, release_yaml
from undercroft.serving import adapters, deployments, keys, promotions, specs
from undercroft.serving.deployments import Deployment, check_settings
from undercroft.serving.forecasting import workload_of
from undercroft.serving.promotions import Plan, State
from undercroft.serving.served import find_served
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.watch.probes.served import prompt_variables, served_release


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def database(home: Home, tmp_path: Path) -> Iterator[Database]:
    """With a base, two adapters of it, and what is none."""
    opened = Database(home.database_file)
    write_chat_model(tmp_path / "chat.gguf", licence="apache-2.0")
    write_embedding_model(tmp_path / "embed.gguf")
    write_adapter(tmp_path / "polite.gguf", seed=1, licence="apache-2.0")
    write_adapter(tmp_path / "terse.gguf", seed=2, licence="apache-2.0")
    write_adapter(tmp_path / "research.gguf", seed=3, licence="cc-by-nc-4.0")
    write_adapter(tmp_path / "foreign.gguf", width=32, licence="apache-2.0")
    for name in ("chat", "embed", "polite", "terse", "research", "foreign"):
        models.add_local(opened, home, tmp_path / f"{name}.gguf", actor="test")
    yield opened
    opened.close()


def deploy(database: Database, name: str = "bot", **wanted: str) -> Deployment:
    settings = check_settings({"adapters": wanted})
    return deployments.create(
        database, name=name, engine="llama.cpp", model="chat", settings=settings, actor="cli:test"
    )


def content(**values: Any) -> ReleaseContent:
    return check_content({"model": "chat", **values})


def promote(database: Database, number: int) -> None:
    with database.write() as connection:
        release = store.get(connection, "bot", number)
        begun = promotions.begin(connection, release, Plan.model_validate({}), actor="cli:test", reason=None)
        promotions.end(connection, begun, State.DONE, "so it is")


def make(database: Database, **values: Any) -> store.Release:
    with database.write() as connection:
        return store.create(connection, "bot", content(**values), actor="cli:test", reason=None)


def check(database: Database, home: Home, base: str | None, engine: str | None = None, **wanted: str) -> None:
    gate = LicenceGate(
        database, load_licences(home.catalogue), parse_use("commercial"), is_accepted=False, actor="x", reason=None
    )
    adapters.check_adapters(database, home, base=base, engine=engine, wanted=wanted, gate=gate)


def test_adapters_are_settings_of_a_deployment_and_stand_in_the_journal(database: Database) -> None:
    """What was asked for is read back, and a change says what was there before and after."""
    deploy(database, kind="polite")
    changed = deployments.change(
        database, "bot", settings={"adapters": {"kind": "polite", "brief": "terse"}}, actor="cli:test"
    )
    assert changed.settings.adapters == {"kind": "polite", "brief": "terse"}
    with database.read() as connection:
        assert adapters.names_taken(connection).adapters == {"kind": "bot", "brief": "bot"}
        last = [entry for entry, _ in journal.entries(connection)][-1]
    assert last.before is not None
    assert last.after is not None
    assert last.before["settings"]["adapters"] == {"kind": "polite"}
    assert last.after["settings"]["adapters"] == {"kind": "polite", "brief": "terse"}


def test_a_name_means_one_thing(database: Database) -> None:
    """No adapter is called as a deployment, a release or another's adapter, and no deployment as an adapter."""
    deploy(database, kind="polite")
    make(database)
    with database.write() as connection:
        store.create(connection, "later", content(), actor="cli:test", reason=None)
    for name in ("bot", "kind", "later"):
        with pytest.raises(ConflictError) as caught:
            deploy(database, "other", **{name: "terse"})
        assert caught.value.code == "name-taken"
    with pytest.raises(ConflictError, match="'other' cannot serve an adapter as 'other'"):
        deploy(database, "other", other="terse")
    with pytest.raises(ConflictError, match="the deployment 'bot' has an adapter 'kind'"):
        deploy(database, "kind")
    with pytest.raises(InvalidError, match="adapter"):
        deploy(database, "other", **{"Not A Name": "terse"})
    deploy(database, "other", brief="terse")


def test_an_adapter_is_not_deployed_or_released_as_a_model(database: Database) -> None:
    """Alone it answers nothing; the error has the command that serves it."""
    with pytest.raises(InvalidError) as caught:
        deployments.create(
            database, name="x", engine="llama.cpp", model="polite", settings=check_settings({}), actor="cli:test"
        )
    assert (caught.value.code, caught.value.hint) == (
        "adapter-alone",
        "undercroft deployment create BASE --adapter polite",
    )
    with pytest.raises(InvalidError, match="is a LoRA adapter"):
        make(database, model="polite")


def test_what_needs_an_adapter_keeps_it(database: Database) -> None:
    """It is not removed while a deployment or a release names it."""
    deploy(database, kind="polite")
    make(database, adapters={"brief": "terse"})
    with pytest.raises(ConflictError, match="deployment 'bot' uses it"):
        models.remove(database, "polite", actor="cli:test")
    with pytest.raises(ConflictError, match="release bot@1 uses it"):
        models.remove(database, "terse", actor="cli:test")
    deployments.change(database, "bot", settings={"adapters": {}}, actor="cli:test")
    models.remove(database, "polite", actor="cli:test")


def test_each_is_held_against_its_base(database: Database, home: Home) -> None:
    """Before an engine is started: what does not fit, is none, is not there, or may not be used is refused."""
    check(database, home, "chat", kind="polite", brief="terse")
    with pytest.raises(InvalidError, match="'foreign' does not belong to model 'chat'"):
        check(database, home, "chat", odd="foreign")
    with pytest.raises(InvalidError, match="'chat' is a whole model"):
        check(database, home, "chat", odd="chat")
    with pytest.raises(NotFoundError, match="no adapter 'gone'"):
        check(database, home, "chat", odd="gone")
    with pytest.raises(RefusedError, match="'research'"):
        check(database, home, "chat", odd="research")
    with pytest.raises(InvalidError, match="for the task 'embed'"):
        check(database, home, "embed", kind="polite")
    with pytest.raises(InvalidError, match="got the engine 'external'"):
        check(database, home, "chat", "external", kind="polite")
    with pytest.raises(InvalidError, match=r"adapters need llama\.cpp or vllm and the task generate"):
        deployments.change(
            database,
            deploy(database).name,
            settings={"adapters": {"kind": "polite"}, "task": "embed"},
            actor="cli:test",
        )


def test_a_release_keeps_the_digests_of_its_adapters(database: Database, tmp_path: Path) -> None:
    """Its digest is of them, too; what it prints makes it again, and another content under the name is refused."""
    plain, first = make(database), make(database, adapters={"kind": "polite"})
    with database.read() as connection:
        digest = models.get(connection, "polite").digest
        assert first.content.adapters["kind"].digest == digest
        assert not store.differs(connection, first, content(adapters={"kind": {"model": "polite"}}))
        assert store.differs(connection, first, content(adapters={"kind": "terse"}))
        assert store.using_model(connection, "polite") == ["bot@2"]
    assert plain.digest != first.digest
    assert plain.content.to_dict() == {"model": "chat"}
    written = tmp_path / "release.yaml"
    written.write_text(release_yaml("bot", first.content))
    (again,) = read_releases(written)
    with database.write() as connection:
        assert store.apply(connection, "bot", again.content, actor="cli:test", reason=None)[1] is False
        with pytest.raises(ConflictError, match="expected 'polite' as sha256:0000"):
            store.create(
                connection,
                "bot",
                content(adapters={"kind": {"model": "polite", "digest": "sha256:" + "0" * 64}}),
                actor="cli:test",
                reason=None,
            )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"adapters": {"Not A Name": "polite"}}, "adapters: expected names of a-z"),
        ({"adapters": {"kind": {"modell": "polite"}}}, "nearest is 'model'"),
        ({"adapters": {"kind": "Not A Name"}}, "expected a name"),
        ({"adapters": {"kind": {"model": "polite", "digest": "sha256:12"}}}, "expected a digest"),
        ({"adapters": {"kind": "polite"}, "settings": {"task": "embed"}}, "expected the task generate"),
        (
            {"adapters": {"kind": "polite"}, "engine": "external", "model": None, "settings": {"url": "http://x"}},
            "the engine external serves none",
        ),
    ],
)
def test_what_no_release_can_be_made_of_is_named(values: dict[str, Any], words: str) -> None:
    """Field by field, with what was expected."""
    with pytest.raises(InvalidError) as caught:
        content(**values)
    assert words in caught.value.message


def test_production_decides_which_adapters_there_are(database: Database) -> None:
    """With its first release a name has that one's adapters and no others, and a rollback those before."""
    deploy(database, kind="polite")
    make(database, adapters={"brief": "terse"})
    make(
        database,
        adapters={"brief": "terse", "kind": "polite"},
        prompt={"system": "Hi {{who}}", "variables": {"who": None}},
    )
    make(database, adapters={"brief": "terse"}, sampling={"seed": 1})

    def now() -> dict[str, str]:
        with database.read() as connection:
            return dict(adapters.names_taken(connection).adapters)

    promote(database, 1)
    assert now() == {"brief": "bot"}
    with pytest.raises(ConflictError, match="adapters of 'bot' belongs to its release bot@1"):
        deployments.change(database, "bot", settings={"adapters": {}}, actor="cli:test")
    promote(database, 2)
    assert now() == {"brief": "bot", "kind": "bot"}
    with database.read() as connection:
        wanted = {one.name: one.settings.adapters for one in find_served(connection, keep_warm_seconds=0).deployments}
        assert served_release(connection, "kind") == "kind@2"
        assert served_release(connection, "kind@1") == "kind@1"
        assert prompt_variables(connection, "brief") == {"who": None}
    # The third differs from the first in sampling only: one engine process answers for both.
    assert wanted == {"bot@1": {"brief": "terse"}, "bot@2": {"brief": "terse", "kind": "polite"}}
    with database.write() as connection:
        promotions.rollback(connection, "bot", None, actor="cli:test", reason=None)
    assert now() == {"brief": "bot"}


def test_a_key_can_be_for_an_adapter(database: Database) -> None:
    """Its name is known as a deployment's is; a typing error is named."""
    deploy(database, kind="polite")
    key, _ = keys.create(database, name="shop", actor="cli:test", models=["kind"])
    assert key.models == ["kind"]
    with pytest.raises(NotFoundError, match="there are bot, kind"):
        keys.create(database, name="other", actor="cli:test", models=["kindd"])


def test_an_engine_loads_them_in_the_order_of_names(database: Database, home: Home) -> None:
    """Their bytes are in the forecast and the limit of its memory, and another set of them is another process."""
    with database.read() as connection:
        model = models.get(connection, "chat")
        path = models.model_file(home, connection, model)
        two = adapters.load_adapters(home, connection, {"b": "polite", "a": "terse"})
        one = adapters.load_adapters(home, connection, {"b": "polite"})
    assert [adapter.loaded.name for adapter in two] == ["a", "b"]
    deployment = deploy(database)

    def template(beside: list[adapters.LoadedAdapter]) -> specs.Template:
        return specs.template_for(deployment, model, path, EngineSettings(), beside)

    sizes = [adapter.model.size_bytes for adapter in two]
    assert [adapter.name for adapter in template(two).spec.adapters] == ["a", "b"]
    assert workload_of(template(two), has_gpu_engine=False, stored="F32").adapters_bytes == sum(sizes)
    assert len({template(beside).digest for beside in ([], one, two)}) == 3
    limits = [template(beside).spec.memory_limit_bytes for beside in ([], two)]
    assert limits[0] is not None
    assert limits[1] is not None
    assert limits[1] - limits[0] >= sum(sizes)


def test_published_models_take_pefts_folders(database: Database, home: Home, tmp_path: Path) -> None:
    """On vLLM an adapter is held against its base as well, and one of the other format is refused beside either."""
    models.add_local(database, home, write_published(tmp_path / "published"), actor="test")
    models.add_local(database, home, write_peft(tmp_path / "kind"), actor="test")
    models.add_local(database, home, write_peft(tmp_path / "wide", width=128), actor="test")
    check(database, home, "published", "vllm", nice="kind")
    for base, engine, adapter, words in (
        ("published", "vllm", "wide", "'wide' does not belong to model 'published'"),
        ("published", None, "polite", "'polite' is a GGUF, which llama.cpp loads"),
        ("chat", None, "kind", "'kind' is a folder of PEFT's, which vLLM loads"),
        ("published", "onnxruntime", "kind", "got the engine 'onnxruntime'"),
    ):
        with pytest.raises(InvalidError, match=words):
            check(database, home, base, engine, odd=adapter)
    settings = check_settings({"adapters": {"nice": "kind"}})
    made = deployments.create(database, name="bot", engine=None, model="published", settings=settings, actor="cli:test")
    assert (made.engine, made.settings.adapters) == ("vllm", {"nice": "kind"})
    assert content(model="published", engine="vllm", adapters={"nice": "kind"}).adapters["nice"].model == "kind"


def test_vllm_keeps_room_for_its_adapters(database: Database, home: Home, tmp_path: Path) -> None:
    """The forecast counts their files and the room of each slot; the limit of memory has both."""
    model = models.add_local(database, home, write_published(tmp_path / "published"), actor="test")
    for seed, name in enumerate(("kind", "short"), 1):
        models.add_local(database, home, write_peft(tmp_path / name, seed=seed), actor="test")
    deployment = Deployment("bot", "vllm", "published", check_settings({"slots": 1}), 1, True, "")
    with database.read() as connection:
        path = model_path(home, connection, model)
        two = adapters.load_adapters(home, connection, {"b": "kind", "a": "short"})
    files = [file for adapter in two for file in adapter.loaded.path.iterdir()]
    template = specs.template_for(deployment, model, path, EngineSettings(), two)
    work = workload_of(template, has_gpu_engine=True, stored="F32")
    assert work.adapters_bytes == sum(file.stat().st_size for file in files)
    assert (work.adapter_slots, work.adapter_rank) == (3, 8)  # on processors one more than adapters
    launch = VllmLaunch(0, None, 1024)
    limits = [specs.placed(template, model, path, launch, adapters_bytes=size).spec for size in (0, 4096)]
    assert [spec.memory_limit_bytes for spec in limits[:1]] != [None]
    assert (limits[1].memory_limit_bytes or 0) - (limits[0].memory_limit_bytes or 0) == 4096
