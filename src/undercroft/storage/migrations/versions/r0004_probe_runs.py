"""Runs of standard questions: what each was for, and how it went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "probe_runs",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("probe", sa.String(length=63), nullable=False),
        sa.Column("due_at", sa.String(length=24), nullable=True),
        sa.Column("started_at", sa.String(length=24), nullable=False),
        sa.Column("finished_at", sa.String(length=24), nullable=True),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_runs")),
        sa.UniqueConstraint("probe", "due_at", name=op.f("uq_probe_runs_probe")),
    )
    op.create_index("ix_probe_runs_probe_started_at", "probe_runs", ["probe", "started_at"], unique=False)
