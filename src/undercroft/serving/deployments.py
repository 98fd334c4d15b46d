"""Deployments: which models should be served, and how. What is wanted, in the database; the reconciler makes it so."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, Row, delete, insert, select, update

from undercroft.catalog.engines import ATTACHED, EngineName, check_runs, engine_of
from undercroft.core.clock import from_iso, to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.core.ids import check_name
from undercroft.core.wrong_values import problem_of
from undercroft.engines.contract import Dtype, Task
from undercroft.engines.external import check_authorities, check_host, check_url
from undercroft.registry.licences import LicenceGate
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ADAPTER_ENGINES, ReleaseContent
from undercroft.registry.releases.store import Release
from undercroft.serving.adapters import check_names, check_own_name
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import deployments, models, promotions

# What only vllm takes, and what it does not.
_OF_VLLM, _NOT_OF_VLLM = ("dtype", "gpus", "gpu_memory_ratio"), ("gpu_layers",)
_NOT_OF_ONNXRUNTIME = (*_OF_VLLM, "gpu_layers", "cache_type")
# What only an external engine has; of a release and never of a machine.
_OF_ENGINE = ("url", "upstream_model", "key_file", "ca_file")


class DeploymentSettings(BaseModel):
    """How a deployment's replicas are run. 0 and None mean: as in the settings file, or as the model itself says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task | None = Field(None, description="What the model is for; None reads it from the model.")
    context_tokens: int = Field(0, ge=0, le=10_000_000, description="Context of one request, in tokens.")
    slots: int = Field(0, ge=0, le=256, description="Requests that a replica computes at the same time.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of a replica.")
    gpu_layers: int = Field(-1, ge=-1, le=10_000, description="Layers on a GPU; -1 is all that fit.")
    cache_type: Literal["f16", "q8_0", "q4_0"] = Field("f16", description="How keys and values are kept.")
    dtype: Dtype = Field("auto", description="vllm: type of weights while computing; auto is as the model says.")
    gpus: int = Field(0, ge=0, le=64, description="vllm: GPUs that share every layer; 0 is as many as are needed.")
    gpu_memory_ratio: float = Field(
        0.0, ge=0, le=0.98, description="vllm: share of each GPU's memory that is taken; 0 is what the plan says."
    )
    memory_limit_bytes: int = Field(0, ge=0, description="Most private memory of a replica.")
    load: Literal["always", "on-demand"] = Field("always", description="Load at start, or with the first request.")
    idle_unload_seconds: float = Field(0.0, ge=0, le=31_536_000, description="Unload after this idle time; 0 is never.")
    priority: int = Field(0, ge=-100, le=100, description="Who gets the memory first; larger is more important.")
    is_pinned: bool = Field(False, description="Load it at once, and never unload it for another model.")
    may_shrink_context: bool = Field(
        False, description="Where memory runs out all the same: halve the context once rather than fail."
    )
    url: str | None = Field(None, description="Base URL of an external engine, without /v1.")
    upstream_model: str | None = Field(None, description="What the external engine calls the model.")
    key_file: Path | None = Field(None, description="File with the external engine's key.")
    ca_file: Path | None = Field(None, description="Certificates that the external engine is trusted by, PEM.")
    metrics_port: int = Field(0, ge=0, le=65535, description="triton: port of its metrics; 0 is Triton's own, 8002.")
    adapters: dict[str, str] = Field({}, max_length=32, description="LoRAs: what each is called → registered adapter.")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What serves a name on this machine.

    Args:
        name: As in a request's ``model``.
        engine: What runs it.
        model: Registered model; None for ``external``.
        settings: How its replicas are run.
        replicas: How many are wanted while it is loaded.
        is_running: Whether it is wanted at all.
        created_at: ISO 8601, UTC.
    """

    name: str
    engine: EngineName
    model: str | None
    settings: DeploymentSettings
    replicas: int
    is_running: bool
    created_at: str

    @property
    def created_unix(self) -> int:
        """Seconds since the epoch."""
        return int(from_iso(self.created_at).timestamp())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and the journal."""
        return {
            "name": self.name,
            "engine": self.engine,
            "model": self.model,
            "settings": self.settings.model_dump(mode="json", exclude_defaults=True),
            "replicas": self.replicas,
            "is_running": self.is_running,
        }


def check_settings(values: dict[str, Any]) -> DeploymentSettings:
    """Reads settings as given by a person.

    Raises:
        InvalidError: An unknown name or a value out of range; all problems in one message.
    """
    try:
        return DeploymentSettings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {problem_of(e)}" for e in error.errors())
        raise InvalidError("bad-deployment", f"the deployment's settings have problems: {problems}") from error


