"""Settings: one TOML file; default < file < environment (``UNDERCROFT_GATEWAY__PORT``) < flag.

A field's description is its documentation: ``docs/reference/settings.md`` is made of it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from undercroft.core.environment import PREFIX, environment
from undercroft.core.errors import InvalidError
from undercroft.core.wrong_values import problem_of

# Names that the environment may hold beside the settings.
_OTHER_VARIABLES = {"UNDERCROFT_HOME", "UNDERCROFT_KEY"}


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySettings(Section):
    """The door: where it listens and what it puts up with."""

    host: str = Field("127.0.0.1", description="Address the door listens on. A public one needs TLS.")
    port: int = Field(8440, ge=1, le=65535, description="Port the door listens on.")
    processes: int = Field(1, ge=1, le=64, description="Door processes; one uses about one core.")
    allowed_hosts: list[str] = Field(
        [], description="Names accepted in the Host header, beside the address that the door listens on and localhost."
    )
    tls_cert_file: Path | None = Field(None, description="TLS certificate chain, PEM.")
    tls_key_file: Path | None = Field(None, description="TLS private key, PEM.")
    header_timeout_seconds: float = Field(10.0, gt=0, le=300, description="Time a client has to send its headers.")
    body_idle_timeout_seconds: float = Field(15.0, gt=0, le=300, description="Longest silence while a body is sent.")
    body_limit_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=1024**3, description="Largest request body.")
    connections_limit: int = Field(4096, ge=16, le=1_000_000, description="Open connections per door process.")
    keep_alive_seconds: float = Field(75.0, gt=0, le=3600, description="Idle time before a connection is closed.")
    drain_seconds: float = Field(
        30.0, ge=0, le=3600, description="Time running requests have to end at a stop or restart."
    )


class LimitSettings(Section):
    """How much at once, and how long a request may wait."""

    queue_requests: int = Field(64, ge=0, le=100_000, description="Requests that may wait for a model; more get 429.")
    queue_wait_seconds: float = Field(60.0, gt=0, le=3600, description="Longest wait in a model's queue before 503.")
    load_wait_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="A request waits for a model to load up to this long; else 503 with Retry-After.",
    )
    replace_wait_seconds: float = Field(
        600.0,
        gt=0,
        le=3600,
        description="A request waits up to this long for a release that takes the place of one that had to be unloaded "
        "for it; else 503 with Retry-After.",
    )
    request_timeout_seconds: float = Field(
        600.0, gt=0, le=86400, description="Longest silence of an engine in a request."
    )
    concurrency_per_slot: float = Field(
        1.0, gt=0, le=16, description="Requests sent to a replica per slot that it has."
    )


class EngineSettings(Section):
    """What every engine process gets where its deployment does not say otherwise."""

    llama_server: Path | None = Field(
        None,
        description="A llama-server binary (CUDA, ROCm, Vulkan, Metal builds) used in place of the wheel's engine.",
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of an engine; 0 means the physical cores there are.")
    context_tokens: int = Field(
        0, ge=0, le=10_000_000, description="Context of one request; 0 means the model's own, at most 8,192."
    )
    slots: int = Field(4, ge=1, le=256, description="Requests that a replica computes at the same time.")
    external_hosts: list[str] = Field(
        [],
        description="Hosts that external engines may be on beside this machine itself; prompts leave for them.",
    )
    seal: Literal["required", "preferred"] = Field(
        "preferred",
        description="Whether an engine may run where the kernel gives it no empty network: 'required' refuses.",
    )
    memory_limit_bytes: int = Field(
        0,
        ge=0,
        description="Most private memory of an engine process; 0 means forecast from its model with room to spare.",
    )
    start_timeout_seconds: float = Field(600.0, gt=0, le=86400, description="Longest time to load and warm up.")
    health_deadline_seconds: float = Field(30.0, gt=0, le=3600, description="Silence after which an engine is killed.")
    restart_backoff_limit_seconds: float = Field(60.0, gt=0, le=3600, description="Longest pause between restarts.")


class AdmissionSettings(Section):
    """Who gets the memory."""

    host_limit_bytes: int = Field(
        0, ge=0, description="Most main memory of all models together; 0 means all there is, less the reserve."
    )
    reserve_bytes: int = Field(
        0, ge=0, description="Main memory kept for everything else; 0 means 5 % of it, and at least 256 MiB."
    )
    idle_seconds: float = Field(
        2.5, ge=2, le=86400, description="A model without a request for this long may be unloaded for another one."
    )
    patience_seconds: float = Field(
        5.0,
        ge=0,
        le=86400,
        description="A request's model waits this long before busy ones of no higher priority are drained for it; "
        "a model that was just loaded works at least this long.",
    )


class RegistrySettings(Section):
    """Where models come from."""

    hub_endpoint: str | None = Field(None, description="Hub to pull hf:// references from; HF_ENDPOINT where not set.")
    hub_token_file: Path | None = Field(None, description="File that holds the hub's access token.")
    use: str = Field(
        "internal",
        pattern=r"^(commercial|internal|research|personal|users=[0-9]{1,10}|"
        r"(commercial|internal|research|personal),users=[0-9]{1,10})$",
        description="What models are used for, to be compared with their licences: commercial, internal, research or "
        "personal, with ,users=N for the monthly users of a product.",
    )
    scrub_days: int = Field(
        7, ge=0, le=365, description="Stored files are read and hashed again this often; 0 is never."
    )


class PlanningSettings(Section):
    """What costs are computed with unless --assume says otherwise; `undercroft plan assumptions` shows all values."""

    currency: str | None = Field(None, pattern=r"^[A-Za-z]{1,8}$", description="Name of the currency of all money.")
    dollar_rate: float | None = Field(None, ge=1e-6, description="Price of a dollar in the currency.")
    kwh_price: float | None = Field(None, ge=0, description="Price of a kilowatt-hour, in the currency.")
    pue: float | None = Field(None, ge=1, le=5, description="Power of the site for each watt of the computer.")
    years: float | None = Field(None, ge=0.5, le=20, description="Years until a machine is written off.")
    residual: float | None = Field(None, ge=0, le=1, description="Share of the price that is left then.")
    upkeep_hours: float | None = Field(None, ge=0, description="Hours of work on a machine, a month.")
    wage: float | None = Field(None, ge=0, description="Price of an hour of that work, in the currency.")
    upkeep_share: float | None = Field(
        None, ge=0, le=1, description="Spare parts and support a year, as a share of the price."
    )
    requests_per_user: float | None = Field(None, ge=0, description="Requests of a user on a working day.")
    days_per_month: float | None = Field(None, ge=1, le=31, description="Working days a month.")
    cloud_input: float | None = Field(
        None, ge=0, description="What a million prompt tokens cost in a cloud, in the currency."
    )
    cloud_output: float | None = Field(
        None, ge=0, description="What a million answer tokens cost in a cloud, in the currency."
    )
    rent_per_hour: float | None = Field(
        None, ge=0, description="What an hour of the same device costs in a cloud, in the currency."
    )
    host_price: float | None = Field(None, ge=0, description="Dollars for the computer around a card.")
    machine_price: float | None = Field(None, ge=0, description="Dollars for one whole machine, whatever it is.")
    machine_watts: float | None = Field(None, ge=0, description="Power of one machine at full load.")
    idle_watts: float | None = Field(None, ge=0, description="Power of one machine when idle.")


class ReleaseSettings(Section):
    """Releases that are not in production."""

    keep_warm_seconds: float = Field(
        3600.0,
        ge=1,
        le=31_536_000,
        description="A release that left production stays loaded this long unused, while its memory is not needed.",
    )
    keep: int = Field(10, ge=1, le=10_000, description="Newest releases of a name that `release prune` keeps.")


class JournalSettings(Section):
    """The diary of every change."""

    checkpoint_hours: float = Field(
        24.0, ge=0, le=8760, description="A signed checkpoint is made this often, if there are new entries; 0 is never."
    )
    checkpoint_folder: Path | None = Field(
        None, description="A folder on another machine that gets a copy of each checkpoint."
    )


class BackupSettings(Section):
    """Backups of this home: where to, how often, how many are kept."""

    place: str | None = Field(
        None,
        max_length=1024,
        description="Where backups go: a folder on another disk, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY; none is "
        "made without.",
    )
    folder: Path | None = Field(None, description="The older name of place; read where place says nothing.")
    endpoint: str | None = Field(
        None,
        max_length=1024,
        description="URL of the S3-compatible store, or of the registry where it is not https://HOST.",
    )
    region: str = Field("us-east-1", max_length=64, description="Region of the bucket; many stores take any.")
    credentials_file: Path | None = Field(
        None,
        description="File of two lines: access key id and secret access key, or a registry's user and password.",
    )
    ca_file: Path | None = Field(
        None, description="Certificates that the store or registry is trusted by in place of the usual ones, PEM."
    )
    key_file: Path | None = Field(
        None, description="The key that encrypts them, as `undercroft backup key FILE` made it."
    )
    unencrypted: bool = Field(
        False, description="Backups without a key may be made, in a folder only: whoever has it reads them."
    )
    hours: float = Field(24.0, ge=0, le=8760, description="The server makes one this often; 0 is never.")
    trial_days: float = Field(
        7.0, ge=0, le=365, description="The newest one is restored on trial this often by the server; 0 is never."
    )
    keep_last: int = Field(3, ge=0, le=10_000, description="Newest backups that are kept.")
    keep_daily: int = Field(7, ge=0, le=10_000, description="Days of which the newest backup is kept.")
    keep_weekly: int = Field(5, ge=0, le=10_000, description="Weeks of which the newest backup is kept.")
    keep_monthly: int = Field(12, ge=0, le=10_000, description="Months of which the newest backup is kept.")

    @property
    def where(self) -> str | None:
        """Where backups go, by either name; None for nowhere."""
        return self.place or (None if self.folder is None else str(self.folder))


class AlertSettings(Section):
    """Who is told when something is wrong, and how often. URLs and secrets are in files, one line each."""

    language: Literal["en", "th", "ms", "vi", "ar", "zh"] = Field("en", description="Language of every message.")
    site: str = Field(
        "", max_length=100, description="What messages call this server; its host name where it is empty."
    )
    from_severity: Literal["notice", "warning", "critical"] = Field(
        "warning", description="Least severity that is told; incidents below it are only listed."
    )
    probe_failures: int = Field(
        3, ge=1, le=1000, description="Failed runs of a probe in a row that open an incident; a probe may say its own."
    )
    quiet_minutes: float = Field(
        5.0, ge=0, le=10_080, description="An incident is resolved when all was well for this long."
    )
    escalate_minutes: float = Field(
        60.0, ge=0, le=525_600, description="An incident that is open for this long is told once more; 0 is never."
    )
    escalate_to: list[Literal["slack", "teams", "webhook", "telegram", "line", "dingtalk", "email"]] = Field(
        [], description="Sinks that are told then; empty is all."
    )
    rate_per_hour: int = Field(
        20, ge=1, le=3600, description="Most messages to each sink an hour; what is more is gathered into the last one."
    )
    attempts: int = Field(
        48,
        ge=1,
        le=1000,
        description="Times that a message is tried, for half a day, before it is kept as undeliverable.",
    )
    timeout_seconds: float = Field(15.0, gt=0, le=300, description="Longest time that one try takes.")
    ca_file: Path | None = Field(None, description="Certificates to trust beside the system's, PEM.")
    slack_url_file: Path | None = Field(None, description="File with the URL of an incoming webhook of Slack.")
    teams_url_file: Path | None = Field(None, description="File with the URL of a workflow of Microsoft Teams.")
    webhook_url_file: Path | None = Field(None, description="File with the URL of a receiver of your own.")
    webhook_secret_file: Path | None = Field(
        None, description="File with the secret that signs what the webhook gets; it is needed."
    )
    telegram_token_file: Path | None = Field(None, description="File with the token of a bot of Telegram.")
    telegram_chat: str = Field("", description="Id of the chat, or @name of the channel, that the bot writes to.")
    telegram_endpoint: str = Field("https://api.telegram.org", description="Telegram's server, or one's own.")
    line_token_file: Path | None = Field(None, description="File with the channel access token of a LINE bot.")
    line_to: str = Field("", description="Id of the LINE user, group or room that it writes to.")
    line_endpoint: str = Field("https://api.line.me", description="LINE's server, or a relay.")
    dingtalk_url_file: Path | None = Field(None, description="File with the URL of a DingTalk robot.")
    dingtalk_secret_file: Path | None = Field(None, description="File with the robot's signing secret, SEC….")
    email_host: str = Field("", description="SMTP server; no e-mail is sent without.")
    email_port: int = Field(0, ge=0, le=65535, description="Its port; 0 is 587, 465 or 25 by email_security.")
    email_security: Literal["starttls", "tls", "plain"] = Field(
        "starttls", description="'plain' sends in the clear, and takes no password."
    )
    email_user: str = Field("", description="Who logs in; nobody where it is empty.")
    email_password_file: Path | None = Field(None, description="File with the password of email_user.")
    email_from: str = Field("", description="Sender's address.")
    email_to: list[str] = Field([], description="Addresses of who is told.")
    alertmanager_url_file: Path | None = Field(
        None, description="File with the URL of a Prometheus Alertmanager, without /api/v2."
    )


class UsageSettings(Section):
    """What is kept of each request: counts and times, never its text."""

    retention_days: int = Field(30, ge=1, le=3650, description="Usage rows older than this are dropped.")


class LoggingSettings(Section):
    """Logs of control and door, JSON lines without prompts, keys or personal data."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important entry that is written."
    )
    file_bytes: int = Field(10 * 1024 * 1024, ge=64 * 1024, description="A log file is rotated at this size.")
    files: int = Field(5, ge=1, le=100, description="Rotated files kept, per log.")


