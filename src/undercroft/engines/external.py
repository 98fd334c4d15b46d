"""Any OpenAI-compatible server that the administrator named by URL. Nothing is started or stopped here."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import records, wire
from undercroft.engines.contract import (
    Capabilities,
    EngineFigures,
    EngineMemory,
    EngineRecord,
    EngineSpec,
    Health,
    Task,
    WarmUp,
)
from undercroft.engines.figures import read_figures
from undercroft.engines.first_request import ROUTES, first_request
from undercroft.engines.grpc.conversation import check_installed

GRPC_SCHEMES = frozenset({"grpc", "grpcs"})
_LOOK_SECONDS = 5.0


class External:
    """See `undercroft.engines.contract.Engine`.

    Args:
        settings: ``external_hosts`` says where prompts may be sent.
    """

    name = "external"
    health_path = "/v1/models"
    metrics_path = "/metrics"

    def __init__(self, settings: EngineSettings) -> None:
        self._allowed_hosts = settings.external_hosts

    def start(self, spec: EngineSpec) -> EngineRecord:
        """See the contract. Nothing is sent yet."""
        url = check_url(spec.url, deployment=spec.name, engine=self.name)
        check_host(url, self._allowed_hosts, deployment=spec.name)
        if spec.key_file is not None and not spec.key_file.is_file():
            raise InvalidError(
                "no-key-file", f"deployment {spec.name!r} expected a file with its key, got {spec.key_file}"
            )
        check_authorities(spec.ca_file, url, deployment=spec.name)
        if spec.seal_required:
            raise InvalidError(
                "cannot-seal",
                f"deployment {spec.name!r} is served by another server, which cannot be sealed here, "
                "and engines.seal is 'required'",
                hint="set engines.seal to 'preferred', or serve the model with engine 'llama.cpp'",
            )
        spec.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = EngineRecord(
            replica_id=spec.replica_id,
            engine=self.name,
            deployment=spec.name,
            spec_digest=spec.digest,
            pid=None,
            process_started=None,
            socket_path=None,
            base_url=url,
            key_file=None if spec.key_file is None else str(spec.key_file),
            is_sealed=False,
            seal_note=f"not sealed: requests leave for {urlsplit(url).netloc}, a server that was configured by URL",
            started_at=to_iso(utc_now()),
            upstream_model=spec.upstream_model or spec.answers_as,
            run_dir=str(spec.run_dir),
            ca_file=None if spec.ca_file is None else str(spec.ca_file),
        )
        record = self._described(record, spec)
        records.write(record, spec.run_dir)
        return record

    def _described(self, record: EngineRecord, spec: EngineSpec) -> EngineRecord:
        """What else its record says."""
        del spec
        return record

    def look(self, record: EngineRecord, *, timeout_seconds: float) -> Health:
        """See the contract. Any answer but 5xx shows that somebody is there; whether it serves, the warm-up shows."""
        try:
            status = self._look(record, timeout_seconds=timeout_seconds).status
        except TimeoutError:
            return Health.SILENT
        except (OSError, http.client.HTTPException):
            return Health.DEAD
        return Health.LOADING if self._is_loading(record, status) else Health.HEALTHY

    def _health_path(self, record: EngineRecord) -> str:
        del record
        return self.health_path

    def _is_loading(self, record: EngineRecord, status: int) -> bool:
        del record
        return status >= 500

    def _look(self, record: EngineRecord, *, timeout_seconds: float) -> wire.Answer:
        path = self._health_path(record)
        return wire.request(wire.endpoint_of(record), "GET", path, timeout_seconds=timeout_seconds)

    def capabilities(self, record: EngineRecord, spec: EngineSpec) -> Capabilities:
        """See the contract. What it serves is configured; its context is known where its list of models says so."""
        listed = ask_server(record, "GET", "/v1/models", None, timeout_seconds=30.0, may_be_missing=True).get("data")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        entry = next((entry for entry in entries if entry.get("id") == record.upstream_model), {})
        return Capabilities(
            tasks=ROUTES[spec.task],
            has_tools=spec.task is Task.GENERATE,  # it knows better, and refuses by itself what it cannot
            context_tokens=listed_context(entry),
            slots=spec.slots,
            protocol="openai",
        )

    def warm_up(self, record: EngineRecord, spec: EngineSpec, *, timeout_seconds: float) -> WarmUp:
        """See the contract. One token, as it may cost money."""
        begun = time.monotonic()
        path, body = first_request(spec.task, record.upstream_model or spec.name, max_tokens=1)
        ask_server(record, "POST", path, body, timeout_seconds=timeout_seconds)
        return WarmUp(time.monotonic() - begun, None)

    def figures(self, record: EngineRecord) -> EngineFigures | None:
        """See the contract."""
        return read_figures(record, path=self.metrics_path)

    def memory(self, record: EngineRecord) -> EngineMemory | None:
        """Always None: it is another machine's matter."""
        del record
        return None

    def is_busy(self, record: EngineRecord) -> bool:
        """Always False: what others send it is not ours to wait for."""
        del record
        return False

    def failure(self, record: EngineRecord) -> str | None:
        """See the contract. It asks once more, as there is no log to read."""
        try:
            answer = self._look(record, timeout_seconds=_LOOK_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            return trouble(error, record)
        return None if answer.status == 200 else _refusal(answer, record, self._health_path(record))

    def stop(self, record: EngineRecord, *, grace_seconds: float) -> None:
        """The server stays as it is; the folder here goes."""
        del grace_seconds
        if record.run_dir is not None:
            records.remove(Path(record.run_dir))


def check_url(url: str | None, *, deployment: str, engine: str = "external") -> str:
    """The URL without a slash or ``/v1`` at its end.

    Args:
        url: As it was given.
        deployment: For the error.
        engine: What is attached; ``triton`` may be at a ``grpc://`` or ``grpcs://`` URL, too.

    Raises:
        InvalidError: It is missing, of another scheme, or holds a user, a query or a fragment; of gRPC also a path.
        UnavailableError: ``extra-missing``: the library for gRPC is not installed.
    """
    parts = urlsplit(url or "")
    schemes = {"http", "https", *(GRPC_SCHEMES if engine == "triton" else ())}
    try:
        is_usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = url if parts.username is None else "one with a user in it"
        kinds = "http(s) or grpc(s)" if engine == "triton" else "http(s)"
        raise InvalidError(
            "bad-engine-url", f"deployment {deployment!r} expected the {kinds} URL of a server, got {shown!r}"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidError(
            "bad-engine-url",
            f"deployment {deployment!r} expected a URL without user, password, query and fragment",
            hint="put the key into a file and name it with the deployment's key file",
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    if parts.scheme in GRPC_SCHEMES:
        if path:
            raise InvalidError("bad-engine-url", f"deployment {deployment!r} expected grpc://HOST:PORT, got {url!r}")
        check_installed(f"deployment {deployment!r}, at {url},")
    return f"{parts.scheme}://{parts.netloc}{path}"


def check_authorities(ca_file: Path | None, url: str, *, deployment: str) -> None:
    """Makes sure that certificates to trust can be read, and are of use.

    Raises:
        InvalidError: ``bad-ca-file``: there is no such file, it holds no certificate, or the URL is not https.
    """
    if ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidError(
            "bad-ca-file", f"deployment {deployment!r} expected a PEM file of certificates, got {ca_file}: {error}"
        ) from error
    if not url.startswith(("https:", "grpcs:")):
        raise InvalidError(
            "bad-ca-file", f"deployment {deployment!r} has a file of certificates and no https or grpcs URL"
        )


def check_host(url: str | None, allowed: Collection[str], *, deployment: str) -> None:
    """Refuses a server outside that nobody allowed: prompts would leave this machine for it.

    Args:
        url: As `check_url` takes it.
        allowed: Host names and addresses, as ``engines.external_hosts`` lists them.
        deployment: For the error.

    Raises:
        RefusedError: ``host-not-allowed``.
    """
    host = (urlsplit(url or "").hostname or "").rstrip(".")
    if is_loopback(host) or host in {one.strip("[]").rstrip(".").lower() for one in allowed}:
        return
    raise RefusedError(
        "host-not-allowed",
        f"deployment {deployment!r} would send requests out of this machine, to {host!r}, which is none of the hosts "
        f"that engines.external_hosts allows ({', '.join(allowed) or 'none'})",
        hint=f'if prompts may go there, add it to config.toml: [engines] external_hosts = ["{host}"]',
    )


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine itself, by its name or number alone: nobody is asked for an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listed_context(entry: dict[str, Any]) -> int:
    """Context of an entry of ``/v1/models``: vLLM says ``max_model_len``, llama.cpp ``meta.n_ctx``; 0 is not known."""
    meta = entry.get("meta")
    in_meta = meta.get("n_ctx") if isinstance(meta, dict) else None
    for value in (entry.get("max_model_len"), entry.get("context_length"), in_meta):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def ask_server(
    record: EngineRecord,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    timeout_seconds: float,
    may_be_missing: bool = False,
) -> dict[str, Any]:
    """One request to another's server, and the JSON object that it answers; empty for another kind of JSON.

    Args:
        record: Of the replica.
        method: ``GET`` or ``POST``.
        path: Beginning with ``/``.
        body: Sent as JSON; None sends none.
        timeout_seconds: For all of it.
        may_be_missing: An answer that there is no such path is an empty object.

    Raises:
        UnavailableError: ``external-silent`` or ``external-error``.
    """
    try:
        answer = wire.request(wire.endpoint_of(record), method, path, body, timeout_seconds=timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError("external-silent", f"{record.deployment!r}: {trouble(error, record)}") from error
    if answer.status in {404, 405} and may_be_missing:
        return {}
    if answer.status != 200:
        raise UnavailableError("external-error", f"{record.deployment!r}: {_refusal(answer, record, path)}")
    try:
        content = answer.json()
    except ValueError as error:
        raise UnavailableError(
            "external-error", f"{record.deployment!r}: {record.base_url}{path} expected JSON, got something else"
        ) from error
    return content if isinstance(content, dict) else {}


def trouble(error: OSError | http.client.HTTPException, record: EngineRecord) -> str:
    """Why a server did not answer at all, in one sentence."""
    if isinstance(error, TimeoutError):
        return f"{record.base_url} did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"{record.base_url}: TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody accepts connections at {record.base_url}"
    return f"{record.base_url} cannot be reached: {error}"


def _refusal(answer: wire.Answer, record: EngineRecord, path: str) -> str:
    where = f"{record.base_url}{path}"
    if 300 <= answer.status < 400:
        return f"{where} redirects (status {answer.status}); redirects are refused, configure the final URL"
    if answer.status in {401, 403}:
        return f"{where} does not accept {key_of(record)} (status {answer.status})"
    return f"{where} expected status 200, got {answer.status}"


def key_of(record: EngineRecord) -> str:
    """What was shown to a server, for errors."""
    return f"the key in {record.key_file}" if record.key_file is not None else "a request without a key"