def create(
    database: Database,
    *,
    name: str,
    engine: EngineName | None,
    model: str | None,
    settings: DeploymentSettings,
    replicas: int = 1,
    actor: str,
    reason: str | None = None,
    gate: LicenceGate | None = None,
    allowed_hosts: Collection[str] | None = None,
) -> Deployment:
    """Adds a deployment that is wanted running.

    Args:
        engine: What runs it; None takes the engine of the model's format.
        gate: Asked whether the model's licence covers what models here are used for; None asks nobody.
        allowed_hosts: That external engines may be on, as ``engines.external_hosts``; None leaves it to the start.

    Raises:
        RefusedError: The gate does not let the model be served, or its host is not allowed.
        InvalidError: The name, the engine's needs or the number of replicas.
        NotFoundError: No such model.
        ConflictError: The name is taken.
    """
    check_name(name, what="deployment")
    if allowed_hosts is not None and settings.url is not None:
        check_host(settings.url, allowed_hosts, deployment=name)
    if gate is not None and model is not None:
        gate.check_registered(model)
    with database.write() as connection:
        chosen = _engine_for(connection, model) if engine is None else engine
        _check_shape(name, chosen, model, settings, replicas)
        deployment = Deployment(name, chosen, model, settings, replicas, True, to_iso(utc_now()))
        if _row(connection, name) is not None:
            raise ConflictError(
                "deployment-exists",
                f"there is a deployment {name!r} already",
                hint=f"undercroft deployment remove {name}, or choose another --name",
            )
        if model is not None:
            check_runs(chosen, model, _format_of(connection, model))
        check_own_name(connection, name, model)
        check_names(connection, name, settings.adapters)
        connection.execute(
            insert(deployments).values(
                **deployment.to_dict(), created_at=deployment.created_at, updated_at=deployment.created_at
            )
        )
        journal.record(
            connection,
            actor=actor,
            action="deployment.create",
            subject=name,
            after=deployment.to_dict(),
            reason=reason,
        )
    return deployment


def _format_of(connection: Connection, model: str) -> str:
    found = connection.execute(select(models.c.format).where(models.c.name == model)).scalar()
    if found is None:
        raise NotFoundError("no-such-model", f"there is no model {model!r}", hint="undercroft model list")
    return str(found)


def _engine_for(connection: Connection, model: str | None) -> EngineName:
    return "llama.cpp" if model is None else engine_of(model, _format_of(connection, model))


def _check_shape(name: str, engine: EngineName, model: str | None, settings: DeploymentSettings, replicas: int) -> None:
    if not 1 <= replicas <= 64:
        raise InvalidError("bad-replicas", f"deployment {name!r}: expected 1 to 64 replicas, got {replicas}")
    if engine in ATTACHED:
        if model is not None or settings.url is None:
            raise InvalidError(
                "bad-deployment",
                f"deployment {name!r}: engine {engine!r} is a server that runs already: it needs --url, takes no model",
            )
        check_url(settings.url, deployment=name, engine=engine)
        if settings.key_file is not None and not settings.key_file.is_file():
            raise InvalidError("no-key-file", f"deployment {name!r}: there is no file {settings.key_file}")
        check_authorities(settings.ca_file, settings.url, deployment=name)
    elif model is None or settings.url is not None:
        raise InvalidError("bad-deployment", f"deployment {name!r} on {engine} needs a model and takes no --url")
    _refuse_others(name, engine, settings)
    if settings.adapters and (engine not in ADAPTER_ENGINES or settings.task not in (None, "generate")):
        raise InvalidError(
            "no-adapters-here",
            f"deployment {name!r}: adapters need {' or '.join(ADAPTER_ENGINES)} and the task generate, got {engine} "
            f"and {settings.task or 'the task of its model'}",
            hint="leave --adapter out",
        )


def _refuse_others(name: str, engine: EngineName, settings: DeploymentSettings) -> None:
    """Refuses settings that the engine would not heed."""
    unheeded = {"vllm": _NOT_OF_VLLM, "onnxruntime": _NOT_OF_ONNXRUNTIME}
    others = unheeded.get(engine, _OF_VLLM)
    plain = DeploymentSettings.model_construct()
    given = [one for one in others if getattr(settings, one) != getattr(plain, one)]
    if given:
        raise InvalidError(
            "not-of-this-engine",
            f"deployment {name!r}: the engine {engine} does not heed {', '.join(given)}",
            hint="leave it out",
        )


def list_all(connection: Connection) -> list[Deployment]:
    """Every deployment, by name."""
    return [_read(row) for row in connection.execute(select(deployments).order_by(deployments.c.name))]


def get(connection: Connection, name: str) -> Deployment:
    """One deployment.

    Raises:
        NotFoundError: There is none of that name.
    """
    row = _row(connection, name)
    if row is None:
        raise NotFoundError("no-such-deployment", f"there is no deployment {name!r}", hint="undercroft deployment list")
    return _read(row)


def find(connection: Connection, name: str) -> Deployment | None:
    """One deployment, or None where there is none of that name."""
    row = _row(connection, name)
    return None if row is None else _read(row)


def with_release(settings: DeploymentSettings, content: ReleaseContent) -> DeploymentSettings:
    """The settings of a machine with those that a release fixes."""
    fixed = content.settings.model_dump(exclude_none=True)
    loaded = {name: adapter.model for name, adapter in content.adapters.items()}
    return settings.model_copy(update={**dict.fromkeys(_OF_ENGINE), **fixed, "adapters": loaded})


