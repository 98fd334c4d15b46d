"""What detectors of drift read and remember: outcomes of standard questions, samples of replicas, signs of requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "probe_outcomes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("run_at", sa.String(length=24), nullable=False),
        sa.Column("probe", sa.String(length=63), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("deployment", sa.String(length=80), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("question", sa.String(length=80), nullable=False),
        sa.Column("has_passed", sa.Boolean(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("failed_checks", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(length=64), nullable=False),
        sa.Column("is_valid", sa.Boolean(), nullable=True),
        sa.Column("is_refusal", sa.Boolean(), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("first_token_seconds", sa.Float(), nullable=True),
        sa.Column("total_seconds", sa.Float(), nullable=True),
        sa.Column("tokens_per_second", sa.Float(), nullable=True),
        sa.Column("answer_tokens", sa.Integer(), nullable=True),
        sa.Column("likeness", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_outcomes")),
    )
    op.create_index("ix_probe_outcomes_deployment_at", "probe_outcomes", ["deployment", "at"], unique=False)
    op.create_table(
        "replica_samples",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("deployment", sa.String(length=63), nullable=False),
        sa.Column("replica", sa.String(length=32), nullable=False),
        sa.Column("private_bytes", sa.BigInteger(), nullable=False),
        sa.Column("gpu_bytes", sa.BigInteger(), nullable=True),
        sa.Column("open_files", sa.Integer(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replica_samples")),
    )
    op.create_index("ix_replica_samples_replica_at", "replica_samples", ["replica", "at"], unique=False)
    op.create_index("ix_replica_samples_at", "replica_samples", ["at"], unique=False)
    op.create_table(
        "detector_states",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("position", sa.String(length=64), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("subject", "source", name=op.f("pk_detector_states")),
    )
    op.add_column("usage", sa.Column("input_language", sa.String(length=8), nullable=True))
    op.add_column("usage", sa.Column("input_topic", sa.Integer(), nullable=True))