class Settings(Section):
    """Everything that can be set."""

    gateway: GatewaySettings = GatewaySettings()
    limits: LimitSettings = LimitSettings()
    engines: EngineSettings = EngineSettings()
    admission: AdmissionSettings = AdmissionSettings()
    registry: RegistrySettings = RegistrySettings()
    planning: PlanningSettings = PlanningSettings()
    releases: ReleaseSettings = ReleaseSettings()
    journal: JournalSettings = JournalSettings()
    backup: BackupSettings = BackupSettings()
    alerts: AlertSettings = AlertSettings()
    usage: UsageSettings = UsageSettings()
    logging: LoggingSettings = LoggingSettings()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each dotted name, its origin: ``default``, ``file``, ``environment`` or ``flag``."""

    settings: Settings
    origins: Mapping[str, str]


def section_types() -> dict[str, type[Section]]:
    """Section name → its model."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def setting_names() -> list[str]:
    """Every dotted name, in the order of the reference."""
    return [f"{section}.{key}" for section, kind in section_types().items() for key in kind.model_fields]


# Every other setting that ends in _file names a file with a secret.
_PUBLIC_FILES = frozenset({"tls_cert_file", "ca_file"})


def is_secret_file(key: str) -> bool:
    """Whether a setting names a file that holds a secret; ``key`` is its name within its section."""
    return key.endswith("_file") and key not in _PUBLIC_FILES


