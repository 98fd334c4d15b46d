"""Main memory that the deployments need, forecast from their models' headers. The database is only read."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.hardware.machine import Machine
from undercroft.planning.forecasts import MemoryForecast
from undercroft.planning.memory import forecast_memory
from undercroft.planning.targets_of import Measured, target_of_machine
from undercroft.registry import entries
from undercroft.registry.entries import Model
from undercroft.registry.stored_shapes import stored_shape
from undercroft.serving import deployments
from undercroft.serving.deployments import Deployment
from undercroft.serving.doctor.stored_state import read
from undercroft.serving.forecasting import workload_of
from undercroft.serving.ledger import HOST
from undercroft.serving.specs import template_for


@dataclass(frozen=True, slots=True)
class Need:
    """Main memory that a deployment needs.

    Args:
        deployment: Its name.
        model: Its model's name.
        one_bytes: Of one replica.
        how: How that is known: ``about``, as forecast, or ``at least``, the size of its files.
        replicas: Wanted; count.
        is_always_loaded: It is not loaded on demand.
    """

    deployment: str
    model: str
    one_bytes: int
    how: str
    replicas: int
    is_always_loaded: bool


def read_needs(home: Home, settings: EngineSettings, machine: Machine) -> list[Need]:
    """What the wanted deployments of local models need; nothing where there is no usable database.

    Args:
        home: Whose deployments.
        settings: What a deployment leaves open.
        machine: That they would run on.
    """

    def work(connection: Connection) -> list[Need]:
        found = []
        for deployment in deployments.list_all(connection):
            model = entries.find(connection, deployment.model) if deployment.model else None
            if model is not None and deployment.is_running:
                forecast = _forecast(home, connection, deployment, model, settings, machine)
                found.append(_need(deployment, model, forecast))
        return found

    return read(home, work, [])


def host_bytes(forecast: MemoryForecast) -> int:
    """Main memory without which a model cannot compute at speed.

    Pages of the file that were repacked are not read again, and the kernel may drop them; all others are read with
    every token.
    """
    terms = [term for term in forecast.terms if term.pool == HOST]
    file = sum(term.size_bytes for term in terms if term.is_file)
    private = sum(term.size_bytes for term in terms if not term.is_file)
    repacked = sum(term.size_bytes for term in terms if term.name == "repacked weights")
    return private + max(0, file - repacked)


def _need(deployment: Deployment, model: Model, forecast: MemoryForecast | None) -> Need:
    return Need(
        deployment=deployment.name,
        model=model.name,
        one_bytes=model.size_bytes if forecast is None else host_bytes(forecast),
        how="at least" if forecast is None else "about",
        replicas=deployment.replicas,
        is_always_loaded=deployment.settings.load == "always",
    )


def _forecast(
    home: Home,
    connection: Connection,
    deployment: Deployment,
    model: Model,
    settings: EngineSettings,
    machine: Machine,
) -> MemoryForecast | None:
    """None where it cannot be said: a damaged file, a header that says too little."""
    if len(entries.weights_of(model)) != 1:
        return None  # the parts of a split model would be linked side by side, and a look changes nothing
    try:
        template = template_for(deployment, model, None, settings)
        shape = stored_shape(home, connection, model)
        target = target_of_machine(machine, Measured(), {})
        has_gpu_engine = settings.llama_server is not None
        work = workload_of(template, has_gpu_engine=has_gpu_engine, stored=model.facts.quantization)
        return forecast_memory(shape, work, target)
    except UndercroftError:
        return None