def serve_release(connection: Connection, release: Release) -> None:
    """Makes the deployment of a name run the model of its release in production; one is made where there is none.

    Its settings stay those of this machine: what the release fixes is looked up in the release. The caller journals it,
    as part of a promotion or a rollback.
    """
    content, now = release.content, to_iso(utc_now())
    values = {"engine": content.engine, "model": content.model, "updated_at": now}
    if find(connection, release.name) is None:
        connection.execute(
            insert(deployments).values(
                name=release.name, settings={}, replicas=1, is_running=True, created_at=now, **values
            )
        )
        return
    connection.execute(update(deployments).where(deployments.c.name == release.name).values(**values))


def set_running(
    database: Database, name: str, is_running: bool, *, actor: str, reason: str | None = None
) -> Deployment:
    """Wants it running, or not; its definition stays.

    Raises:
        NotFoundError: There is none of that name.
    """
    with database.write() as connection:
        before = get(connection, name)
        if before.is_running != is_running:
            connection.execute(
                update(deployments)
                .where(deployments.c.name == name)
                .values(is_running=is_running, updated_at=to_iso(utc_now()))
            )
            journal.record(
                connection,
                actor=actor,
                action="deployment.start" if is_running else "deployment.stop",
                subject=name,
                before={"is_running": before.is_running},
                after={"is_running": is_running},
                reason=reason,
            )
        return get(connection, name)


def change(
    database: Database,
    name: str,
    *,
    settings: dict[str, Any],
    replicas: int | None = None,
    actor: str,
    reason: str | None = None,
    allowed_hosts: Collection[str] | None = None,
) -> Deployment:
    """Changes some settings; running replicas are replaced by new ones before they stop.

    Args:
        allowed_hosts: As for `create`.

    Raises:
        RefusedError: The host of an external engine is not allowed.
        NotFoundError: There is none of that name.
        InvalidError: A setting is unknown or out of range.
    """
    if allowed_hosts is not None and settings.get("url") is not None:
        check_host(str(settings["url"]), allowed_hosts, deployment=name)
    with database.write() as connection:
        before = get(connection, name)
        release = _in_production(connection, name)
        merged = check_settings({**before.settings.model_dump(mode="json"), **settings})
        wanted = replicas if replicas is not None else before.replicas
        if release is None:
            _check_shape(name, before.engine, before.model, merged, wanted)
            check_names(connection, name, merged.adapters)
        else:
            _refuse_fixed(release, settings)
            _check_shape(name, before.engine, before.model, with_release(merged, release.content), wanted)
        after = Deployment(
            name, before.engine, before.model, merged, wanted, before.is_running, before.created_at
        ).to_dict()
        connection.execute(
            update(deployments).where(deployments.c.name == name).values(**after, updated_at=to_iso(utc_now()))
        )
        journal.record(
            connection,
            actor=actor,
            action="deployment.change",
            subject=name,
            before=before.to_dict(),
            after=after,
            reason=reason,
        )
        return get(connection, name)


def refuse_fixed(database: Database, name: str, settings: Iterable[str]) -> None:
    """Refuses to change of a deployment what belongs to its release.

    Args:
        settings: Names of what is to be changed.

    Raises:
        NotFoundError: There is none of that name.
        ConflictError: ``release-fixes-it``.
    """
    with database.read() as connection:
        get(connection, name)
        release = _in_production(connection, name)
    if release is not None:
        _refuse_fixed(release, settings)


def _in_production(connection: Connection, name: str) -> Release | None:
    number = store.tags_of(connection, name).get("production")
    return store.get(connection, name, number) if number is not None else None


def _refuse_fixed(release: Release, settings: Iterable[str]) -> None:
    fixed = {*release.content.settings.model_dump(exclude_none=True), *_OF_ENGINE, "task", "adapters"} & set(settings)
    if fixed:
        raise ConflictError(
            "release-fixes-it",
            f"{', '.join(sorted(fixed))} of {release.name!r} belongs to its release {release}, which never changes",
            hint=f"undercroft release create {release.name} with the change, then undercroft release promote",
        )


def remove(database: Database, name: str, *, actor: str, reason: str | None = None) -> None:
    """Forgets a deployment; its replicas drain and stop. The model and the releases stay, none in production.

    Raises:
        NotFoundError: There is none of that name.
    """
    with database.write() as connection:
        before = get(connection, name)
        connection.execute(delete(deployments).where(deployments.c.name == name))
        store.move_tags(connection, name, dict.fromkeys(store.KEPT_TAGS))
        connection.execute(
            update(promotions)
            .where(promotions.c.name == name, promotions.c.ended_at.is_(None))
            .values(state="cancelled", note="the deployment was removed", ended_at=to_iso(utc_now()))
        )
        journal.record(
            connection,
            actor=actor,
            action="deployment.remove",
            subject=name,
            before=before.to_dict(),
            reason=reason,
        )


def _row(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(deployments).where(deployments.c.name == name)).first()


def _read(row: Row[Any]) -> Deployment:
    return Deployment(
        name=row.name,
        engine=row.engine,
        model=row.model,
        settings=DeploymentSettings.model_validate(row.settings),
        replicas=row.replicas,
        is_running=row.is_running,
        created_at=row.created_at,
    )