def load_settings(config_file: Path, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Reads the settings.

    Args:
        config_file: The TOML file; it need not exist.
        flags: Dotted names and values given on the command line; these win.

    Raises:
        InvalidError: Unknown names, values out of range, unreadable file: all problems in one message.
    """
    problems: list[str] = []
    values: dict[str, dict[str, Any]] = {}
    origins = dict.fromkeys(setting_names(), "default")
    sources = (
        ("file", _from_file(config_file, problems)),
        ("environment", _from_environment(environment(), problems)),
        ("flag", dict(flags or {})),
    )
    for origin, given in sources:
        for name, value in given.items():
            if name not in origins:
                problems.append(f"{origin}: {_unknown(name)}")
                continue
            section, key = name.split(".")
            values.setdefault(section, {})[key] = value
            origins[name] = origin
    settings = _validated(values, origins, problems)
    if settings is None:
        raise InvalidError(
            "bad-settings",
            "the settings have problems:\n" + "\n".join(f"  - {problem}" for problem in problems),
            hint=f"correct {config_file} or the {PREFIX}* variables; every setting is in docs/reference/settings.md",
        )
    return Loaded(settings, origins)


def _validated(values: dict[str, dict[str, Any]], origins: Mapping[str, str], problems: list[str]) -> Settings | None:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"][:2])
            problems.append(f"{origins.get(name, 'file')}: {name}: {problem_of(item)}")
        return None
    return None if problems else settings


def _from_file(config_file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"file: {config_file}: {error}")
        return {}
    return dict(_flatten(table))


def _flatten(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, content in table.items():
        if isinstance(content, dict):
            yield from ((f"{section}.{key}", value) for key, value in content.items())
        else:
            yield section, content


def _from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, text in variables.items():
        if not variable.startswith(PREFIX) or variable in _OTHER_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".", 1)
        found[name] = _listed(name, text)
    return found


def _listed(name: str, text: str) -> Any:
    """A list setting is given in the environment with commas."""
    if name in setting_names():
        section, key = name.split(".")
        if isinstance(section_types()[section].model_fields[key].get_default(), list):
            return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, setting_names(), n=1, cutoff=0.5)
    return f"unknown setting {name!r}" + (f"; nearest is {near[0]!r}" if near else "")
