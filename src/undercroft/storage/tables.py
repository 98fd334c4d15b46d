"""The tables. A change here comes with a migration in ``storage/migrations/versions``."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are ISO 8601 text in UTC (`core.clock.to_iso`): they sort as text, and read the same in both databases.

models = Table(
    "models",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("digest", String(71), nullable=False),  # of the manifest: the sorted list of files and their digests
    Column("source", Text, nullable=False),  # the reference it was pulled from, as given
    Column("format", String(16), nullable=False),  # gguf | safetensors | onnx
    Column("size_bytes", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),  # registry.models.ModelFacts as a dict
    Column("lineage", JSON, nullable=False),  # parents, recipe, settings; {} for a model that was pulled
    Column("created_at", String(24), nullable=False),
)

model_files = Table(
    "model_files",
    metadata,
    Column("model", String(63), ForeignKey("models.name", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),  # relative, as in the source; never used as a path of the file system
    Column("digest", String(71), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),  # what the file looked like when it was hashed: checked at each load
    Column("modified_ns", BigInteger, nullable=False),
    Column("verified_at", String(24), nullable=False),  # when its content was last read and hashed
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("engine", String(32), nullable=False),  # catalog.engines
    Column("model", String(63), ForeignKey("models.name"), nullable=True),  # None for external
    Column("settings", JSON, nullable=False),  # serving.deployments.DeploymentSettings as a dict
    Column("replicas", Integer, nullable=False),
    Column("is_running", Boolean, nullable=False),  # what is wanted, not what is
    Column("created_at", String(24), nullable=False),
    Column("updated_at", String(24), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # sha256 of the key, hex
    Column("models", JSON, nullable=True),  # names it may use; None is all
    Column("is_admin", Boolean, nullable=False),
    Column("created_at", String(24), nullable=False),
    Column("expires_at", String(24), nullable=True),
    Column("revoked_at", String(24), nullable=True),
)

usage = Table(
    "usage",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("release", Integer, nullable=True),  # its number; None where the name has none
    Column("replica", String(32), nullable=True),
    Column("route", String(32), nullable=False),
    Column("status", Integer, nullable=False),  # HTTP status, or 499 where the client went away
    Column("prompt_tokens", Integer, nullable=True),  # None where no engine told: the client went away before
    Column("completion_tokens", Integer, nullable=True),
    Column("queue_seconds", Float, nullable=False),
    Column("first_token_seconds", Float, nullable=True),
    Column("total_seconds", Float, nullable=False),
    Column("signs", JSON, nullable=True),  # of the answer, while a candidate is tried: is_empty, is_refusal …; no text
    Column("input_language", String(8), nullable=True),  # of some requests, as watch.input_signs tells it; no text
    Column("input_topic", Integer, nullable=True),  # 0 to 15: a hash of its words
    Column("rating", String(4), nullable=True),  # serving.feedback.Rating, by whoever holds the key; None without one
    Column("rated_at", String(24), nullable=True),
    Index("ix_usage_at", "at"),
    Index("ix_usage_request_id", "request_id"),
    Index("ix_usage_deployment_at", "deployment", "at"),
    Index("ix_usage_deployment_release_at", "deployment", "release", "at"),
    Index(
        "ix_usage_rated",
        "deployment",
        "release",
        "at",
        sqlite_where=text("rating IS NOT NULL"),
        postgresql_where=text("rating IS NOT NULL"),
    ),
)

load_times = Table(
    "load_times",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("deployment", String(63), nullable=False, index=True),
    Column("model_digest", String(71), nullable=True),
    Column("load_seconds", Float, nullable=False),
    Column("warm_up_seconds", Float, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
)

quarantined_requests = Table(
    "quarantined_requests",
    metadata,
    Column("digest", String(64), primary_key=True),  # sha256 of the request body, hex
    Column("deployment", String(63), nullable=False),
    Column("at", String(24), nullable=False),
    Column("reason", Text, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("kind", String(32), nullable=False),  # memory-bandwidth | disk-read | matrix | gpu-copy
    Column("device", String(128), nullable=False),  # the processor's, accelerator's or disk's name
    Column("value", Float, nullable=False),  # bytes a second, or operations a second
    Column("detail", JSON, nullable=False),  # threads, dtype, size and the like
    Index("ix_measurements_kind_at", "kind", "at"),
)

forecasts = Table(
    "forecasts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("model_digest", String(71), nullable=True),
    Column("engine", String(32), nullable=False),
    Column("architecture", String(64), nullable=False),
    Column("quantization", String(32), nullable=False),
    Column("device", String(128), nullable=False),
    Column("quantity", String(32), nullable=False),  # planning.calibration.Quantity
    Column("plain", Float, nullable=False),  # without what was learnt
    Column("forecast", Float, nullable=False),  # as corrected by what was learnt until then
    Column("measured", Float, nullable=False),
    Column("detail", JSON, nullable=False),  # the workload, the terms
    Index("ix_forecasts_quantity_at", "quantity", "at"),
)

licence_acceptances = Table(
    "licence_acceptances",
    metadata,
    Column("licence", String(64), primary_key=True),  # the catalogue's id
    Column("use", String(32), primary_key=True),  # the declared use that it was accepted for
    Column("at", String(24), nullable=False),
    Column("actor", String(128), nullable=False),
)

probe_runs = Table(
    "probe_runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("probe", String(63), nullable=False),
    Column("due_at", String(24), nullable=True),  # the time of the schedule that it was for; None by command
    Column("started_at", String(24), nullable=False),
    Column("finished_at", String(24), nullable=True),
    Column("release", String(80), nullable=False),
    Column("asked", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("score", Float, nullable=True),  # None until it has ended
    Column("note", Text, nullable=False),  # why nobody could be asked, or it broke off; else empty
    UniqueConstraint("probe", "due_at"),  # no time of a schedule is run twice
    Index("ix_probe_runs_probe_started_at", "probe", "started_at"),
)

probe_outcomes = Table(
    "probe_outcomes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("run_at", String(24), nullable=False),  # when its run began; the same for a whole baseline
    Column("probe", String(63), nullable=False),
    Column("purpose", String(16), nullable=False),  # watch.outcome_rows.Purpose: probe | baseline | trial
    Column("deployment", String(80), nullable=False),  # as it was asked for: NAME, NAME@7
    Column("release", String(80), nullable=False),  # what answered
    Column("question", String(80), nullable=False),  # its id, and a digest of it
    Column("has_passed", Boolean, nullable=False),
    Column("score", Float, nullable=False),
    Column("failed_checks", JSON, nullable=False),  # names
    Column("error", String(64), nullable=False),  # code; empty where an answer came
    Column("is_valid", Boolean, nullable=True),  # the JSON that was asked for; None where none was
    Column("is_refusal", Boolean, nullable=True),
    Column("language", String(8), nullable=True),  # of the answer, as watch.input_signs tells it
    Column("first_token_seconds", Float, nullable=True),
    Column("total_seconds", Float, nullable=True),
    Column("tokens_per_second", Float, nullable=True),
    Column("answer_tokens", Integer, nullable=True),
    Column("likeness", Float, nullable=True),  # to the baseline's answers
    Index("ix_probe_outcomes_deployment_at", "deployment", "at"),
)

replica_samples = Table(
    "replica_samples",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("replica", String(32), nullable=False),
    Column("private_bytes", BigInteger, nullable=False),
    Column("gpu_bytes", BigInteger, nullable=True),  # of all cards together; None where it has none
    Column("open_files", Integer, nullable=True),  # None is not known
    Column("requests", Integer, nullable=False),  # since the sample before
    Index("ix_replica_samples_replica_at", "replica", "at"),
    Index("ix_replica_samples_at", "at"),
)

detector_states = Table(
    "detector_states",
    metadata,
    Column("subject", String(80), primary_key=True),  # a deployment
    Column("source", String(80), primary_key=True),  # probe:NAME | requests | replicas
    Column("position", String(64), nullable=False),  # what it has read up to
    Column("state", JSON, nullable=False),  # what the detectors remember: numbers, no text
    Column("changed_at", String(24), nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 …; never given twice
    Column("content", JSON, nullable=False),  # registry.releases.content.ReleaseContent as a dict
    Column("digest", String(71), nullable=False),  # of the content and the model's digest
    Column("model", String(63), ForeignKey("models.name"), nullable=True),  # None for an external engine
    Column("model_digest", String(71), nullable=True),
    Column("created_at", String(24), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("reason", Text, nullable=True),
    Index("ix_releases_model", "model"),
)

release_tags = Table(
    "release_tags",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("tag", String(32), primary_key=True),  # production | previous | canary | the user's own
    Column("number", Integer, nullable=False),
    Column("moved_at", String(24), nullable=False),
    ForeignKeyConstraint(["name", "number"], ["releases.name", "releases.number"], name="fk_release_tags_releases"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(63), nullable=False),
    Column("from_number", Integer, nullable=True),  # None where nothing was in production
    Column("to_number", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # serving.promotions.State
    Column("plan", JSON, nullable=False),  # serving.promotions.Plan as a dict
    Column("evidence", JSON, nullable=False),  # what was measured and judged so far
    Column("note", Text, nullable=False),  # in plain words how it goes, or why it ended
    Column("started_at", String(24), nullable=False),
    Column("changed_at", String(24), nullable=False),  # when it came into its state
    Column("ended_at", String(24), nullable=True),
    Column("actor", String(128), nullable=False),
    Column("reason", Text, nullable=True),
    Index("ix_promotions_name_id", "name", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(64), nullable=False),  # what its steps do: quantize
    Column("recipe", JSON, nullable=False),  # optimize.recipes.Recipe as a dict
    Column("parents", JSON, nullable=False),  # name and digest of each model that it reads
    Column("result", String(63), nullable=False),  # the name that the new model gets
    Column("state", String(16), nullable=False),  # optimize.jobs.states.State
    Column("step", Integer, nullable=False),  # which of its steps is being done, from 0
    Column("attempts", Integer, nullable=False),  # how many times it was begun
    Column("pid", Integer, nullable=True),  # of the process that does it, or did
    Column("pid_started", Float, nullable=True),  # core.processes.ProcessIdentity.started
    Column("created_at", String(24), nullable=False),
    Column("queued_at", String(24), nullable=False),  # its place in the queue
    Column("started_at", String(24), nullable=True),  # of the last attempt
    Column("ended_at", String(24), nullable=True),
    Column("actor", String(128), nullable=False),
    Column("reason", Text, nullable=True),
    Column("problem", JSON, nullable=True),  # why it failed: kind, code, message, hint
    Column("note", Text, nullable=False),  # what is to be known of the result; else empty
    Index("ix_jobs_state_queued_at", "state", "queued_at"),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without gaps
    Column("at", String(24), nullable=False),
    Column("actor", String(128), nullable=False),  # "cli:anna", "key:key_…", "system"
    Column("action", String(64), nullable=False),  # "model.add", "key.revoke", …
    Column("subject", String(255), nullable=False),
    Column("before", JSON, nullable=True),
    Column("after", JSON, nullable=True),
    Column("reason", Text, nullable=True),
    Column("previous", String(64), nullable=False),  # hash of the entry before; 64 zeros for the first
    Column("hash", String(64), nullable=False),
    Index("ix_journal_subject", "subject"),
)

known_settings = Table(
    "known_settings",
    metadata,
    Column("name", String(80), primary_key=True),  # dotted: engines.threads
    Column("value", JSON, nullable=True),  # as the journal shows it: no secret
    Column("digest", String(71), nullable=False),  # of the whole value
    Column("origin", String(16), nullable=False),  # default | file | environment
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),  # watch.findings.Kind
    Column("subject", String(80), nullable=False),
    Column("severity", String(16), nullable=False),  # the gravest that it had
    Column("since", String(24), nullable=False),  # when it began, as far as is known
    Column("opened_at", String(24), nullable=False),
    Column("sentence", Text, nullable=False),  # of the finding, the last one; no prompt, no answer
    Column("figures", JSON, nullable=False),
    Column("cause", Text, nullable=True),
    Column("quiet_since", String(24), nullable=True),  # since when all is well; None while it is not
    Column("escalated_at", String(24), nullable=True),
    Column("resolved_at", String(24), nullable=True),
    Column("resolved_by", String(128), nullable=True),
    Column("reason", Text, nullable=True),
    Column("cleared_at", String(24), nullable=True),  # when all was well after it was resolved
    Index("ix_incidents_cleared_at", "cleared_at"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("sink", String(32), nullable=False),
    Column("incident", Integer, nullable=True),
    Column("event", String(16), nullable=False),  # watch.notes.Event
    Column("content", JSON, nullable=False),  # watch.notes.Note as a dict
    Column("state", String(16), nullable=False),  # waiting | sending | sent | dead
    Column("message", String(32), nullable=True),  # those of one message have the same; None until it is first tried
    Column("attempts", Integer, nullable=False),
    Column("not_before", String(24), nullable=False),
    Column("ended_at", String(24), nullable=True),  # when it was sent, or given up
    Column("is_repeat", Boolean, nullable=False),  # the sink may have it: the server was ended while it sent it
    Column("problem", Text, nullable=False),  # of the last try; empty where there was none
    Index("ix_alerts_state", "state"),
    Index("ix_alerts_ended_at", "ended_at"),
)

actions = Table(
    "actions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(24), nullable=False),
    Column("incident", Integer, nullable=False),
    Column("rule", String(63), nullable=False),
    Column("deed", String(16), nullable=False),  # watch.actions.Deed
    Column("target", String(80), nullable=False),
    Column("problem", Text, nullable=False),  # code of why it could not be done; empty where it was
    Index("ix_actions_at", "at"),
)
