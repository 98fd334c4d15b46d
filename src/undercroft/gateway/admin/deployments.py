"""``/admin/deployments`` and ``/admin/status``: what is served, and how it goes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from undercroft.catalog.engines import EngineName
from undercroft.gateway.admin.parts import Actor, Parts
from undercroft.serving import deployments
from undercroft.serving.adapters import check_adapters
from undercroft.serving.deployments import DeploymentSettings

router = APIRouter(prefix="/admin", tags=["deployments"])


class NewDeployment(BaseModel):
    """A deployment to create."""

    model_config = ConfigDict(extra="forbid")

    name: str
    engine: EngineName | None = None
    model: str | None = None
    settings: DeploymentSettings = DeploymentSettings()
    replicas: int = 1
    accept_licence: bool = False
    reason: str | None = None


class Change(BaseModel):
    """What to change of a deployment; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    is_running: bool | None = None
    replicas: int | None = None
    settings: dict[str, Any] = {}
    accept_licence: bool = False
    reason: str | None = None


@router.get("/status")
def show_status(parts: Parts) -> dict[str, Any]:
    """Everything that ``undercroft status`` shows."""
    return parts.status()


@router.get("/deployments")
def list_deployments(parts: Parts) -> list[dict[str, Any]]:
    """What is wanted."""
    with parts.database.read() as connection:
        return [deployment.to_dict() for deployment in deployments.list_all(connection)]


@router.get("/deployments/{name}")
def show_deployment(name: str, parts: Parts) -> dict[str, Any]:
    """One deployment, as wanted."""
    with parts.database.read() as connection:
        return deployments.get(connection, name).to_dict()


@router.post("/deployments", status_code=201)
def create_deployment(new: NewDeployment, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Adds a deployment; its replicas are started."""
    gate = parts.licence_gate(actor, is_accepted=new.accept_licence, reason=new.reason)
    base, beside = new.model, new.settings.adapters
    check_adapters(parts.database, parts.home, base=base, engine=new.engine, wanted=beside, gate=gate)
    made = deployments.create(
        parts.database,
        name=new.name,
        engine=new.engine,
        model=new.model,
        settings=new.settings,
        replicas=new.replicas,
        actor=actor,
        reason=new.reason,
        gate=gate,
        allowed_hosts=parts.settings.engines.external_hosts,
    )
    parts.reconciler.wake()
    return made.to_dict()


@router.patch("/deployments/{name}")
def change_deployment(name: str, change: Change, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Changes settings, or starts or stops it."""
    if wanted := change.settings.get("adapters"):
        with parts.database.read() as connection:
            found = deployments.get(connection, name)
        deployments.refuse_fixed(parts.database, name, {"adapters"})
        beside = deployments.check_settings({"adapters": wanted}).adapters
        gate = parts.licence_gate(actor, is_accepted=change.accept_licence, reason=change.reason)
        check_adapters(parts.database, parts.home, base=found.model, engine=found.engine, wanted=beside, gate=gate)
    if change.settings or change.replicas is not None:
        deployments.change(
            parts.database,
            name,
            settings=change.settings,
            replicas=change.replicas,
            actor=actor,
            reason=change.reason,
            allowed_hosts=parts.settings.engines.external_hosts,
        )
    if change.is_running is not None:
        deployments.set_running(parts.database, name, change.is_running, actor=actor, reason=change.reason)
    parts.reconciler.wake()
    with parts.database.read() as connection:
        return deployments.get(connection, name).to_dict()


@router.delete("/deployments/{name}")
def remove_deployment(name: str, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Forgets a deployment; its replicas finish their requests and stop."""
    deployments.remove(parts.database, name, actor=actor)
    parts.reconciler.wake()
    return {"removed": name}
